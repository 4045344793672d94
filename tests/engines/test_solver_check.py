"""What building a solver refuses is found before anything starts, and files find room before Caffe writes them."""

import contextlib
import os
import resource
import signal

import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.process import run_in_child
from tests.support import stock

PLAIN = 'base_lr: 0.1 lr_policy: "fixed" random_seed: 1'


def look(solver=PLAIN, net=None, tests=()):
    def parsed(text, phase):
        return text_format.Parse(f"state {{ phase: {phase} }}" + text, NetParameter())

    return CaffeEngine().check_solver(
        text_format.Parse(solver, SolverParameter()),
        parsed(net or stock.input_net(10), "TRAIN"),
        [parsed(text, "TEST") for text in tests],
        "s.prototxt",
    )


def test_a_sound_solver_says_what_it_will_save():
    twice = stock.LAYERS.replace(
        'name: "accuracy"', 'name: "argmax" type: "ArgMax" bottom: "ip2" top: "argmax" } layer { name: "accuracy"'
    )
    found = look(PLAIN + ' type: "Adam"', stock.input_net(10, layers=twice), [stock.input_net(5)])
    assert found.learned == (
        ("conv", ((8, 1, 5, 5), (8,))),
        ("ip1", ((150, 128), (150,))),
        ("ip2", ((10, 150), (10,))),
    )
    assert "ip2_ip2_0_split" in [name for name, _ in found.layers]
    assert found.model_bytes == 84_272 and found.state_bytes == 2 * found.model_bytes


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ('base_lr: 0.1 lr_policy: "fixedd"', "Unknown learning rate policy: fixedd"),
        ('base_lr: 0.1 lr_policy: "step" gamma: 0.1', "stepsize() > 0"),
        (PLAIN + ' type: "Adamm"', "Unknown solver type: Adamm"),
        (PLAIN + ' type: "AdaGrad" momentum: 0.9', "Momentum cannot be used with AdaGrad"),
        (PLAIN + ' weight_decay: 0.1 regularization_type: "L3"', "Unknown regularization type: L3"),
    ],
)
def test_a_solver_that_caffe_refuses(solver, said):
    with pytest.raises(ConfigError, match=r"^s\.prototxt: Caffe refuses the solver: ") as e:
        look(solver)
    assert said in e.value.message and "\n" not in e.value.message


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"xavier"', '"xavierr"', "Unknown filler name: xavierr"),
        ('"xavier"', '"bilinear"', "Blob must be 4 dim"),
        ('"xavier"', '"xavier" sparse: 3', "Sparsity not supported"),
    ],
)
def test_a_net_that_only_the_solver_refuses(before, after, said):
    with pytest.raises(ConfigError, match=said):
        look(net=stock.input_net(10).replace(before, after))


def save(work, folder, bytes_per_file):
    """``work(trainer)`` in a process whose files can have so many bytes: (what was raised, status)."""

    def run(send):
        solver = text_format.Parse(PLAIN, SolverParameter())
        trainer = CaffeTrainer(solver, text_format.Parse(stock.input_net(10), NetParameter()), [], 0, str(folder))
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            work(trainer)
            return
        send(b"OSError")

    output, errors, status = run_in_child(run, 60)
    assert b"Check failed" not in errors
    return output, status


@pytest.mark.parametrize(
    "work",
    [
        lambda trainer: trainer.save_weights(f"{trainer._folder}/m.caffemodel"),
        lambda trainer: trainer.save_weights(f"{trainer._folder}/m.caffemodel.h5"),
        lambda trainer: trainer.snapshot(),
    ],
)
def test_a_disk_without_room_is_an_error_and_no_crash(tmp_path, work):
    def in_folder(trainer):
        trainer._folder = tmp_path
        work(trainer)

    assert save(in_folder, tmp_path, 50_000) == (b"OSError", 0)
    assert not [name for name in os.listdir(tmp_path) if "caffemodel" in name or "solverstate" in name]
    assert save(in_folder, tmp_path, 10_000_000) == (b"", 0)
    assert [name for name in os.listdir(tmp_path) if "caffemodel" in name]


def test_what_caffe_says_of_a_full_disk_is_not_what_people_read():
    log = ["F0131 12:34:56.123456  1234 io.cpp:70] Check failed: proto.SerializeToOstream(&output) "]
    said = CaffeEngine().explain_crash(log)
    assert "SerializeToOstream" not in said and "spark.local.dir" in said
