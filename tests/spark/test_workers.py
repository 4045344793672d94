"""Which Python workers functions run in, by the environment that Spark keeps them by."""

import threading
import types

import pytest

from caffeonspark.spark.workers import Workers, inference_environment, part_from_inference, worker_environment


def test_an_environment_is_for_what_is_handed_over_meanwhile():
    context = types.SimpleNamespace(environment={"PYTHONHASHSEED": "0"})
    with pytest.raises(KeyError), worker_environment(context, {"A": "1", "PYTHONHASHSEED": "7"}):
        assert context.environment == {"A": "1", "PYTHONHASHSEED": "7"}
        raise KeyError
    assert context.environment == {"PYTHONHASHSEED": "0"}
    with worker_environment(context, {}):
        assert context.environment == {"PYTHONHASHSEED": "0"}


def test_environments_of_threads_do_not_mix():
    context = types.SimpleNamespace(environment={})
    seen, inside = [], threading.Event()

    def other():
        inside.wait(10)
        with worker_environment(context, {"B": "2"}):
            seen.append(dict(context.environment))

    thread = threading.Thread(target=other)
    thread.start()
    with worker_environment(context, {"A": "1"}):
        inside.set()
        thread.join(0.2)
        assert context.environment == {"A": "1"}
    thread.join(10)
    assert seen == [{"B": "2"}] and context.environment == {}


def test_workers_by_kernel():
    """Everybody's by default; others where a kernel is named, or was loaded; those are kept for the runs that come."""
    first = Workers("auto", "app-1")
    assert first.environment == {} and not first.fresh
    first.take_fresh(["Haswell", "Haswell"])
    assert first.fresh and first.environment == {
        "CAFFEONSPARK_WORKERS": "Haswell Haswell",
        "OPENBLAS_CORETYPE": "Haswell",
    }
    assert Workers("auto", "app-1").environment == first.environment and Workers("auto", "app-1").fresh
    assert Workers("auto", "app-2").environment == {} and not Workers("Zen", "app-1").fresh
    first.take_fresh(["SkylakeX", "Haswell"])  # each its own: only they know which, before they load it
    assert first.environment == {"CAFFEONSPARK_WORKERS": "SkylakeX Haswell"}
    assert (
        Workers("Zen", "app-1").environment == inference_environment("Zen", "app-1") == {"CAFFEONSPARK_WORKERS": "Zen"}
    )


def test_inference_leaves_workers_of_ranks_that_took_other_kernels():
    assert inference_environment("auto", "app-3") == {}
    part_from_inference("app-3")
    assert inference_environment("auto", "app-3") == {"CAFFEONSPARK_WORKERS": "inference"}
    assert inference_environment("auto", "app-4") == {}
