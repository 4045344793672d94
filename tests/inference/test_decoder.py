"""Tasks whose images are decoded ahead: the same outputs and errors as without."""

import io
from dataclasses import replace
from types import SimpleNamespace

import caffe
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from caffeonspark import Config
from caffeonspark.data.records import SAMPLE_ID, BadRecordPolicy
from caffeonspark.data.sources.dataframe import CoSDataReader, CoSTop
from caffeonspark.data.tops import ImageTop
from caffeonspark.errors import DataError
from caffeonspark.inference import decoder, nets
from caffeonspark.inference.batches import outputs_of
from caffeonspark.inference.tasks import Task
from caffeonspark.nets.net import TEST
from caffeonspark.plans.scoring import scoring_plan
from tests.support.deployed import fill, forward

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    (folder / "net.prototxt").write_text(NET)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    fill(net)
    net.save(str(folder / "m.caffemodel"))
    return str(folder / "net.prototxt"), str(folder / "m.caffemodel")


@pytest.fixture
def task(paths):
    """One task on a machine."""
    config = Config(None, net=paths[0], model=paths[1], resize=True)
    plan = scoring_plan(config, config.run_config.net(TEST), ["ip"])
    (layer,) = plan.layers
    (top,) = layer.tops
    assert type(top) is ImageTop
    reader = CoSDataReader((CoSTop("data", "ENCODED_IMAGE", top, (3, 8, 8)),))
    plan = replace(plan, layers=(replace(layer, reader=reader, count=None),))
    with open(paths[1], "rb") as f:
        model = SimpleNamespace(value=f.read())
    skipped = SimpleNamespace(add=lambda found: None)
    return Task(
        "caffe", "environment", plan, ("ip",), model, ".caffemodel", "d", skipped, decodes_ahead=True, neighbours=1
    )


@pytest.fixture
def cores(monkeypatch):
    """Sets how many there are; the worker's process ends with the test."""
    monkeypatch.setattr(decoder, "_decoder", None)
    monkeypatch.setattr(nets, "_nets", type(nets._nets)())
    yield lambda number: monkeypatch.setattr(decoder, "granted_cores", lambda: number)
    if decoder._decoder is not None:
        decoder._decoder.close()


def images(count):
    return np.random.default_rng(2).integers(0, 256, (count, 8, 8, 3), np.uint8)


def rows(pixels, broken=()):
    files = []
    for number, image in enumerate(pixels):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        files.append(b"no image" if number in broken else out.getvalue())
    ids = pa.array([f"row{number}" for number in range(len(files))])
    return iter([pa.record_batch([ids, pa.array(files, pa.binary())], names=[SAMPLE_ID, "data"])])


def outputs(task, batches):
    found = [(records.index, values["ip"]) for records, values in outputs_of(task, 0, batches)]
    return np.concatenate([index for index, _ in found]), np.concatenate([values for _, values in found])


def test_the_bits_of_caffe(paths, task, cores):
    pixels, process = images(23), None
    bgr = np.float32(pixels[..., ::-1].transpose(0, 3, 1, 2))
    for number in (1.0, 2.0):
        cores(number)
        for _ in range(2):
            index, values = outputs(task, rows(pixels))
            assert index.tolist() == list(range(23))
            np.testing.assert_array_equal(values, forward(*paths, bgr, 4, "ip"))
        process = decoder._decoder._process if decoder._decoder else None
        assert (process is not None) == (number == 2.0)
    assert process.poll() is None  # it waits for the next task


def test_images_that_cannot_be_used(task, cores):
    message = {}
    for number in (1.0, 2.0):
        cores(number)
        with pytest.raises(DataError) as e:
            outputs(task, rows(images(9), broken=(5,)))
        message[number] = str(e.value)
        skipping = replace(task.plan.layers[0], bad=BadRecordPolicy(skip=True))
        index, _ = outputs(replace(task, plan=replace(task.plan, layers=(skipping,))), rows(images(9), broken=(0, 5)))
        assert index.tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert "row5" in message[1.0]
    assert message[1.0] == message[2.0]


def test_only_where_a_core_is_left(task, cores, monkeypatch):
    for name in decoder._THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert decoder.has_spare_core(1, 2.0)
    assert not decoder.has_spare_core(2, 2.0)
    assert not decoder.has_spare_core(1, 1.5)
    assert not decoder.has_spare_core(None, 64.0)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    assert not decoder.has_spare_core(2, 8.0)
    assert decoder.has_spare_core(1, 8.0)
    for name in decoder._THREADS:
        monkeypatch.delenv(name, raising=False)
    assert not decoder.has_spare_core(1, 8.0)  # BLAS takes them all
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cores(2.0)
    assert decoder.decoder_for(replace(task, decodes_ahead=False)) is None
    assert decoder.decoder_for(replace(task, neighbours=2)) is None
    assert decoder.decoder_for(task) is not None
