"""``predict`` without Spark: stock Caffe's numbers, to the bit, for every kind of value; and a line for all others."""

import bz2
import copy
import gzip
import io
import json
import os
import pathlib
import pickle
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.sql import Row

from caffeonspark import CaffeClassificationModel, CaffeModel, CaffeRegressionModel, ConfigError, DataError
from caffeonspark.ml import local
from caffeonspark.ml.heads import Head
from caffeonspark.process import run_in_child
from tests.support.deployed import fill, forward, write_deployed
from tests.support.stock import caffe

SCALE = np.float32(0.00390625)
IP = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def png(image):
    """(channels, height, width) BGR as a PNG file."""
    out = io.BytesIO()
    picture(image).save(out, "PNG")
    return out.getvalue()


def picture(image):
    """(channels, height, width) BGR as a PIL image."""
    pixels = image.transpose(1, 2, 0)[:, :, ::-1] if len(image) == 3 else image[0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def spark_image(image):
    """(channels, height, width) BGR as a row of Spark's image format."""
    pixels = image.transpose(1, 2, 0).tobytes()
    return Row(
        origin="", height=image.shape[1], width=image.shape[2], nChannels=len(image), mode=0, data=bytearray(pixels)
    )


def small(folder, dims, layers=IP, **flags):
    """A CaffeModel of an Input layer and some layers, with random weights; and the net's path and the model's."""
    dims = " ".join(f"dim: {dim}" for dim in dims)
    path, weights = str(folder / "deploy.prototxt"), str(folder / "m.caffemodel")
    with open(path, "w") as f:
        f.write(f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}{layers}')
    net = caffe.Net(path, caffe.TEST)
    fill(net)
    net.save(weights)
    return CaffeModel.fromCaffe(path, weights, **flags), path, weights


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """A CaffeModel of LeNet with random weights, and 11 images with stock Caffe's probabilities of each by itself."""
    net, weights = write_deployed(tmp_path_factory.mktemp("lenet"), "lenet_lmdb", 4)
    images = np.random.default_rng(1).integers(0, 256, (11, 1, 28, 28)).astype(np.uint8)
    model = CaffeModel.fromCaffe(net, weights, transform="scale: 0.00390625")
    return model, images, forward(net, weights, images * SCALE, 1)


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A CaffeModel that takes 3x6x5 images, less a mean; 4 images, and stock Caffe's numbers."""
    folder = tmp_path_factory.mktemp("colour")
    model, net, weights = small(folder, (4, 3, 6, 5), transform="mean_value: 10 mean_value: 20 mean_value: 30")
    images = np.random.default_rng(2).integers(0, 256, (4, 3, 6, 5)).astype(np.uint8)
    means = np.float32([10, 20, 30]).reshape(3, 1, 1)
    return model, images, forward(net, weights, images - means, 1)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A CaffeModel that takes 4 numbers; 5 rows, and stock Caffe's numbers."""
    model, net, weights = small(tmp_path_factory.mktemp("numbers"), (2, 4))
    rows = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    return model, rows, forward(net, weights, rows, 1)


# ---- every kind of value

IMAGES = {
    "bytes": png,
    "bytearray": lambda image: bytearray(png(image)),
    "PIL image": picture,
    "RGBA picture": lambda image: picture(image).convert("RGBA"),
    "Spark's image": spark_image,
    "row": lambda image: {"data": png(image), "label": 3},
    "HxWxC": lambda image: np.ascontiguousarray(image.transpose(1, 2, 0)),
    "CxHxW": lambda image: image,
    "floats": lambda image: image.astype(np.float64),
    "flat floats": lambda image: image.reshape(-1).astype(np.float32),
    "Vector": lambda image: Vectors.dense(image.reshape(-1)),
    "list": lambda image: image.reshape(-1).tolist(),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image(lenet, colour, kind):
    for model, images, expected in (lenet, colour):
        found = model.predict(IMAGES[kind](images[0]))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[0])
        listed = model.predict([IMAGES[kind](images[0])])
        np.testing.assert_array_equal(listed, expected[:1])


def test_paths(lenet, tmp_path, monkeypatch):
    model, images, expected = lenet
    monkeypatch.chdir(tmp_path)
    for name in ("one.png", "One.PNG", "no ending"):
        (tmp_path / name).write_bytes(png(images[0]))
    paths = ["one.png", "One.PNG", f"file:{tmp_path}/one.png", pathlib.Path("no ending")]
    for path in paths:
        np.testing.assert_array_equal(model.predict(path), expected[0])
    np.testing.assert_allclose(model.predict(tuple(paths)), np.stack([expected[0]] * 4), rtol=1e-5)  # in one batch


def test_images_that_are_grey_or_have_other_sizes(lenet, colour, tmp_path):
    model, images, expected = lenet
    np.testing.assert_array_equal(model.predict(images[1, 0]), expected[1])  # two axes
    np.testing.assert_array_equal(model.predict(images[:, 0]), model.predict(list(images)))  # many of those
    np.testing.assert_array_equal(model.predict(picture(images[1]).convert("RGB")), expected[1])
    grey = Image.fromarray(images[1, 0][:6, :5].copy())
    as_colour = np.stack([np.asarray(grey)] * 3)
    np.testing.assert_array_equal(colour[0].predict(grey), colour[0].predict(as_colour))
    smaller, *_ = small(tmp_path, (1, 3, 6, 5), resize=True)
    assert smaller.predict(Image.new("RGB", (40, 30), (1, 2, 3))).shape == (3,)


def test_a_photo_is_turned_as_its_file_says(colour):
    model, images, _ = colour
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter
    out = io.BytesIO()
    picture(np.rot90(images[0], 1, (1, 2))).save(out, "JPEG", exif=exif, quality=100, subsampling=0)
    upright = model.predict(out.getvalue())
    np.testing.assert_allclose(model.predict(Image.open(out)), upright, atol=1e-3)
    assert upright.argmax() == model.predict(images[0]).argmax()


@pytest.mark.parametrize(
    "given",
    [
        lambda row: Vectors.dense(row),
        lambda row: Vectors.sparse(4, range(4), row),
        lambda row: row,
        lambda row: row.astype(np.float64),
        lambda row: row.tolist(),
        lambda row: tuple(row),
        lambda row: Row(data=Vectors.dense(row), label=1.0),
        lambda row: {"data": list(row)},
    ],
)
def test_every_kind_of_numbers(numbers, given):
    model, rows, expected = numbers
    np.testing.assert_array_equal(model.predict(given(rows[0])), expected[0])
    many = model.predict([given(row) for row in rows[:2]])
    np.testing.assert_array_equal(many, expected[:2])


def test_many_at_once(lenet, numbers, tmp_path):
    """In batches of the net's size, the last one smaller: as in a partition of ``transform``."""
    model, images, expected = lenet
    net, weights = write_deployed(tmp_path, "lenet_lmdb", 4)
    batched = forward(net, weights, images * SCALE, 4)
    for many in (
        list(images),
        images,
        images.transpose(0, 2, 3, 1),
        images.astype(np.float32),
        [png(i) for i in images],
    ):
        np.testing.assert_array_equal(model.predict(many), batched)
    mixed = [png(images[0]), images[1].reshape(-1).tolist(), images[2]]
    np.testing.assert_array_equal(model.predict(mixed), expected[:3])
    model, rows, expected = numbers
    np.testing.assert_array_equal(model.predict(rows), expected)
    np.testing.assert_array_equal(model.predict(rows[:1]), expected[:1])
    np.testing.assert_array_equal(model.predict(rows.tolist()), expected)
    for none in ([], np.empty((0, 4))):
        assert model.predict(none).shape == (0, 3)


def test_one_number(tmp_path):
    model, *_ = small(tmp_path, (1, 1))
    one = model.predict(2.5)
    assert one.shape == (3,)
    np.testing.assert_array_equal(model.predict([2.5]), one)
    np.testing.assert_array_equal(model.predict([2.5, 2.5]), [one, one])
    np.testing.assert_array_equal(model.predict(np.float32([2.5, 2.5])), [one, one])


TWO = """
layer { name: "more" type: "Input" top: "more" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "both" type: "Concat" bottom: "data" bottom: "more" top: "both" }
"""


def test_several_inputs_and_outputs(tmp_path):
    model, *_ = small(tmp_path, (2, 4), TWO, columns={"more": "extra"}, features=["both", "more"])
    row = {"data": [1, 2, 3, 4], "extra": Vectors.dense([5, 6, 7])}
    for given in (row, Row(**row), {"data": [1, 2, 3, 4], "more": [5, 6, 7]}):
        found = model.predict(given)
        assert list(found) == ["both", "more"]
        np.testing.assert_array_equal(found["both"], [1, 2, 3, 4, 5, 6, 7])
    assert model.predict([row, row, row])["both"].shape == (3, 7)
    with pytest.raises(DataError, match=r"the value that is given has no 'extra', which the net reads\. Did you mean"):
        model.predict({"data": [1, 2, 3, 4], "extr": 1})
    with pytest.raises(DataError, match="the net has 2 inputs: give a dict with a value for each: 'data', 'extra'"):
        model.predict([1, 2, 3, 4])


def test_several_columns_that_are_one_input(tmp_path):
    model, *_ = small(tmp_path, (2, 4), columns={"data": "`a`,`b c`"})
    expected = model.predict([1, 2, 3, 4])
    row = {"a": Vectors.dense([1, 2, 3]), "b c": 4.0, "label": 1}
    for given in (row, Row(**row), {"data": [1, 2, 3, 4]}):
        np.testing.assert_array_equal(model.predict(given), expected)
    with pytest.raises(DataError, match="has no 'b c', which the net reads"):
        model.predict({"a": [1, 2, 3]})
    with pytest.raises(DataError, match="does not fill input 'data'"):
        model.predict({"a": [1, 2], "b c": 3})


def test_probabilities(numbers, tmp_path):
    model, rows, expected = numbers
    found = model.predictProbability(Vectors.dense(rows[0]))
    assert isinstance(found, DenseVector)
    np.testing.assert_array_equal(found.toArray(), expected[0].astype(np.float64))
    many = model.predictProbability(rows)
    assert many.dtype == np.float64
    np.testing.assert_array_equal(many, expected)
    scores = model.copy().setFeatures(["ip"])
    with pytest.raises(
        ConfigError, match=r"predictProbability: it gives the one of features .*setFeatures\(\['prob'\]\)"
    ):
        scores.predictProbability(rows[0])
    assert scores.predict(rows[0]).argmax() == expected[0].argmax()
    sigmoid, *_ = small(tmp_path, (1, 4), IP.replace("Softmax", "Sigmoid").replace("num_output: 3", "num_output: 1"))
    p = float(sigmoid.predict(rows[0])[0])
    assert sigmoid.predictProbability(rows[0]).toArray() == pytest.approx([1 - p, p])


def as_kind(cls, model, head):
    """The net and weights of a CaffeModel as a model of another kind."""
    made = cls()
    made._trained(model._net, *model.caffemodel, None)
    made._head = head
    return made


def test_classification_and_regression_models(numbers, tmp_path):
    model, rows, expected = numbers
    classes = as_kind(CaffeClassificationModel, model, Head("ip", "prob", size=3)).setFeaturesCol("x")
    assert [classes.predict(row) for row in rows] == expected.argmax(axis=1).tolist()
    assert isinstance(classes.predict({"x": rows[0]}), float)
    assert classes.predict(rows).dtype == np.float64
    np.testing.assert_array_equal(classes.predict(rows), expected.argmax(axis=1))
    np.testing.assert_array_equal(classes.predictProbability(rows), expected)
    one = IP.replace("Softmax", "Sigmoid").replace("num_output: 3", "num_output: 1")
    single = small(tmp_path, (2, 4), one, features=["ip", "prob"])[0]
    scores = single.predict(rows)
    two = as_kind(CaffeClassificationModel, single, Head("ip", "prob", True, 1))
    np.testing.assert_array_equal(two.predict(rows), scores["ip"][:, 0] > 0)
    assert two.predictProbability(rows)[:, 1] == pytest.approx(scores["prob"][:, 0])
    assert two.predictProbability(rows).sum(axis=1) == pytest.approx(np.ones(len(rows)))
    number = as_kind(CaffeRegressionModel, single, Head("ip", size=1))
    np.testing.assert_array_equal(number.predict(rows), scores["ip"][:, 0])
    assert isinstance(number.predict(rows[0]), float)
    with pytest.raises(ConfigError, match="predictProbability: a regression model predicts numbers and no classes"):
        number.predictProbability(rows[0])
    with pytest.raises(ConfigError, match="holds no net: fit or load one"):
        CaffeModel(features=["prob"]).predict(1)


# ---- what is refused

REFUSED = {
    "missing": (lambda m: "none.png", r"none\.png: No such file or directory"),
    "a folder": (lambda m: pathlib.Path("/tmp"), r"/tmp is a folder: name the images in it"),
    "hdfs": (lambda m: "hdfs://host/one.png", r"hdfs://host/one\.png: predict reads files of this machine: fetch it"),
    "text": (lambda m: "some text", r"'some text' does not end as images do .*give a pathlib\.Path"),
    "no image": (
        lambda m: b"no image",
        r"the value that is given: the image cannot be decoded: it is in no image format",
    ),
    "null": (lambda m: None, r"the value that is given: 'data' is null"),
    "an object": (lambda m: object(), r"predict takes no object of this kind: give a Vector, an array or a list of"),
    "words": (lambda m: [["a", "b"]], r"item 0 of the list: predict takes no list of this kind"),
    "size": (lambda m: Image.new("RGB", (8, 9)), r"the image is 9x8 and does not fill the blob's 3x6x5; -resize would"),
    "floats HxWxC": (
        lambda m: np.zeros((6, 5, 3)),
        r"an array of 6x5x3 float64 does not fill input 'data', which takes images of 3 channels or 90 numbers \(3x6x5"
        r"\): pixels as height x width x channels are uint8",
    ),
    "channels": (lambda m: np.zeros((6, 5, 4), np.uint8), r"uint8 arrays are height x width x 3 in BGR order, many of"),
    "ambiguous": (
        lambda m: np.zeros((3, 6, 3), np.uint8),
        r"a uint8 array of 3x6x3 may be height x width x channels or",
    ),
    "in a list": (lambda m: [np.zeros((6, 5, 3), np.uint8), b""], r"^item 1 of the list: .* it is empty"),
    "NaN": (lambda m: np.full(90, np.nan), r"the value that is given: .*(NaN|nan)"),
    "too many": (lambda m: [1.0] * 91, r"the list: an array of 91 float64 does not fill input 'data'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(colour, case):
    given, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as raised:
        colour[0].predict(given(colour[0]))
    assert "\n" not in raised.value.message


def test_images_where_numbers_are_taken(numbers):
    for given in (Image.new("L", (2, 2)), b"file"):
        with pytest.raises(DataError, match="is an image, and input 'data' takes 4 numbers"):
            numbers[0].predict(given)


def test_frames_go_to_transform(numbers):
    import pandas as pd

    with pytest.raises(DataError, match=r"this is a pandas.*DataFrame: transform takes DataFrames"):
        numbers[0].predict(pd.DataFrame({"a": [1]}))


# ---- the net in this process

ABORTING = """
import os
import caffe


class Aborting(caffe.Layer):
    def setup(self, bottom, top): top[0].reshape(1)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top): os.abort()
    def backward(self, top, down, bottom): pass
"""


def test_a_net_that_ends_its_process_ends_another_one(tmp_path, monkeypatch):
    (tmp_path / "aborting_layer.py").write_text(ABORTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    layer = (
        'layer { name: "p" type: "Python" bottom: "ip" top: "p" '
        'python_param { module: "aborting_layer" layer: "Aborting" } }'
    )
    model, *_ = small(tmp_path, (1, 4))
    text = (tmp_path / "deploy.prototxt").read_text() + layer
    model = CaffeModel.fromCaffe(text, tmp_path / "m.caffemodel", features=["p"])
    with pytest.raises(ConfigError, match=r"net\.prototxt: the net does not run with the weights of the model"):
        model.predict([1, 2, 3, 4])


def test_parameters_count_at_the_next_call(numbers):
    model, rows, expected = numbers
    other = model.copy()
    np.testing.assert_array_equal(other.predict(rows[0]), expected[0])
    other.setFeatures(["ip", "prob"])
    assert list(other.predict(rows[0])) == ["ip", "prob"]
    np.testing.assert_array_equal(model.predict(rows[0]), expected[0])
    with pytest.raises(ConfigError, match=r"has no blob 'pro'\. Did you mean 'prob'\?"):
        other.setFeatures(["pro"]).predict(rows[0])


def test_copies_leave_the_net_behind(numbers):
    model, rows, expected = numbers
    model.predict(rows[0])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model), model.copy()):
        assert other not in local._of_models
        np.testing.assert_array_equal(other.predict(rows[0]), expected[0])
    before = len(local._of_models)
    del other
    assert len(local._of_models) < before


def test_threads_and_forks(lenet):
    model, images, expected = lenet
    model.predict(images[0])
    wrong = []

    def work(number):
        for _ in range(10):
            if not np.array_equal(model.predict(images[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()

    def child(send):
        send(model.predict(images[5]).tobytes() + model.predict(images[6]).tobytes())

    found = [run_in_child(child, 60) for _ in range(3)]  # while others compute
    for thread in threads:
        thread.join()
    assert not wrong
    for output, errors, _ in found:
        assert output == expected[5].tobytes() + expected[6].tobytes(), errors


def test_time_beside_bare_pycaffe(lenet, tmp_path, capsys):
    """At most a millisecond more than the forward pass: for an image's pixels, and for its numbers."""
    net, weights = write_deployed(tmp_path, "lenet_lmdb", 1)
    bare = caffe.Net(net, weights, caffe.TEST)
    model, images, _ = lenet
    vector = Vectors.dense(images[0].reshape(-1))

    def fastest(call):
        times = []
        for _ in range(60):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return 1000 * min(times)

    times = {"forward": fastest(bare.forward)}
    for name, given in (("pixels", images[0]), ("PNG", png(images[0])), ("Vector", vector)):
        times[name] = fastest(lambda given=given: model.predict(given))
    with capsys.disabled():
        print("\nLeNet, ms:", ", ".join(f"{name} {ms:.3f}" for name, ms in times.items()))
    assert max(times["pixels"], times["Vector"]) - times["forward"] < 1


# ---- saved models


def saved(folder, model, **changes):
    """A model's folder as Spark ML writes it."""
    metadata = {
        "class": "caffeonspark.ml.model.CaffeModel",
        "timestamp": 1,
        "sparkVersion": "3.5.1",
        "uid": "CaffeModel_1",
        "paramMap": {"features": ["prob"]},
        "defaultParamMap": {},
        "ending": ".caffemodel",
        "netPath": "net.prototxt",
        **changes,
    }
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata" / "part-00000").write_text(json.dumps(metadata) + "\n")
    (folder / "net.prototxt").write_text(str(model._net.message))
    (folder / "model.caffemodel").write_bytes(model._content)
    return folder


def test_a_saved_models_folder(numbers, tmp_path):
    model, rows, expected = numbers
    for number, compress in enumerate([None, gzip.compress, bz2.compress]):
        folder = saved(tmp_path / str(number), model)
        part = folder / "metadata" / "part-00000"
        if compress is not None:
            ending = ".gz" if compress is gzip.compress else ".bz2"
            part.with_name(part.name + ending).write_bytes(compress(part.read_bytes()))
            part.unlink()
        for given in (folder, str(folder), f"file:{folder}"):
            loaded = CaffeModel.loadLocal(given)
            assert loaded.uid == "CaffeModel_1"
            np.testing.assert_array_equal(loaded.predict(rows[0]), expected[0])


def test_folders_that_are_no_saved_model(numbers, tmp_path):
    model = numbers[0]
    (tmp_path / "file.caffemodel").write_bytes(b"x")
    saved(tmp_path / "pipeline", model, **{"class": "pyspark.ml.pipeline.PipelineModel"})
    saved(tmp_path / "pipeline" / "stages" / "0_x", model)
    saved(tmp_path / "estimator", model, **{"class": "caffeonspark.ml.estimator.CaffeEstimator"})
    saved(tmp_path / "strange", model, **{"class": "no.such.Thing"})
    saved(tmp_path / "damaged", model)
    (tmp_path / "damaged" / "metadata" / "part-00000").write_text("{")
    for place, message in {
        "hdfs:///models/lenet": r"loadLocal reads folders of this machine, .*fetch the folder first, or",
        "none": r"none does not exist: name the folder that save wrote",
        "file.caffemodel": r"is a file: name the folder that save wrote; fromCaffe\(net, weights\) takes",
        "": r"is no saved model: there is no metadata of Spark ML in it",
        "pipeline": r"is a saved PipelineModel, not a CaffeModel: the model in it is .*pipeline/stages/0_x",
        "estimator": r"is a saved CaffeEstimator, not a CaffeModel: save the model that its fit returns",
        "strange": r"is a saved Thing, not a CaffeModel",
    }.items():
        with pytest.raises(ConfigError, match=message) as raised:
            CaffeModel.loadLocal(place if ":" in place else f"{tmp_path}/{place}")
        assert "\n" not in raised.value.message
    with pytest.raises(DataError, match=r"part-00000 is no metadata of Spark ML, or damaged"):
        CaffeModel.loadLocal(tmp_path / "damaged")


def test_no_spark_is_started(numbers):
    from pyspark import SparkContext

    numbers[0].predict(numbers[1][0])
    if "pyspark" in sys.modules and not os.environ.get("PYTEST_XDIST_WORKER"):
        assert SparkContext._gateway is None or SparkContext._active_spark_context is not None


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_passes_of_another_size(tmp_path, batch):
    """-scoreBatch: as plain pycaffe computes them, and as ``transform`` does."""
    model, path, weights = small(tmp_path, (4, 6), scoreBatch=batch)
    model._set(features=["ip"])
    rows = np.random.default_rng(1).standard_normal((11, 6)).astype(np.float32)
    found = model.predict(list(rows))
    np.testing.assert_array_equal(found, forward(path, weights, rows, batch, "ip"))
