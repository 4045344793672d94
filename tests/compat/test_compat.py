"""CaffeOnSpark's Python programs by their old names: modules, constructors, pictures, and nets made in Python."""

import base64
import copy
import importlib
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import caffeonspark
import caffeonspark.compat
from caffeonspark import ConfigError, DataSource
from caffeonspark.compat import get_np_array, image_tag, show_df, show_network
from tests.support import stock
from tests.support.paths import ROOT

OLD = """
import caffeonspark.compat
from com.yahoo.ml.caffe.DisplayUtils import *
from com.yahoo.ml.caffe.CaffeOnSpark import *
from com.yahoo.ml.caffe.Config import *
from com.yahoo.ml.caffe.DataSource import *
from com.yahoo.ml.caffe.RegisterContext import registerContext, registerSQLContext
import com.yahoo.ml.caffe.Config as module
import caffeonspark
assert module.Config is Config and issubclass(Config, caffeonspark.Config) and DataSource is caffeonspark.DataSource
assert issubclass(CaffeOnSpark, caffeonspark.CaffeOnSpark)
assert callable(show_df) and callable(show_network) and callable(CaffeOnSpark.floatarray2doubleUDF)
assert "os" not in globals()
"""


def run(code, *path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_old_names_are_importable():
    run(OLD)


def test_only_after_compat():
    run("import caffeonspark\ntry:\n    import com\nexcept ModuleNotFoundError: pass\nelse: raise AssertionError")


def test_other_modules_of_the_old_names_come_first(tmp_path):
    """Another com, which is not all of it; and CaffeOnSpark's own."""
    (tmp_path / "com" / "other").mkdir(parents=True)
    for place in ("com", "com/other"):
        (tmp_path / place / "__init__.py").write_text("mine = True")
    run(OLD + "import com.other\nassert com.mine and com.other.mine", tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nothing", "there are CaffeOnSpark, Config, Conversions, "),
        ("tools.Nothing", "there are CaffeOnSpark, Config, Conversions, "),
        ("ConversionUtil", "it turned values into objects of Scala's and back, and there is no Scala here"),
    ],
)
def test_what_there_is_not_is_one_line(name, says):
    with pytest.raises(ModuleNotFoundError, match=rf"nothing for com\.yahoo\.ml\.caffe\.{name}: {says}"):
        importlib.import_module(f"com.yahoo.ml.caffe.{name}")


def test_getters_of_javas(tmp_path):
    from com.yahoo.ml.caffe.Config import Config

    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("somewhere", 4))
    config = Config(None, {"conf": f'net: "{tmp_path}/net.prototxt"\nmax_iter: 1 test_iter: 2 test_iter: 7'})
    solver, net = config.solverParameter, config.netParam
    assert (solver.getMaxIter(), solver.max_iter, solver.hasMaxIter(), solver.hasGamma()) == (1, 1, True, False)
    with pytest.raises(IndexError, match="test_iter is a list: give the number of an element, from 0"):
        solver.getTestIter()
    assert (solver.getTestIter(1), solver.getTestIterCount(), solver.getTestIterList()) == (7, 2, [2, 7])
    assert (solver.getSolverMode(), solver.getMomentum2()) == ("GPU", config.solver.momentum2)
    assert solver.toString() == str(solver) == str(config.solver)
    assert net.getLayerCount() == len(config.netParam.layer) == len(net.getLayerList())
    assert net.getLayer(0).getDataParam().getBatchSize() == net.layer[0].data_param.batch_size > 0
    with pytest.raises(AttributeError, match=r"SolverParameter has no field for getMaxIters\(\)"):
        solver.getMaxIters()
    with pytest.raises(AttributeError, match="max_iters"):
        _ = solver.max_iters
    assert copy.copy(solver).getMaxIter() == 1


NET_SPEC = """
from caffe import layers as L
import caffe
n = caffe.NetSpec()
n.data, n.label = L.MemoryData(batch_size=4, channels=1, height=2, width=2, source="x", share_in_parallel=False,
    source_class="com.yahoo.ml.caffe.ImageDataFrame", include=dict(phase=caffe.TRAIN), ntop=2)
n.ip = L.InnerProduct(n.data, num_output=2, weight_filler=dict(type="xavier"))
n.loss = L.SoftmaxWithLoss(n.ip, n.label)
stock = caffe.NetSpec()
stock.data = L.Input(shape=dict(dim=[1]))
"""
SPEC_WORKS = """
text = str(n.to_proto())
assert 'source_class: "com.yahoo.ml.caffe.ImageDataFrame"' in text and "share_in_parallel: false" in text, text
from caffeonspark.nets.prototxt import parse_net
assert parse_net(text.encode(), "n").layer[0].memory_data_param.source == "x"
assert type(stock.to_proto()) is caffe.proto.caffe_pb2.NetParameter
"""


@pytest.mark.parametrize("first", ["caffeonspark.compat", "caffe"])
def test_a_net_made_in_python_may_have_the_extensions_fields(first):
    """As the notebook that defines a network writes it; whichever is imported first."""
    run(f"import {first}\nimport caffeonspark.compat\n{NET_SPEC}{SPEC_WORKS}")


# ---- pictures


class Row(dict):
    def asDict(self):  # noqa: N802
        return self


class Frame:
    def __init__(self, *rows):
        self.rows = rows

    def take(self, count):
        return list(self.rows[:count])


