"""Which test nets a solver has, and which of its test_iter values is whose."""

import pytest
from google.protobuf import text_format

from caffeonspark import Config, ConfigError
from tests.support import stock

DATA = 'layer {{ name: "d" type: "Data" top: "x" data_param {{ source: "lmdb" batch_size: 2 }} {rest} }}\n'
TEST = "include {{ phase: TEST {more} }}"
NO_DATA = 'layer { name: "d" type: "Parameter" top: "x" parameter_param { shape { dim: 1 } } }\n'
MADE = 'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 } } }\n'
LOSS = 'layer { name: "r" type: "Reduction" bottom: "x" top: "y" loss_weight: 1 }\n'


def config_of(folder, solver, **nets):
    for name, text in nets.items():
        (folder / f"{name}.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text('base_lr: 0.1 lr_policy: "fixed" max_iter: 1 test_interval: 1 ' + solver)
    return Config(None, conf=str(folder / "solver.prototxt"))


def numbers(config):
    return [net.number for net in config.run_config.validation_nets]


WITH = DATA.format(rest="") + LOSS


def test_a_net_without_data_leaves_the_numbers_as_they_are(tmp_path, capfd):
    nets = {"train": WITH, "a": NO_DATA + LOSS, "b": WITH}
    text = 'train_net: "train.prototxt" test_net: "a.prototxt" test_net: "b.prototxt" test_iter: 7 test_iter: 3'
    config = config_of(tmp_path, text, **nets)
    assert numbers(config) == [1]
    assert [config.solver.test_iter[net.number] for net in config.run_config.validation_nets] == [3]
    assert "a.prototxt: test net 0 has no data layer in the TEST phase and is left out" in capfd.readouterr().err
    assert config.run_config.validation_nets[0].pruned(["y"]).number == 1


def test_a_net_that_makes_its_data_takes_test_iter(tmp_path):
    """Without, there is no such test net: stock Caffe has none either."""
    text = 'train_net: "train.prototxt" test_net: "a.prototxt" test_net: "b.prototxt" %s'
    assert numbers(config_of(tmp_path, text % "test_iter: 7 test_iter: 3", train=WITH, a=MADE + LOSS, b=WITH)) == [0, 1]
    assert numbers(config_of(tmp_path, text % "", train=WITH, a=MADE + LOSS, b=WITH)) == [1]
    noise = MADE.replace('"x"', '"z"') + DATA.format(rest="include { phase: TRAIN }") + LOSS
    assert numbers(config_of(tmp_path, 'net: "n.prototxt" test_iter: 2', n=noise)) == []  # x is missing in TEST


def test_states_of_a_shared_net(tmp_path):
    rest = "include { phase: TRAIN } include { phase: TEST stage: 'b' }"
    other = DATA.replace('"d"', '"e"').format(rest="include { phase: TEST stage: 'c' }")
    net = (
        DATA.format(rest=rest)
        + other
        + NO_DATA.replace('"d"', '"f"').replace("type", "include { phase: TEST stage: 'a' } type", 1)
    )
    text = 'net: "net.prototxt" ' + " ".join(
        f"test_state {{ stage: '{s}' }} test_iter: {n}" for s, n in ("a1", "b2", "c3")
    )
    assert numbers(config_of(tmp_path, text, net=net + LOSS)) == [1, 2]


def test_one_that_is_not_to_run(tmp_path):
    text = 'net: "net.prototxt" test_iter: %d test_iter: %d'
    assert numbers(config_of(tmp_path, text % (0, 4), net=WITH)) == [1]
    assert numbers(config_of(tmp_path, text % (4, 0), net=WITH)) == [0]
    assert numbers(config_of(tmp_path, text % (0, 0), net=WITH)) == []
    assert numbers(config_of(tmp_path, 'net: "net.prototxt"', net=WITH)) == [0]


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_as_there_are(tmp_path, count):
    """Stock Caffe ends its process for others."""
    text = 'train_net: "n.prototxt" test_net: "n.prototxt" test_net: "n.prototxt"' + " test_iter: 1" * count
    with pytest.raises(ConfigError, match=rf"test_iter is given {count} times for 2 test nets"):
        config_of(tmp_path, text, n=WITH)


@pytest.mark.parametrize("iterations, expected", [(0, 2), (1, 1), (2, 2), (3, 3)])
def test_a_shared_net_beside_one_of_its_own(tmp_path, iterations, expected):
    """Copies of the shared net are made for the test_iter values that are left, as in stock Caffe."""
    inputs = 'layer { name: "i" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 } } }\n' + LOSS
    (tmp_path / "i.prototxt").write_text(inputs)
    text = 'net: "n.prototxt" test_net: "n.prototxt"' + " test_iter: 1" * iterations
    assert len(numbers(config_of(tmp_path, text, n=WITH))) == expected
    if iterations:
        solver = text_format.Parse("", type(config_of(tmp_path, text, n=WITH).solver)())
        solver.base_lr, solver.lr_policy, solver.test_interval = 0.1, "fixed", 1
        solver.net = str(tmp_path / "i.prototxt")
        solver.test_net.append(solver.net)
        solver.test_iter.extend([1] * iterations)
        (tmp_path / "stock.prototxt").write_text(text_format.MessageToString(solver))
        assert len(stock.caffe.get_solver(str(tmp_path / "stock.prototxt")).test_nets) == expected


@pytest.mark.parametrize(
    ("states", "head", "expected"),
    [
        ("", "", ["TRAIN", "TEST"]),
        ("", "state { phase: TEST }\n", ["TEST", "TEST"]),
        ("train_state { phase: TEST }", "", ["TEST", "TEST"]),
        ("test_state { phase: TRAIN }", "", ["TRAIN", "TRAIN"]),
        ("train_state { phase: TRAIN }", "state { phase: TEST }\n", ["TRAIN", "TEST"]),
        ('train_state { stage: "a" }', "", ["TRAIN", "TEST"]),
    ],
)
def test_a_state_that_names_the_phase(tmp_path, states, head, expected):
    """As in Caffe: the net's own counts more than what the net is used for, and the solver's most."""
    relu = 'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" include { phase: TEST } }\n'
    config = config_of(tmp_path, f'net: "net.prototxt" {states}', net=head + DATA.format(rest="") + relu + LOSS)
    both = [config.nets.train, *config.nets.tests]
    assert [net.phase_name for net in both] == expected
    assert [any(layer.name == "relu" for layer in net.message.layer) for net in both] == [p == "TEST" for p in expected]
