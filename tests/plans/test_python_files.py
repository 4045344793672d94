"""Files that Python layers name get to the executors, or are said."""

import os
from unittest import mock

import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataSource
from caffeonspark.plans import python_files
from caffeonspark.plans.python_files import send_named_files
from tests.support import stock

MODULE = """
import caffe

class FromFile(caffe.Layer):
    def setup(self, bottom, top):
        with open(eval(self.param_str)["file"]) as f:
            self.factor = float(f.read())

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.factor

    def backward(self, top, down, bottom):
        bottom[0].diff[...] = top[0].diff * self.factor
"""


def layer_of(text="", module="a_layer", name="FromFile"):
    return (
        'layer { name: "py" type: "Python" bottom: "ip2" top: "scaled" '
        f'python_param {{ module: "{module}" layer: "{name}" param_str: "{text}" }} }}'
    )


def message_of(text="", module="a_layer"):
    from caffeonspark.nets.prototxt import parse_net

    return parse_net(layer_of(text, module).encode(), "net.prototxt").layer[0]


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "a_layer.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


class Context:
    """What is asked of a SparkContext."""

    def __init__(self, master="yarn", application="app-1"):
        self.sparkContext, self.master, self.applicationId = self, master, application
        self.addFile = mock.Mock()


def check(session, text, folder):
    files = Config(None).files
    send_named_files(message_of(text), f"{folder}/net.prototxt", "net.prototxt: layer 'py'", files, session)


def test_files_without_a_folder_are_sent_once(place, said, monkeypatch):
    monkeypatch.setattr(python_files, "_sent", {})
    (place / "here" / "words.txt").write_text("2")
    (place / "beside.txt").write_text("3")
    session = Context()
    for _ in range(2):
        check(session, "{'file': 'words.txt', 'rate': 0.5, 'more': 'nothing.txt', 'b': beside.txt}", place)
    check(session, "words.txt", place)
    assert [call.args for call in session.addFile.call_args_list] == [
        (f"{place}/here/words.txt",),
        (f"{place}/beside.txt",),
    ]
    assert said == [
        f"caffeonspark: net.prototxt: layer 'py': python_param.param_str names {place}/{name}: it is sent to the "
        "working directory of every executor"
        for name in ("here/words.txt", "beside.txt")
    ]
    (place / "here" / "words.txt").write_text("another")
    with pytest.raises(ConfigError, match=r"sent .*words\.txt to the executors as words\.txt before, with another"):
        check(session, "words.txt", place)
    check(Context(application="app-2"), "words.txt", place)


def test_other_files_are_said(place, said):
    (place / "folder").mkdir()
    (place / "folder" / "words.txt").write_text("2")
    session = Context()
    for text in ("folder/words.txt", f"{{'file': '{place}/folder/words.txt'}}"):
        check(session, text, place)
    (line,) = said
    assert f"names {place}/folder/words.txt: if the layer opens it, it has to be there on every node; " in line
    session.addFile.assert_not_called()


@pytest.mark.parametrize("session", [None, Context("local[2]"), Context("local")])
def test_one_machine_needs_nothing(place, said, session):
    (place / "here" / "words.txt").write_text("2")
    check(session, "{'file': 'words.txt'}", place)
    assert not said and (session is None or not session.addFile.called)


def test_on_executors(spark, place, small_lmdb):
    """The layer opens the file by its name on the driver, on ranks and in tasks."""
    name = f"factor-{os.getpid()}.txt"
    (place / "here" / name).write_text("0.5")
    spark.sparkContext.addPyFile(str(place / "a_layer.py"))
    layers = stock.LAYERS.replace(
        'bottom: "ip2" bottom: "label" top: "loss"', 'bottom: "scaled" bottom: "label" top: "loss"'
    )
    loss = layers.rindex("layer {")
    net = stock.lmdb_net(small_lmdb, 10, layers=layers[:loss] + layer_of(f"{{'file': '{name}'}}") + layers[loss:])
    (place / "net.prototxt").write_text(net)
    (place / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2')
    config = Config(
        spark,
        conf=str(place / "solver.prototxt"),
        model=f"file:{place}/m.caffemodel",
        clusterSize=2,
        features="ip2,scaled",
    )
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    assert cos.train(data.getSource(config, True)).iteration == 2
    row = cos.features(data.getSource(config, False)).first()
    assert row.scaled == pytest.approx([value / 2 for value in row.ip2])
