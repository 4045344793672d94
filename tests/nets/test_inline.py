"""Solvers and nets in every form become one text, which goes on meaning the same when all files are gone."""

import pathlib
import shutil

import numpy as np
import pytest

from caffeonspark import CaffeOnSparkError, Config, ConfigError
from caffeonspark.nets import mlp
from caffeonspark.nets.embedded import embed, embedded, shown
from caffeonspark.nets.inline import given_text
from caffeonspark.nets.schema import BlobProto
from caffeonspark.plans.net_source import NetSource
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.stock import caffe

FILES = Config(None).files
NET = stock.input_net(4)
SOLVER = 'net: "net.prototxt" max_iter: 7 base_lr: 0.5 lr_policy: "fixed"\ntest_interval: 3 test_iter: 2\n'
OLD = """input: "data" input_dim: 4 input_dim: 1 input_dim: 12 input_dim: 12
layers { name: "ip2" type: INNER_PRODUCT bottom: "data" top: "ip2" inner_product_param { num_output: 10 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip2" bottom: "label" top: "loss" }"""


def mean_file(mean):
    shape = dict(zip(("channels", "height", "width"), mean.shape))
    return BlobProto(num=1, data=mean.reshape(-1), **shape).SerializeToString()


def net_in(text):
    """The TRAIN net of a solver's text."""
    return Config(None, conf=text).nets.train.message


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def spec():
    n = caffe.NetSpec()
    n.data, n.label = caffe.layers.Input(ntop=2, input_param={"shape": [{"dim": [4, 6]}, {"dim": [4]}]})
    n.ip = caffe.layers.InnerProduct(n.data, num_output=2)
    n.loss = caffe.layers.SoftmaxWithLoss(n.ip, n.label)
    return n


def theirs():
    return caffe.proto.caffe_pb2.NetParameter(layer=spec().to_proto().layer)


