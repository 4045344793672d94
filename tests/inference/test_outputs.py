"""Columns that a net adds, computed in this process by what tasks run: each row in its place, with Caffe's numbers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from caffeonspark import Config, ConfigError
from caffeonspark.data.records import SAMPLE_ID, BadRecordPolicy
from caffeonspark.data.sources.dataframe import CoSTop
from caffeonspark.data.sources.inputs import InputReader
from caffeonspark.data.tops import ImageTop, NumberTop
from caffeonspark.errors import DataError
from caffeonspark.inference.models import ModelFile
from caffeonspark.inference.outputs import (
    OutputColumn,
    _about_vectors,
    _arrow_array,
    _scored,
    check_outputs,
    formed,
)
from caffeonspark.inference.tasks import Task
from caffeonspark.nets.net import TEST
from caffeonspark.plans.scoring import scoring_plan
from tests.support.deployed import forward, write_two_heads


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """(net, model): paths."""
    return write_two_heads(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def task(net):
    config = Config(None, net=net[0], model=net[1])
    plan = scoring_plan(config, config.run_config.net(TEST), ["prob", "one"])
    (layer,) = plan.layers
    assert [type(top) for top in layer.tops] == [NumberTop]
    reader = InputReader(tuple(CoSTop(top.name, "FLOAT_ARRAY", top) for top in layer.tops))
    plan = replace(plan, layers=(replace(layer, reader=reader, count=None),))
    with open(net[1], "rb") as f:
        model = SimpleNamespace(value=f.read())
    skipped = SimpleNamespace(add=lambda found: None)
    return Task("caffe", "environment", plan, ("prob", "one"), model, ".caffemodel", "test_outputs", skipped)


def skipping(task):
    layers = tuple(replace(layer, bad=BadRecordPolicy(skip=True)) for layer in task.plan.layers)
    return replace(task, plan=replace(task.plan, layers=layers))


def arrow(values):
    """Rows, of which None has no array, as an Arrow batch."""
    lists = pa.array([None if value is None else list(value) for value in values], pa.list_(pa.float32()))
    ids = pa.array([f"row{number}" for number in range(len(values))], pa.string())
    return pa.record_batch([ids, lists], names=[SAMPLE_ID, "x"])


def rows(count):
    return np.random.default_rng(1).standard_normal((count, 3)).astype(np.float32)


MADE = [("prob", "array"), ("prob", "argmax"), ("one", "two_scores")]


@pytest.mark.parametrize("sizes", [[11], [1] * 11, [0, 3, 0, 8, 0], [4, 4, 3], []])
def test_batches_of_any_size_give_every_row_what_caffe_gives_the_whole(task, net, sizes):
    x = rows(sum(sizes))
    starts = np.cumsum([0, *sizes])
    frames = list(_scored(task, MADE, (arrow(x[a:b]) for a, b in zip(starts, starts[1:]))))
    if not sum(sizes):
        assert not frames
        return
    prob = forward(*net, {"x": x}, 4)
    one = forward(*net, {"x": x}, 4, "one")[:, 0].astype(np.float64)
    found = {name: [value for frame in frames for value in frame[name]] for name in frames[0]}
    np.testing.assert_array_equal(np.float32(found["output0"]), prob)
    assert found["output1"] == prob.argmax(axis=1).tolist()
    np.testing.assert_array_equal(found["output2"], np.stack([-one, one], axis=1))


def test_outputs_are_on_their_way_before_all_rows_came(task):
    """Spark may read as it goes, and memory does not grow with the partition."""
    asked = []

    def batches():
        for number in range(8):
            asked.append(number)
            yield arrow(rows(1000))

    frames = _scored(task, MADE, batches())
    first = len(next(frames))
    assert 1000 <= first <= 2000
    assert len(asked) <= 3
    assert first + sum(map(len, frames)) == 8000


def test_rows_that_cannot_be_used_have_nulls_in_their_places(task, net):
    x = rows(9)
    values = list(x)
    values[0], values[4], values[8] = None, [1.0], [0.0, np.nan, 0.0]
    (frame,) = _scored(skipping(task), MADE, iter([arrow(values)]))
    assert frame["output0"].isna().tolist() == [True, *[False] * 3, True, *[False] * 3, True]
    assert frame["output1"].isna().tolist() == frame["output0"].isna().tolist()
    good = [1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(np.float32(list(frame["output0"][good])), forward(*net, {"x": x[good]}, 4))
    for bad in ([None] * 3, [None] * 3000):
        assert [frame["output1"].isna().all() for frame in _scored(skipping(task), MADE, iter([arrow(bad)]))] == [True]
    with pytest.raises(DataError, match=r"record 'row0': column 'x' is null$"):
        list(_scored(task, MADE, iter([arrow(values)])))


@pytest.mark.parametrize(
    "values",
    [
        [[1.5, -2.0], [3.25], [], [0.1] * 5],
        [[1.0, np.nan, np.inf], [2.0]],
        [[1.0, 2.0], None, [3.0]],
        [None, None],
        [[], []],
        [],
    ],
)
@pytest.mark.parametrize("number", [pa.float32(), pa.float64()])
def test_columns_of_arrays_from_pandas(values, number):
    """As Arrow takes them one by one, from what PySpark gives."""
    kind = pa.list_(number)
    given = pa.array(values, kind).slice(1 if len(values) > 3 else 0)
    found = _arrow_array(given.to_pandas(), kind)
    assert found.type.value_type == number
    np.testing.assert_equal(found.to_pylist(), given.to_pylist())


def test_forms():
    scores = np.float32([[0.25, np.nan, 3], [5, 1, 5]])
    one = np.float32([[0.1], [-2], [0]])
    assert formed(scores, "array") is scores
    assert formed(scores, "vector").dtype == np.float64
    assert formed(scores[1:], "argmax").tolist() == [0]
    exact = float(np.float32(0.1))
    assert formed(one, "number").tolist() == [exact, -2, 0]
    assert formed(one, "two_scores").tolist() == [[-exact, exact], [2, -2], [0, 0]]
    assert formed(one[:1], "two_probabilities").tolist() == [[1 - exact, exact]]
    assert formed(one, "two_argmax").tolist() == [1, 0, 0]


def test_vectors_say_how_long_they_are(task):
    """As Spark ML's own models do, so that VectorAssembler looks at no row; not where images may have any size."""
    scores = OutputColumn("scores", "prob", "vector")
    assert _about_vectors(task.plan, scores) == {"ml_attr": {"num_attrs": task.plan.width("prob")}}
    assert _about_vectors(task.plan, OutputColumn("two", "one", "two_scores")) == {"ml_attr": {"num_attrs": 2}}
    image = ImageTop("x", (1, 4, 4), any_size=True)
    layers = (replace(task.plan.layers[0], tops=(image,)),)
    assert _about_vectors(replace(task.plan, layers=layers), scores) == {}


