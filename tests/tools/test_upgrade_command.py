"""``caffeonspark upgrade IN OUT``."""

import os

import pytest
from google.protobuf import text_format

from caffeonspark.cli import main
from caffeonspark.nets.schema import NetParameter, SolverParameter
from tests.support import stock_tools
from tests.support.stock import caffe

caffe_pb2 = caffe.proto.caffe_pb2
OLD = """# written in 2014, ä
layers { name: "d" type: DATA top: "d" top: "l" data_param { source: "x" batch_size: 3 scale: 0.1 } }
layers { name: "c" type: CONVOLUTION bottom: "d" top: "c" blobs_lr: 1 convolution_param { num_output: 2 } }
"""
NEW = """# a comment
layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """run(words…) in a folder of its own: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["upgrade", *words])
        return (status, *capfd.readouterr())

    return run


def by_stock(name, source):
    taken, wrote, _ = stock_tools.run(name, source, "by_stock")
    assert taken
    return wrote


def test_a_net(run, tmp_path):
    (tmp_path / "old.prototxt").write_text(OLD)
    assert run("old.prototxt", "new.prototxt") == (
        0,
        "old.prototxt: a net with layers of before 2015, transformation fields outside transform_param: brought up to "
        "date, and written to new.prototxt\n",
        "",
    )
    expected = by_stock("upgrade_net_proto_text", "old.prototxt").decode()
    new = (tmp_path / "new.prototxt").read_text()
    assert text_format.Parse(new, NetParameter()) == text_format.Parse(expected, NetParameter())
    status, out, err = run("file:new.prototxt", f"file:{tmp_path}/again.prototxt")
    assert (status, err) == (0, "")
    assert out == f"file:new.prototxt: a net that is up to date, copied to file:{tmp_path}/again.prototxt\n"
    assert (tmp_path / "again.prototxt").read_text() == new


def test_what_is_up_to_date_is_copied_with_its_comments(run, tmp_path):
    (tmp_path / "net.prototxt").write_text(NEW)
    assert run("net.prototxt", "copy.prototxt")[:2] == (
        0,
        "net.prototxt: a net that is up to date, copied to copy.prototxt\n",
    )
    assert (tmp_path / "copy.prototxt").read_text() == NEW


def test_batch_norm_as_caffe_writes_it(run, tmp_path):
    """Nothing that a run would notice, but what Caffe's own program does."""
    zero = "param { lr_mult: 0 } " * 3
    (tmp_path / "net.prototxt").write_text(f'layer {{ name: "n" type: "BatchNorm" {zero} }}')
    _, out, _ = run("net.prototxt", "new.prototxt")
    assert (
        out == "net.prototxt: a net with BatchNorm with three params: brought up to date, and written to new.prototxt\n"
    )
    expected = by_stock("upgrade_net_proto_text", "net.prototxt").decode()
    new = (tmp_path / "new.prototxt").read_text()
    assert text_format.Parse(new, NetParameter()) == text_format.Parse(expected, NetParameter())


def test_a_solver(run, tmp_path):
    (tmp_path / "s.prototxt").write_text(f"base_lr: 0.1 solver_type: ADAM max_iter: 3\nnet_param {{ {OLD} }}")
    status, out, err = run("s.prototxt", "new.prototxt")
    assert (status, err) == (0, "")
    assert out.startswith("s.prototxt: a solver with solver_type, layers of before 2015, transformation fields")
    solver = text_format.Parse((tmp_path / "new.prototxt").read_text(), SolverParameter())
    assert solver.type == "Adam" and not solver.HasField("solver_type")
    assert [layer.type for layer in solver.net_param.layer] == ["Data", "Convolution"]


def test_a_model(run, tmp_path):
    net = text_format.Parse(OLD, caffe_pb2.NetParameter())
    net.layers[1].blobs.add(data=[1.5, 2.5], num=1, channels=1, height=1, width=2)
    (tmp_path / "old.caffemodel").write_bytes(net.SerializeToString())
    status, out, _ = run("old.caffemodel", "new.caffemodel")
    assert status == 0 and out.startswith("old.caffemodel: a model with layers of before 2015, transformation fields")
    expected = by_stock("upgrade_net_proto_binary", "old.caffemodel")
    new = (tmp_path / "new.caffemodel").read_bytes()
    assert NetParameter.FromString(new) == NetParameter.FromString(expected)
    assert list(NetParameter.FromString(new).layer[1].blobs[0].data) == [1.5, 2.5]
    assert run("new.caffemodel", "copy.caffemodel")[1].endswith(
        "a model that is up to date, copied to copy.caffemodel\n"
    )
    assert (tmp_path / "copy.caffemodel").read_bytes() == new


def test_what_means_nothing_is_told(run, tmp_path):
    (tmp_path / "old.prototxt").write_text('layers { layer { name: "r" type: "relu" num_output: 3 } top: "r" }')
    status, out, _ = run("old.prototxt", "new.prototxt")
    assert (status, out.splitlines()[0]) == (
        0,
        "old.prototxt: ignored, as by Caffe: num_output in layer 'r' of type relu",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'layers { layer { name: "r" type: "reluu" } top: "r" }',
            "old: layer 'r': unknown layer type 'reluu' in a net of before 2014. Did you mean 'relu'?",
        ),
        (b'layers { name: "r" type: RELU }\nlayers { name: "q" type: RELUU }', "old:2: "),
        (b"base_lr: 0.1\nmax_iter: 2\nmomentun: 0.9", "old:3: SolverParameter has no field 'momentun'."),
        (b"net: 'x' solver_type: SGD type: 'SGD'", "old: solver_type is the old name of type: give one of them"),
        (b"\x89HDF\r\n\x1a\n....", "old is an HDF5 file: its form has never changed"),
        (b"\x00\x01\x02\x03", "old is no model of Caffe's, or it is damaged or cut short"),
        (b"", "old: there is nothing in it"),
        (b"# nothing", "old: there is nothing in it"),
    ],
)
def test_what_cannot_be_brought_up_to_date(run, tmp_path, content, message):
    (tmp_path / "old").write_bytes(content)
    status, out, err = run("old", "new")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"caffeonspark: {message}"), err
    assert os.listdir(tmp_path) == ["old"]


def test_places(run, tmp_path):
    (tmp_path / "old.prototxt").write_text(OLD)
    (tmp_path / "new.prototxt").write_text("mine")
    assert run("old.prototxt", "new.prototxt")[2] == (
        "caffeonspark: new.prototxt exists already: -overwrite replaces it\n"
    )
    assert (tmp_path / "new.prototxt").read_text() == "mine"
    assert run("-overwrite", "old.prototxt", "new.prototxt")[0] == 0
    assert run("old.prototxt", "old.prototxt", "-overwrite")[0] == 0  # in its own place
    assert (tmp_path / "new.prototxt").read_text() == (tmp_path / "old.prototxt").read_text()
    assert "missing.prototxt" in run("missing.prototxt", "out")[2]
    assert run("old.prototxt", "folders/are/made/new.prototxt")[0] == 0
    (tmp_path / "folder").mkdir()
    status, _, err = run("old.prototxt", "folder", "-overwrite")
    assert status == 1 and err.count("\n") == 1 and "folder" in err
    assert sorted(os.listdir(tmp_path)) == ["folder", "folders", "new.prototxt", "old.prototxt"]
    assert run("old.prototxt")[2].startswith("caffeonspark: upgrade takes a file and the place to write to, not old")
    assert run("old.prototxt", "b", "-overwritten")[0] == 1
    assert run("-help")[0] == 0 and run()[0] == 1