FORMS = {
    "path": lambda folder: str(folder / "net.prototxt"),
    "uri": lambda folder: f"file:{folder}/net.prototxt",
    "Path": lambda folder: folder / "net.prototxt",
    "text": lambda folder: NET,
    "text in a line": lambda folder: NET.replace("\n", " "),
    "text with a mark": lambda folder: "\ufeff" + NET,
    "bytes": lambda folder: NET.encode(),
    "bytes with a mark": lambda folder: b"\xef\xbb\xbf" + NET.replace("\n", "\r\n").encode(),
    "old layers": lambda folder: OLD,
    "message": lambda folder: theirs(),
    "ours": lambda folder: mlp([6, 2]),
    "NetSpec": lambda folder: spec(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_net_in_every_form(folder, form):
    given = FORMS[form](folder)
    alone = given_text(None, given, FILES)
    with_solver = given_text(str(folder / "solver.prototxt"), given, FILES)
    shutil.rmtree(folder)
    assert net_in(alone) == net_in(with_solver)
    assert net_in(alone).layer[-1].type == "SoftmaxWithLoss"
    assert not Config(None, conf=alone).solver.HasField("max_iter")
    solver = Config(None, conf=with_solver).solver
    assert (solver.max_iter, solver.base_lr, list(solver.test_iter)) == (7, 0.5, [2])
    assert given_text(with_solver, None, FILES) == with_solver  # a text is what it is
    assert net_in(given_text(with_solver, mlp([9, 3]), FILES)).layer[0].input_param.shape[0].dim[1] == 9


SOLVERS = {
    "path": lambda folder: str(folder / "solver.prototxt"),
    "Path": lambda folder: folder / "solver.prototxt",
    "text": lambda folder: SOLVER.replace("net.prototxt", f"{folder}/net.prototxt"),
    "bytes": lambda folder: b"\xef\xbb\xbf" + SOLVER.replace("net.prototxt", f"{folder}/net.prototxt").encode(),
    "message": lambda folder: caffe.proto.caffe_pb2.SolverParameter(net=f"{folder}/net.prototxt", max_iter=7),
    "two objects": lambda folder: (caffe.proto.caffe_pb2.SolverParameter(max_iter=7), spec()),
    "net_param": lambda folder: f"max_iter: 7\nnet_param {{ {NET} }}",
    "train_net": lambda folder: f'max_iter: 7 train_net: "{folder}/net.prototxt"\ntest_net: "{folder}/net.prototxt"\n'
    f"test_net_param {{ {NET} }} test_iter: 1 test_iter: 2 test_interval: 5",
}


@pytest.mark.parametrize("form", SOLVERS)
def test_a_solver_in_every_form(folder, form):
    text = given_text(SOLVERS[form](folder), None, FILES)
    shutil.rmtree(folder)
    config = Config(None, conf=text)
    assert config.solver.max_iter == 7
    assert config.nets.train.message.layer[-1].type == "SoftmaxWithLoss"
    assert not any(config.solver.HasField(name) for name in ("net", "train_net"))
    assert [net.number for net in config.nets.tests] == ([0, 1] if form == "train_net" else [0])


def test_what_nets_name_goes_with_them(tmp_path, small_images, monkeypatch):
    """The mean image, the infogain matrix and the place of the data, by relative names: the plan stays when they go."""
    images, labels = small_images
    home = tmp_path / "home"
    home.mkdir()
    write_lmdb(home / "data", images[:8], labels[:8])
    mean = np.arange(144, dtype=np.float32).reshape(1, 12, 12)
    (home / "mean.binaryproto").write_bytes(mean_file(mean))
    matrix = BlobProto(num=1, channels=1, height=10, width=10, data=np.eye(10).reshape(-1))
    (home / "matrix.binaryproto").write_bytes(matrix.SerializeToString())
    layers = stock.LAYERS.replace(
        '"SoftmaxWithLoss"', '"InfogainLoss" infogain_loss_param { source: "matrix.binaryproto" }'
    )
    net = stock.lmdb_net("data", 4, layers=layers).replace("scale: 0.00390625", 'mean_file: "mean.binaryproto"')
    (home / "net.prototxt").write_text(net)
    (home / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    before = Config(None, conf=str(home / "solver.prototxt"))
    plan = NetSource(before, before.nets.train).plan
    texts = [
        given_text("home/solver.prototxt", None, FILES),
        given_text(None, pathlib.Path("home/net.prototxt"), FILES),
        given_text(given_text("home/solver.prototxt", None, FILES), None, FILES),
    ]
    for name in ("mean.binaryproto", "matrix.binaryproto", "net.prototxt", "solver.prototxt"):
        (home / name).unlink()
    monkeypatch.chdir("/")
    for text in texts:
        config = Config(None, conf=text)
        found = NetSource(config, config.nets.train).plan
        assert found.content == plan.content
        np.testing.assert_array_equal(found.layers[0].tops[0].transform.mean, mean)


def test_what_is_wrong_in_an_embedded_file_is_said_without_it(tmp_path, small_lmdb):
    (tmp_path / "mean.binaryproto").write_bytes(mean_file(np.full((1, 12, 12), np.nan, np.float32)))
    net = stock.lmdb_net(small_lmdb, 4).replace("scale: 0.00390625", f'mean_file: "{tmp_path}/mean.binaryproto"')
    config = Config(None, conf=given_text(None, net, FILES))
    source = NetSource(config, config.nets.train)
    with pytest.raises(CaffeOnSparkError) as raised:
        _ = source.plan
    assert "mean_file (in the net itself) holds NaN" in raised.value.message
    assert shown(embed(b"x")) == "(in the net itself)" and shown("mean") == "mean"
    assert embedded(embed(b"\0x")) == b"\0x"


@pytest.mark.parametrize(
    ("conf", "net", "message"),
    [
        (
            None,
            None,
            r"^no net is given: set net \(a prototxt, or caffeonspark\.nets\.mlp\(…\)\), or conf, a solver's$",
        ),
        ("", " ", r"^no net is given"),
        ("gone.prototxt", None, r"^the prototxt \(conf\) gone\.prototxt does not exist$"),
        (None, "gone.prototxt", r"^the prototxt \(net\) gone\.prototxt does not exist$"),
        (None, pathlib.Path("gone.prototxt"), r"^the prototxt \(net\) gone\.prototxt does not exist$"),
        (None, 7, r"^net: a prototxt is given by its path, as text, bytes or message, not as 7$"),
        (None, [mlp()], r"^net: a prototxt is given by its path, as text, bytes or message, not as \["),
        (7, None, r"^conf: a prototxt is given by its path, as text, bytes or message, not as 7$"),
        (None, SOLVER, r"^net: net\.prototxt is a solver, not a net: give it as conf$"),
        (NET, None, r"^conf: solver\.prototxt is a net, not a solver: give it as net$"),
        (
            None,
            caffe.proto.caffe_pb2.SolverParameter(max_iter=1),
            r"^net: give a path, text, a NetParameter or a NetSpec, not a SolverParameter: give it as conf$",
        ),
        (None, caffe.proto.caffe_pb2.Datum(), r"^net: give a path, text, a NetParameter or a NetSpec, not a Datum$"),
        ("max_iter: 1", None, r"^solver\.prototxt: none of them is set: a solver has one of net, net_param, train_net"),
        (
            'net: "a" train_net: "b"\n',
            None,
            r"^solver\.prototxt: net and train_net are set: a solver has one of net, net_param, train_net and",
        ),
        ('net: "gone"\n', None, r"^the net gone \(named by solver\.prototxt\) does not exist$"),
        (None, "layer { nme: 'x' }", r"^net\.prototxt:1: LayerParameter has no field 'nme'.* Did you mean 'name'\?$"),
        (None, b"layer {\n name: 3 }", r"^net\.prototxt:2: "),
        (None, b"\x00\x01{", r"^net\.prototxt: not a prototxt: it is not text$"),
        (
            None,
            stock.lmdb_net("x", 4).replace("scale: 0.00390625", 'mean_file: "gone.binaryproto"'),
            r"^net\.prototxt: layer 'data': mean_file gone\.binaryproto \(named by net\.prototxt\) does not exist$",
        ),
    ],
)
def test_what_cannot_be_taken(conf, net, message):
    with pytest.raises(ConfigError, match=message) as raised:
        given_text(conf, net, FILES)
    assert "\n" not in raised.value.message


def test_a_spec_that_is_no_net():
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(num_outputs=4)
    with pytest.raises(ConfigError, match=r"^the NetSpec is no net: .*num_outputs"):
        given_text(None, n, FILES)
