"""What stock Caffe refuses in a solver is said in words that mend it, and what it takes though it is odd is a note."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark.errors import ConfigError
from caffeonspark.nets.prototxt import parse_solver
from caffeonspark.nets.schedule import learning_rate
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.nets.solver_values import solver_mistake, solver_notes
from caffeonspark.process import run_in_child
from tests.support import stock

RATE = "base_lr: 0.5 "
LINE = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 } } }
layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 1 dim: 1 } } }
layer { name: "loss" type: "Reduction" bottom: "w" top: "loss" loss_weight: 1 }
"""


def solver(text):
    return text_format.Parse(text, SolverParameter())


def stock_rates(text, iterations=12):
    """The rates of stock Caffe's iterations, by what they do to a parameter whose gradient is 1; None if it aborts."""

    def run(send):
        made, last = stock.make_solver(text, LINE), np.float32(0)
        for _ in range(iterations):
            made.step(1)
            now = made.net.params["w"][0].data[0, 0].copy()
            send(np.float64(last - now).tobytes())
            last = now

    output, _, status = run_in_child(run, 60)
    return None if status else np.frombuffer(output)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lr_policy: "fixedd"', "unknown lr_policy 'fixedd'. Did you mean 'fixed'?"),
        ("", "lr_policy is missing"),
        ('lr_policy: "step" gamma: 0.1', "stepsize is missing"),
        ('lr_policy: "step" gamma: 0.1 stepsize: -2', "stepsize is -2"),
        ('lr_policy: "sigmoid" gamma: 0.1', "stepsize is missing"),
        ('lr_policy: "fixed" type: "AdaGrad" momentum: 0.9', 'momentum does not go with type: "AdaGrad"'),
        ('lr_policy: "fixed" type: "RMSProp" momentum: 0.9', 'momentum does not go with type: "RMSProp"'),
        ('lr_policy: "fixed" type: "RMSProp" rms_decay: 1.5', "rms_decay is 1.5"),
        ('lr_policy: "fixed" weight_decay: 0.1 regularization_type: "l2"', "regularization_type is 'l2'"),
        *((f'lr_policy: "{p}" gamma: -0.1 stepsize: 5', "gamma is -0.1") for p in ("step", "exp", "inv", "multistep")),
        ('lr_policy: "fixed" average_loss: 0', "average_loss is 0"),
    ],
)
def test_what_stock_caffe_refuses_has_words_that_mend_it(text, said):
    assert stock_rates(RATE + text) is None
    found = solver_mistake(solver(RATE + text))
    assert found.startswith(said) and "\n" not in found


@pytest.mark.parametrize(
    "text",
    [
        'lr_policy: "fixed"',
        'lr_policy: "step" gamma: 0.5 stepsize: 3',
        'lr_policy: "exp" gamma: 0.9',
        'lr_policy: "inv" gamma: 0.1 power: 0.7',
        'lr_policy: "poly" power: 2 max_iter: 20',
        'lr_policy: "sigmoid" gamma: 0.5 stepsize: 5',
        'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 6',
        'lr_policy: "multistep" gamma: 0.5 stepvalue: 6 stepvalue: 3',
        'lr_policy: "multistep" gamma: 0.5 stepvalue: 4 stepvalue: 4 stepvalue: 4',
        'lr_policy: "multistep" gamma: 0.5 stepvalue: -1 stepvalue: 0',
        'lr_policy: "multistep" gamma: 0.5',
        'lr_policy: "fixed" regularization_type: "L3"',
        'lr_policy: "fixed" type: "AdaDelta" momentum: 0.9',
    ],
)
def test_what_stock_caffe_takes_has_none_and_its_rates(text):
    rates = stock_rates(RATE + text)
    assert rates is not None and solver_mistake(solver(RATE + text)) == ""
    if "AdaDelta" not in text:
        mine = [learning_rate(solver(RATE + text), iteration) for iteration in range(len(rates))]
        np.testing.assert_allclose(mine, rates, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{RATE} max_iter: 0", "max_iter is 0: nothing is trained"),
        (f"{RATE} max_iter: -1", "max_iter is -1: nothing is trained"),
        ('base_lr: nan lr_policy: "fixed"', "base_lr is nan, with which no net learns"),
        ('base_lr: inf lr_policy: "fixed"', "base_lr is inf, with which no net learns"),
        ('base_lr: -0.1 lr_policy: "fixed"', "base_lr is -0.1, with which no net learns"),
    ],
)
def test_what_trains_nothing_is_said(text, line):
    (note,) = solver_notes(solver(text))
    assert note.startswith(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lr_policy: "fixed"', "base_lr is missing"),
        (RATE + 'lr_policy: "step" stepsize: 3', "gamma is missing"),
        (RATE + 'lr_policy: "multistep" gamma: 0.5 stepvalue: 6 stepvalue: 3', "stepvalue 3 stands after 6"),
        (RATE + 'lr_policy: "multistep" gamma: 0.5', "without a stepvalue"),
    ],
)
def test_what_stock_caffe_takes_though_it_is_odd(text, said):
    assert stock_rates(text) is not None
    (note,) = solver_notes(solver(text))
    assert said in note
    assert not solver_notes(solver(RATE + 'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 6'))


def test_validation_that_nobody_asks_for():
    text = RATE + 'lr_policy: "fixed" test_iter: 3 '
    (note,) = solver_notes(solver(text))
    assert note.startswith("test_iter without a test_interval, which Caffe refuses")
    assert not solver_notes(solver(text + "test_interval: 5"))


def test_an_unknown_type_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match=r"^s\.prototxt: unknown solver type 'Adamm'\. Did you mean 'Adam'\?"):
        parse_solver(b'net: "n" max_iter: 1 type: "Adamm"', "s.prototxt")
