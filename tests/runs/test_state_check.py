"""A solver state of another type or net is one line on the driver; Caffe would end the ranks, or write over memory."""

from types import SimpleNamespace

import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.errors import ConfigError
from caffeonspark.formats.endings import ending_of
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.plans.job import ResumePoint
from caffeonspark.process import run_in_child
from caffeonspark.runs.preflight import check_solver
from caffeonspark.runs.snapshots import StartFiles
from caffeonspark.runs.state_check import check_state
from caffeonspark.settings import Settings
from caffeonspark.storage import Storage
from tests.support import caffe_files, stock


def config_of(rule):
    text = f'base_lr: 0.001 lr_policy: "fixed" random_seed: 3 {caffe_files.RULES[rule]}'
    return SimpleNamespace(
        solver=text_format.Parse(text, SolverParameter()),
        solver_path="s.prototxt",
        storage=Storage(),
        settings=Settings(),
        text=text,
    )


def inspection(config, net):
    message = text_format.Parse("state { phase: TRAIN }" + net, NetParameter())
    return CaffeEngine().check_solver(config.solver, message, [], "s.prototxt")


def state_of(folder, rule, net, hdf5):
    """A solver state that stock Caffe saved."""
    config = config_of(rule)
    prefix = f'snapshot_prefix: "{folder}/{rule}" snapshot_format: {"HDF5" if hdf5 else "BINARYPROTO"}'
    made = stock.make_solver(f"{config.text} {prefix}", net)
    made.step(1)
    made.snapshot()
    return f"{folder}/{rule}_iter_1.solverstate" + (".h5" if hdf5 else "")


def look(path, rule, net, notes=None):
    config = config_of(rule)
    with open(path, "rb") as f:
        content = f.read()
    start = StartFiles(ResumePoint(state=ending_of(path)), [b"", content], names=["m.caffemodel", path])
    check_state(config, start, inspection(config, net), (notes if notes is not None else []).append)


def stock_restores(path, rule, net):
    def run(send):
        stock.make_solver(config_of(rule).text, net).restore(path)
        send(b"restored")

    return run_in_child(run, 60)[0] == b"restored"


NET = caffe_files.NETS["BatchNorm"]


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("net", caffe_files.NETS)
@pytest.mark.parametrize("rule", caffe_files.RULES)
def test_its_own_state_is_taken(tmp_path, rule, net, hdf5):
    look(state_of(tmp_path, rule, caffe_files.NETS[net], hdf5), rule, caffe_files.NETS[net])


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize(
    ("saved", "rule", "said"),
    [("SGD", "Adam", "one array for each parameter"), ("AdaDelta", "RMSProp", "two arrays for each parameter")],
)
@pytest.mark.parametrize("net", caffe_files.NETS)
def test_a_state_of_another_type_is_refused_as_in_caffe(tmp_path, saved, rule, said, net, hdf5):
    path = state_of(tmp_path, saved, caffe_files.NETS[net], hdf5)
    assert not stock_restores(path, rule, caffe_files.NETS[net])
    with pytest.raises(ConfigError, match=f"^{path} is of another solver type: it has {said}") as e:
        look(path, rule, caffe_files.NETS[net])
    assert "\n" not in e.value.message and f'type: "{rule}"' in e.value.message


def test_a_type_with_the_same_history_is_taken_as_in_caffe(tmp_path):
    path = state_of(tmp_path, "SGD", NET, False)
    assert stock_restores(path, "Nesterov", NET)
    notes = []
    look(path, "Nesterov", NET, notes)
    assert not notes  # stock Caffe's states do not say
    with open(path + ".json", "w") as f:
        f.write('{"solver": "SGD"}')
    look(path, "Nesterov", NET, notes)
    assert notes == [f"{path} was saved by SGD: Nesterov continues with its history, as in Caffe"]
    with pytest.raises(ConfigError, match="was saved by SGD: it has one array"):
        look(path, "Adam", NET)


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_state_of_another_net_is_refused(tmp_path, hdf5):
    path = state_of(tmp_path, "SGD", NET, hdf5)
    with pytest.raises(ConfigError, match=f"^{path} is of another net: it has 454 numbers where this run's has 342: "):
        look(path, "SGD", NET.replace("num_output: 4", "num_output: 3"))
    first, last = (f'name: "{name}" type: "InnerProduct" bottom: "data" top: "{name}"' for name in "ab")
    layer = "layer {{ {} inner_product_param {{ num_output: {} }} }} "
    two = "{} " + layer + layer + 'layer {{ name: "s" type: "Silence" bottom: "a" bottom: "b" }}'
    path = state_of(tmp_path, "SGD", two.format(caffe_files.INPUTS, first, 2, last, 5), hdf5)
    with pytest.raises(ConfigError, match="array 0 of its history is 2x108 where this net's parameter is 5x108"):
        look(path, "SGD", two.format(caffe_files.INPUTS, first, 5, last, 2))


def test_the_solver_is_refused_in_words_that_mend_it():
    net = SimpleNamespace(message=lambda: text_format.Parse("state { phase: TRAIN }" + NET, NetParameter()))
    config = config_of("AdaGrad")
    config.solver.momentum = 0.9
    with pytest.raises(ConfigError, match=r'^s\.prototxt: momentum does not go with type: "AdaGrad": take it away'):
        check_solver(config, config.solver, net, [])
