"""The nets that a Python worker keeps: computed by plain pycaffe too, and given back when there are too many."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyspark import Broadcast

from caffeonspark import Config
from caffeonspark.data.records import SAMPLE_ID
from caffeonspark.data.sources.dataframe import CoSTop
from caffeonspark.data.sources.inputs import InputReader
from caffeonspark.inference import nets
from caffeonspark.inference.batches import outputs_of
from caffeonspark.inference.tasks import Task
from caffeonspark.nets.net import TEST
from caffeonspark.plans.scoring import scoring_plan
from tests.support.deployed import forward, write_two_heads


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(nets, "_nets", type(nets._nets)())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three nets of one kind whose weights differ: [(net, model)], paths."""
    return [write_two_heads(tmp_path_factory.mktemp(f"model{seed}"), seed=seed) for seed in range(3)]


def task_of(paths, digest, value=None):
    config = Config(None, net=paths[0], model=paths[1])
    plan = scoring_plan(config, config.run_config.net(TEST), ["prob"])
    (layer,) = plan.layers
    reader = InputReader(tuple(CoSTop(top.name, "FLOAT_ARRAY", top) for top in layer.tops))
    plan = replace(plan, layers=(replace(layer, reader=reader, count=None),))
    with open(paths[1], "rb") as f:
        model = value or SimpleNamespace(value=f.read())
    return Task("caffe", "environment", plan, ("prob",), model, ".caffemodel", digest, SimpleNamespace())


def probabilities(task, x):
    ids = pa.array([str(number) for number in range(len(x))], pa.string())
    batch = pa.record_batch([ids, pa.array(list(x), pa.list_(pa.float32()))], names=[SAMPLE_ID, "x"])
    return np.concatenate([values["prob"] for _, values in outputs_of(task, 0, iter([batch]))])


X = np.random.default_rng(1).standard_normal((10, 3)).astype(np.float32)


def test_several_models_stay_and_each_has_its_own_numbers(models):
    tasks = [task_of(paths, f"net {number}") for number, paths in enumerate(models)]
    wanted = [forward(*paths, {"x": X}, 4) for paths in models]
    assert not np.array_equal(wanted[0], wanted[1])
    for _ in range(2):
        for task, prob in zip(tasks, wanted):
            np.testing.assert_array_equal(probabilities(task, X), prob)
    built = [kept.net for kept in nets._nets.values()]
    for task in tasks:
        task.model.value = b"not read again"
        probabilities(task, X)
    assert [kept.net for kept in nets._nets.values()] == built


def test_what_was_used_longest_ago_goes_first(models, monkeypatch):
    tasks = [task_of(paths, f"net {number}") for number, paths in enumerate(models)]
    size = nets.engine_named("caffe").inference_memory(tasks[0].plan)
    monkeypatch.setattr(nets, "MOST_MB", 2.5 * size)
    gone = []
    for number in (0, 1, 0, 2):
        probabilities(tasks[number], X)
        gone.append(weakref.ref(nets._nets[f"net {number}"].net._net))
    gc.collect()
    assert list(nets._nets) == ["net 0", "net 2"]
    assert [one() is None for one in gone] == [False, True, False, False]
    np.testing.assert_array_equal(probabilities(tasks[1], X), forward(*models[1], {"x": X}, 4))


def test_larger_passes_take_more_of_the_memory(models, monkeypatch):
    """They grow a net's blobs, also of one that is kept already, and blobs do not shrink again."""
    tasks = [task_of(paths, f"net {number}") for number, paths in enumerate(models)]
    size = nets.engine_named("caffe").inference_memory(tasks[0].plan)
    monkeypatch.setattr(nets, "MOST_MB", 2.5 * size)
    for number, batch in ((0, 0), (1, 0), (1, 4096), (1, 0)):
        probabilities(replace(tasks[number], batch=batch), X)
    assert list(nets._nets) == ["net 1"]
    assert nets._nets["net 1"].size > 100 * size
    probabilities(tasks[2], X)
    assert list(nets._nets) == ["net 2"]


def test_a_net_that_is_too_large_is_alone(models, monkeypatch):
    monkeypatch.setattr(nets, "MOST_MB", 0.0)
    for number, paths in enumerate(models):
        np.testing.assert_array_equal(probabilities(task_of(paths, f"net {number}"), X), forward(*paths, {"x": X}, 4))
        assert list(nets._nets) == [f"net {number}"]


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_passes_of_another_size(models, batch):
    """As plain pycaffe computes such passes, the last one smaller."""
    task = replace(task_of(models[0], "net"), batch=batch)
    np.testing.assert_array_equal(probabilities(task, X), forward(*models[0], {"x": X}, batch))


def test_the_models_bytes_are_not_kept_next_to_the_net(models, tmp_path):
    """As Spark gives them to a worker: in a file of the executor's, read when they are asked for."""
    import pickle

    with open(models[0][1], "rb") as f:
        content = f.read()
    file = tmp_path / "broadcast"
    file.write_bytes(pickle.dumps(content))
    model = Broadcast(path=str(file))
    probabilities(task_of(models[0], "net", model), X)
    assert "_value" not in vars(model)
    assert model.value == content


def test_a_value_that_came_without_a_file_stays(models):
    model = SimpleNamespace(value=open(models[0][1], "rb").read(), _value=b"only here")
    nets._forget_value(model)
    assert model._value == b"only here"
