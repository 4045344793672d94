"""Prototxts as editors and old systems leave them, paths as people write them, and what scoring does not need."""

import codecs
import os
import re
import subprocess
import sys

import pytest

from caffeonspark import Config, ConfigError, NetSource
from caffeonspark.inference.tasks import check_model
from caffeonspark.nets.net import TRAIN
from caffeonspark.nets.prototxt import parse_as_written, parse_net, parse_solver
from caffeonspark.runs import preflight
from caffeonspark.storage import expand
from tests.support import stock
from tests.support.paths import ROOT

SOLVER = b'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1\n'
NET = b'layer { name: "d" type: "Input" top: "x" }\n'
LATIN = '# r\u00e9seau de test: "\u00e9" #\n'.encode("latin-1")


@pytest.mark.parametrize("before", [codecs.BOM_UTF8, LATIN, codecs.BOM_UTF8 + LATIN])
def test_marks_and_old_comments_are_read_over(before):
    assert parse_net(before + NET + LATIN, "n").layer[0].name == "d"
    assert parse_solver(before + SOLVER, "s").max_iter == 1
    assert parse_net(NET.replace(b'"x"', b'"x # y"') + LATIN, "n").layer[0].top == ["x # y"]


def test_line_numbers_stay():
    with pytest.raises(ConfigError, match="n:3: LayerParameter has no field 'nam'"):
        parse_net(codecs.BOM_UTF8 + LATIN + b"\nlayer { nam: 'x' }", "n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x8a\xff\x00\x01", "n: not a prototxt: it is not text"),
        (b"layer { name: 'a\x1b' } # \x1b", "n: not a prototxt: it is not text"),
        (LATIN + NET.replace(b"x", "\u00e9".encode("latin-1")), "n:2: not UTF-8 (the byte 0xe9)"),
        (codecs.BOM_UTF16_LE + b"a\0", "n: it is UTF-16: save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_said_to_be_none(content, words):
    with pytest.raises(ConfigError, match="^" + re.escape(words)):
        parse_net(content, "n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('net: "a" base_lr: x', "n:1: 'net: \"a\" base_lr: x': Couldn't parse float: x"),
        ('net: "a" net: "b"', "n:1: net is given twice: take one of them away"),
        ('name: "a" layer { nam: "b" }', "n:1: LayerParameter has no field 'nam'. Did you mean 'name'?"),
    ],
)
def test_what_stands_in_one_line_is_told_apart(text, words):
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        parse_as_written(text.encode(), "n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'layer { name: "l" type: "ReLU" } nothing: 1',
            "n:1: NetParameter has no field 'nothing'. Where it is of a fork of Caffe, install that fork's pycaffe",
        ),
        (
            'layer { name: "l" type: "Convolution" convolution_param { hole: 2 } }',
            "n:1: ConvolutionParameter has no field 'hole' (layer 'l' of type Convolution): dilation is stock Caffe's",
        ),
        ('solver_mode: "GPU"', "n:1: SolverMode is written without quotes, GPU"),
        ("solver_mode: 7", "n:1: SolverMode has no value '7'. Valid names: CPU, GPU."),
        ("snapshot_format: hdf5", "n:1: SnapshotFormat has no value 'hdf5'. Did you mean 'HDF5'?"),
        ("base_lr: 0,01", "n:1: 'base_lr: 0,01': decimal numbers have a point, no comma"),
        ("weight-decay: 1", "n:1: SolverParameter has no field 'weight-decay'. Did you mean 'weight_decay'?"),
        ("type: Adam", "n:1: 'type: Adam': Expected string but found: 'Adam': text stands in quotes"),
        ('snapshot_prefix: "D:\\models\\x"', "a backslash begins an escape: write / or \\\\ in paths"),
    ],
)
def test_what_to_write_instead(text, words):
    parse = parse_net if text.startswith("layer") else parse_solver
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse(text.encode(), "n")