def pixels_in(text):
    (data,) = re.findall(r"base64,([^']+)'", text)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_rows_of_images():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)  # blue, green, red
    file = io.BytesIO()
    Image.fromarray(colour[:, :, ::-1]).save(file, "png")
    rows = [
        Row(id="<1>", label="7", channels=1, height=2, width=3, encoded=False, data=grey.tobytes()),
        Row(id="2", label="8", channels=3, height=2, width=3, encoded=False, data=bytearray(colour.tobytes())),
        Row(id="3", label="9", channels=0, height=0, width=0, encoded=True, data=file.getvalue()),
        Row(id="4", label="0", height=2, width=3, data=grey.tobytes()),  # as CaffeOnSpark's own notebook has them
    ]
    shown = show_df(Frame(*rows), 3)
    assert shown._repr_html_() == shown
    assert shown.count("<tr>") == 4 and shown.count("<img") == 3 and "<td>&lt;1&gt;</td><td>7</td>" in shown
    for row, expected in zip(rows, (grey, colour, colour, grey)):
        np.testing.assert_array_equal(get_np_array(row), expected)
        np.testing.assert_array_equal(
            pixels_in(image_tag(get_np_array(row))), expected[..., ::-1] if expected.ndim == 3 else expected
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(id="1", label="x"), r"no column 'data' of bytes; it has id, label"),
        (Row(id="1", height=2, width=2, data=b"abc"), r"row '1' has 3 bytes, not 2x2x1"),
        (Row(id="1", encoded=True, data=b"abc"), r"image of row '1' cannot be shown"),
    ],
)
def test_rows_without_an_image(row, message):
    with pytest.raises(ConfigError, match=message):
        show_df(Frame(row))


@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_a_net_as_a_graph(tmp_path, rankdir):
    path = tmp_path / "net.prototxt"
    path.write_text(stock.lmdb_net("a&b", 4).replace('"conv"', '"conv<1>"'))
    shown = show_network(str(path), rankdir)
    import xml.etree.ElementTree as Tree

    drawing = Tree.fromstring(shown)
    titles = [group.find("{*}title").text for group in drawing.iter("{http://www.w3.org/2000/svg}g")]
    assert titles[:3] == ["data (Data)", "data (Data)", "conv<1> (Convolution)"] and len(titles) == 9
    lines = [line.find("{*}title").text for line in drawing.iter("{http://www.w3.org/2000/svg}line")]
    assert lines.count("data") == 2 and lines.count("label") == 4 and lines.count("ip2") == 2  # of both phases
    boxes = [(int(box.get("x")), int(box.get("y"))) for box in drawing.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(set(boxes)) == 9
    along = [box[0 if rankdir == "LR" else 1] for box in boxes]
    assert along[0] == along[1] == 0 and along[2:7] == sorted(set(along[2:7]))


def test_a_net_that_cannot_be_shown(tmp_path):
    with pytest.raises(ConfigError, match=r"rankdir is LR .* not 'BT'"):
        show_network("x", "BT")
    with pytest.raises(ConfigError, match="show_network: no-such: No such file"):
        show_network("no-such")


# ---- with Spark


def test_the_old_program(spark, tmp_path, small_lmdb):
    """CaffeOnSpark's API test, line by line but for Python 3's sake; with its constructors."""
    from com.yahoo.ml.caffe.CaffeOnSpark import CaffeOnSpark
    from com.yahoo.ml.caffe.Config import Config

    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
        "max_iter: 80 test_interval: 10 test_iter: 2 snapshot_format: HDF5"
    )
    sc = spark.sparkContext
    args = {"-conf": str(tmp_path / "solver.prototxt"), "-model": f"file:{tmp_path}/m", "-features": "accuracy,ip1,ip2"}
    cos = CaffeOnSpark(sc, object())
    cfg = Config(sc, {**args, "-label": "label", "-clusterSize": "1", "-devices": "1"})
    train_source = DataSource(sc).getSource(cfg, True)
    validation_source = DataSource(sc).getSource(cfg, False)
    result = cos.trainWithValidation(train_source, validation_source)
    assert (result.columns[0], result.columns[1]) == ("accuracy", "loss")
    last_row = result.collect()[-1]
    assert last_row[0][0] > 0.8 and last_row[1][0] < 0.5
    assert os.path.isfile(tmp_path / "m.h5")
    result = cos.features(validation_source)
    assert {"accuracy", "ip1", "ip2"} <= set(result.columns)
    assert result.count() > 100
    assert cos.test(validation_source)["accuracy"][0] > 0.8
    numbers = result.withColumn("Label", cos.floatarray2doubleUDF(result["label"])).withColumn(
        "Feature", cos.floatarray2doublevectorUDF("ip2")
    )
    row, before = numbers.orderBy("SampleID").first(), result.orderBy("SampleID").first()
    assert row.Label == before.label[0] and list(row.Feature) == before.ip2


def test_nets_written_again_are_trained_anew(spark, tmp_path, small_lmdb):
    """As the notebook with the grid of batch sizes does it: one Config, files that change."""
    cfg = caffeonspark.Config(spark)
    cfg.modelPath, cfg.clusterSize, cfg.quiet = f"file:{tmp_path}/m.caffemodel", 1, True
    for batch, iterations in ((10, 2), (20, 3)):
        (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, batch))
        (tmp_path / "solver.prototxt").write_text(
            f'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: {iterations}'
        )
        if not cfg.protoFile:
            cfg.protoFile = str(tmp_path / "solver.prototxt")
        result = caffeonspark.CaffeOnSpark(spark).train(DataSource(spark).getSource(cfg, True))
        assert (result.iteration, result.samples) == (iterations, batch)
