"""What CaffeOnSpark's programs give and read of a Config, and solvers and nets that are objects."""

import logging
import os

import pytest

from caffeonspark import CaffeEstimator, CaffeOnSpark, Config, ConfigError
from caffeonspark.nets.net import TEST, Net
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.report.records import shown_settings
from caffeonspark.report.result import TrainingResult, ValidationResult
from tests.support import stock
from tests.support.prototxts import ONE_ITERATION as SOLVER
from tests.support.stock import caffe

DEFAULTS = {
    "imageRoot": "",
    "labelFile": "",
    "captionFile": "",
    "captionLength": 20,
    "vocabSize": -1,
    "imageCaptionDFDir": "",
    "vocabDir": "",
    "embeddingDFDir": "",
    "transform_thread_per_device": 1,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_settings_that_do_nothing_are_taken_and_say_so(name, conf, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("caffeonspark"), "propagate", True)
    assert getattr(Config(None, conf=conf), name) == DEFAULTS[name]
    assert not caplog.messages
    config = Config(None, {"-conf": conf, f"-{name}": 3})
    assert getattr(config, name) == 3
    setattr(config, name, 4)
    assert getattr(config, name) == 4
    assert len(caplog.messages) == 2
    assert all(line.startswith(f"caffeonspark: Config.{name} is taken and does nothing: ") for line in caplog.messages)
    assert Config(None, conf=conf, **{name: 5}).changed == {"conf": conf}


def test_the_other_names(conf):
    config = Config(None, {"conf": conf, "connection": 2})
    assert (config.train_data_layer_id, config.test_data_layer_id) == (0, 1)
    assert config.log is logging.getLogger("caffeonspark")
    assert config.connection == "ethernet"
    config.connection = 1
    assert config.connection == "infiniband"
    config.isFeature = True
    assert not config.isFeature  # there are none
    config.features = "ip1"
    assert config.isFeature
    with pytest.raises(ConfigError, match="unknown flag imageroot"):
        config.imageroot = "x"


def test_layer_numbers_of_a_solver_with_two_files(tmp_path):
    (tmp_path / "train.prototxt").write_text(stock.lmdb_net("x", 4).replace("phase: TEST", "phase: TRAIN stage: 'no'"))
    (tmp_path / "solver.prototxt").write_text('train_net: "train.prototxt" max_iter: 1')
    config = Config(None, conf=str(tmp_path / "solver.prototxt"))
    assert (config.train_data_layer_id, config.test_data_layer_id) == (0, -1)


# ---- files that change


def test_files_are_read_again_when_their_content_is_another(conf, tmp_path):
    config = Config(None, conf=conf)
    config.solver.max_iter = 7  # by hand: stays while the files do
    config.refresh()
    assert config.solver.max_iter == 7
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("somewhere", 9))
    config.refresh()
    assert config.netParam.layer[0].data_param.batch_size == 9
    assert config.solver.max_iter == 1
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("1", "5"))
    config.refresh()
    assert config.solver.max_iter == 5
    (tmp_path / "net.prototxt").write_text("layer {")
    with pytest.raises(ConfigError, match=r"net\.prototxt:1: "):
        config.refresh()
    assert config.solver.max_iter == 5  # what was right is still there
    for name in ("net", "solver"):
        os.unlink(tmp_path / f"{name}.prototxt")
    config.refresh()
    assert config.netParam.layer[0].data_param.batch_size == 9


# ---- objects


def net_spec():
    n = caffe.NetSpec()
    n.data, n.label = caffe.layers.CoSData(
        source="x", batch_size=4, top=[{"name": "data", "type": 4, "channels": 9}, {"name": "label", "type": 1}], ntop=2
    )
    n.ip = caffe.layers.InnerProduct(n.data, num_output=2, weight_filler={"type": "xavier"})
    n.loss = caffe.layers.SoftmaxWithLoss(n.ip, n.label)
    return n


def solver_message(**fields):
    return caffe.proto.caffe_pb2.SolverParameter(max_iter=3, base_lr=0.1, lr_policy="fixed", **fields)