def test_a_long_line_is_not_quoted_whole():
    text = 'layer { name: "a" } ' * 5000 + "layer { name: 3 }\t" + 'layer { name: "b" } ' * 5000
    with pytest.raises(ConfigError, match=r"^n:1: '.*layer \{ name: 3 \} .* \u2026': Expected string") as e:
        parse_net(text.encode(), "n")
    assert len(e.value.message) < 250 and e.value.message.isprintable()


ROI = """layer { # layer { name: "no" type: "No"
  name: "roi" bottom: "x" %s { pooled_w: 7 filler { type: "xavier" } }
  type: "ROIPooling" }
layer { name: "z" type: "ReLU" bottom: "x" top: "x" }"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            ROI % "roi_pool_param",
            "n:2: LayerParameter has no field 'roi_pool_param' (layer 'roi' of type ROIPooling). ",
        ),
        (
            "layers { name: 'v' type: VIDEO_DATA }",
            "n:1: LayerType has no value 'VIDEO_DATA' (layer 'v' of type VIDEO_DATA)",
        ),
        (
            "layer { name: 'a' type: 'AnnotatedData' annotated_data_param { } }",
            "n:1: LayerParameter has no field 'annotated_data_param' (layer 'a' of type AnnotatedData). Use CoSData",
        ),
        ("net: 'n' type: 'SGD'", "n:1: NetParameter has no field 'net'. It is a solver: name its net"),
    ],
)
def test_what_is_of_a_fork_is_named_with_its_layer(text, words):
    with pytest.raises(ConfigError, match="^" + re.escape(words)):
        parse_net(text.encode(), "n")


def folder(place):
    place.mkdir(exist_ok=True)
    (place / "net.prototxt").write_bytes(stock.lmdb_net("$DATA_OF_TEST/lmdb", 4).encode())
    (place / "solver.prototxt").write_bytes(b'net: "$DATA_OF_TEST/net.prototxt" max_iter: 1')
    return place


def test_home_and_variables_in_paths(tmp_path, monkeypatch, small_lmdb):
    place = folder(tmp_path / "home")
    os.symlink(small_lmdb, place / "lmdb")
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("DATA_OF_TEST", str(place))
    for conf in (
        "~/solver.prototxt",
        "$DATA_OF_TEST/solver.prototxt",
        "file:~/solver.prototxt",
        f"{place}/solver.prototxt",
    ):
        config = Config(None, conf=conf, model="file:~/m.caffemodel", weights="~/a,${DATA_OF_TEST}/b", output="~/o")
        assert config.nets.train.path == f"{place}/net.prototxt"
        assert (config.model, config.output) == (f"file:{place}/m.caffemodel", f"{place}/o")
        assert config.settings.weight_files == [f"{place}/a", f"{place}/b"]
    config.output = "~/p"
    assert config.output == f"{place}/p"
    assert NetSource(config, config.run_config.net(TRAIN)).plan.layers[0].count == 600


def test_a_file_of_such_a_name_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAME", "other")
    (tmp_path / "$NAME.prototxt").write_bytes(NET)
    (tmp_path / "solver.prototxt").write_bytes(b'net: "$NAME.prototxt" max_iter: 1')
    assert Config(None, conf="solver.prototxt").nets.train.path.endswith("$NAME.prototxt")
    folder = tmp_path / "a $NAME"
    folder.mkdir()
    (folder / "solver.prototxt").write_bytes((tmp_path / "solver.prototxt").read_bytes())
    config = Config(None, conf=f"{folder}/solver.prototxt", model=f"file:{folder}/m.caffemodel", output="$NAME/o")
    assert config.solver_path == f"{folder}/solver.prototxt"
    assert (config.model, config.output) == (f"file:{folder}/m.caffemodel", "other/o")


@pytest.mark.parametrize("path", ["hdfs:///a/~b", "a~", "$NO_SUCH_NAME/x", "~no-such-user/x", ""])
def test_of_what_nothing_is_known_nothing_is_changed(path):
    assert expand(path) == path


def test_a_model_is_found_by_the_name_that_the_solver_gives_it(tmp_path):
    """With snapshot_format HDF5 -train adds .h5 to the name, and -test has the name that was given."""
    folder(tmp_path)
    (tmp_path / "net.prototxt").write_bytes(NET)
    for given, there in (("m.caffemodel", "m.caffemodel.h5"), ("m.caffemodel.h5", "m.caffemodel"), ("m", "m.h5")):
        for known in (there, given):
            (tmp_path / known).write_bytes(b"")
        text = f'net: "net.prototxt" max_iter: 1 snapshot_format: {"HDF5" if there.endswith("h5") else "BINARYPROTO"}'
        (tmp_path / "solver.prototxt").write_text(text)
        config = Config(None, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/{given}")
        assert check_model(config.run_config) == f"file:{tmp_path}/{given}"  # a file of just this name
        config.train = True
        assert check_model(config.run_config) == f"file:{tmp_path}/{there}"  # what was just written
        config.train = False
        (tmp_path / given).unlink()
        assert check_model(config.run_config) == f"file:{tmp_path}/{there}"
        (tmp_path / there).unlink()
        with pytest.raises(ConfigError, match=rf"the model \(-model\) file:{tmp_path}/{given} does not exist"):
            check_model(config.run_config)


def test_scoring_needs_no_max_iter(tmp_path, monkeypatch):
    (tmp_path / "net.prototxt").write_bytes(NET)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt"')
    config = Config(None, conf=str(tmp_path / "solver.prototxt"))
    assert not config.solver.HasField("max_iter")
    with pytest.raises(
        ConfigError, match=r"solver.prototxt: max_iter is missing: say how many iterations to train for"
    ):
        preflight.check_solver_fields(config.run_config)


NOTHING = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # Python itself would help


@pytest.mark.parametrize(("name", "more"), [("r\u00e9seau", {}), ("net", NOTHING)])
def test_under_the_locale_of_c(tmp_path, name, more):
    """Names that are not ASCII, and paths, where nothing says how text is written."""
    place = tmp_path / name
    place.mkdir()
    (place / "net.prototxt").write_text('layer { name: "\u4e2d" type: "Input" top: "\u00e9" }', encoding="utf-8")
    (place / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1', encoding="utf-8")
    conf = str(place / "solver.prototxt")
    code = (
        "from caffeonspark import Config\n"
        f"config = Config(None, conf={conf!a})\n"
        "assert config.netParam.layer[0].name == '\\u4e2d'\n"
        "from caffeonspark.engines.caffe import CaffeEngine\n"
        "net = config.nets.train.message\n"
        "net.layer[0].input_param.shape.add().dim.append(2)\n"
        "found = CaffeEngine().inspect(net, {'\\u00e9': (3,)}, 2, 'n')\n"
        "assert found.shapes == {'\\u00e9': (2,)}, found\n"
        "from caffeonspark.cli import main\n"
        "assert main(['-help']) == 0\n"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def test_forks_that_are_too_old_are_one_line(monkeypatch):
    """Their messages may have another field where SolverParameter.type is; and they have no Input layers."""
    monkeypatch.setattr("caffeonspark.nets.prototxt.field_names", lambda message: ["base_lr", "solver_type"])
    with pytest.raises(
        ConfigError, match=r"s: the installed Caffe has another field in the place of SolverParameter\.type"
    ):
        parse_solver(SOLVER, "s")
    code = (
        "import caffe\n"
        "caffe.layer_type_list = lambda: ['Data', 'InnerProduct']\n"
        "from caffeonspark import ConfigError\n"
        "from caffeonspark.engines.caffe import CaffeEngine\n"
        "try:\n"
        "    CaffeEngine().versions()\n"
        "except ConfigError as e:\n"
        "    print(e.message)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "'caffe' needs layers of type Input, and the Caffe in " in done.stdout and "January 2016" in done.stdout