def test_numbers_are_made_of_blobs_with_a_single_value(task):
    check_outputs(task.plan, [OutputColumn("p", "one", "number"), OutputColumn("q", "prob", "vector")])
    with pytest.raises(
        ConfigError, match=r"^column 'p' is made of a single number a row, and blob 'prob' of .* has 5$"
    ):
        check_outputs(task.plan, [OutputColumn("p", "prob", "number")])


def test_plans_for_values_of_this_process(net):
    """What may be an image is one; the rest are numbers."""
    text = (
        'layer { name: "i" type: "Input" top: "i" top: "n" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } '
        'shape { dim: 2 dim: 4 } } } layer { name: "f" type: "Flatten" bottom: "i" top: "f" } '
        'layer { name: "c" type: "Concat" bottom: "f" bottom: "n" top: "c" }'
    )
    folder = net[0].rpartition("/")[0]
    with open(f"{folder}/two.prototxt", "w") as f:
        f.write(text)
    config = Config(None, net=f"{folder}/two.prototxt", model=net[1], transform="scale: 0.5")
    (layer,) = scoring_plan(config, config.run_config.net(TEST), ["c"]).layers
    image, numbers = layer.tops
    assert isinstance(image, ImageTop)
    assert (image.shape, image.channels, image.transform.scale) == ((3, 8, 8), 3, 0.5)
    assert isinstance(numbers, NumberTop)
    assert numbers.shape == (4,)
    with pytest.raises(ConfigError, match=r"has no blob 'd'"):
        scoring_plan(config, config.run_config.net(TEST), ["d"])


class Context:
    """As much of a SparkContext as a model file asks for."""

    def __init__(self, application):
        self.applicationId = application
        self.sent = []

    def broadcast(self, value):
        self.sent.append(value)
        return SimpleNamespace(value=value)


def test_a_model_is_sent_to_each_application_once():
    model = ModelFile(b"content", ".caffemodel")
    first, second = Context("one"), Context("two")
    assert model.broadcast(first) is model.broadcast(first)
    assert model.broadcast(second).value == b"content"
    assert (first.sent, second.sent) == ([b"content"], [b"content"])