def test_a_net_made_in_python_with_the_extensions_fields():
    """Stock Caffe's own to_proto has not these fields; and has them no more afterwards."""
    config = Config(None, conf=(solver_message(), net_spec()))
    assert config.solver.max_iter == 3 and config.solver_path == "solver.prototxt"
    assert shown_settings(config.settings) == {"conf": "(given as an object)"}  # in the metrics file, on the page
    layer = config.netParam.layer[0]
    assert (layer.type, layer.cos_data_param.batch_size) == ("CoSData", 4)
    assert [top.name for top in layer.cos_data_param.top] == ["data", "label"]
    assert config.netParam.layer[1].inner_product_param.weight_filler.type == "xavier"
    assert caffe.net_spec.caffe_pb2 is caffe.proto.caffe_pb2  # as it was


def test_messages(conf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config(None, conf=solver_message(net="net.prototxt")).nets.train.message.layer[0].name == "data"
    net = caffe.proto.caffe_pb2.NetParameter()
    net.layer.add(name="\u4e2d", type="Input", top=["x"])
    config = Config(None, {"-conf": net})
    assert config.netParam.layer[0].name == "\u4e2d" and not config.solver.HasField("max_iter")
    config.protoFile = solver_message(net="net.prototxt")
    assert config.solver.max_iter == 3
    text = CaffeEstimator(conf=(solver_message(), net_spec())).flags()["conf"]  # which is saved with it
    assert Config(None, conf=text).netParam.layer[0].type == "CoSData"


def test_a_solver_as_text(tmp_path, monkeypatch, conf):
    monkeypatch.chdir(tmp_path)
    assert Config(None, conf='net: "net.prototxt"\nmax_iter: 4').solver.max_iter == 4
    assert Config(None, conf=b'\xef\xbb\xbfnet: "net.prototxt" max_iter: 4').solver.max_iter == 4
    assert Config(None, conf=tmp_path / "solver.prototxt").nets.train.message.layer[0].name == "data"
    with pytest.raises(ConfigError, match=r"solver.prototxt:2: SolverParameter has no field 'max_itr'"):
        Config(None, conf='net: "net.prototxt"\nmax_itr: 4')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda: caffe.proto.caffe_pb2.Datum(),
            "give a SolverParameter, a NetParameter, a NetSpec or a path, not Datum",
        ),
        (
            lambda: (net_spec(), solver_message()),
            "the first is a SolverParameter, the second a NetParameter or NetSpec",
        ),
        (
            lambda: (solver_message(train_net_param=caffe.proto.caffe_pb2.NetParameter()), net_spec()),
            "exactly one of net, net_param",
        ),
    ],
)
def test_objects_that_are_no_solver(given, message):
    with pytest.raises(ConfigError, match=message):
        Config(None, conf=given())


def test_a_net_with_a_wrong_field():
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(num_outputs=4)
    with pytest.raises(ConfigError, match=r"the NetSpec is no net: .*num_outputs"):
        Config(None, conf=n)


# ---- what validation gives


class Session:
    def createDataFrame(self, rows, schema):  # noqa: N802
        return [dict(zip(schema.names, row)) for row in rows]


def test_the_outputs_come_first_and_in_caffes_order(tmp_path):
    text = 'layer { name: "d" type: "Input" top: "d" top: "x" input_param { shape { dim: 1 dim: 1 } } }'
    for name in ("zeta", "Beta", "alpha"):
        text += f'layer {{ name: "{name}" type: "Power" bottom: "d" top: "{name}" }}'
    (tmp_path / "n").write_text(text)
    outputs = Net(parse_net(text.encode(), "n"), "n", TEST).output_blobs()
    assert outputs == list(caffe.Net(str(tmp_path / "n"), caffe.TEST).outputs) == ["Beta", "alpha", "x", "zeta"]
    cos = CaffeOnSpark.__new__(CaffeOnSpark)
    cos._spark = Session()
    cos.result = TrainingResult(model="m")
    cos.result.samples = 1
    cos.result.tests.append(ValidationResult(10, 0, 5, 1.5, {name: [float(n)] for n, name in enumerate(outputs)}))
    (row,) = cos._curve(outputs)
    assert list(row) == [*outputs, "iteration", "epoch", "seconds", "rows"]
    assert list(row.values())[:5] == [[0.0], [1.0], [2.0], [3.0], 10]
