"""-scoreBatch: which passes may have another size than the net states."""

from dataclasses import replace

import pytest

from caffeonspark import Config
from caffeonspark.data.tops import ImageTop
from caffeonspark.nets.net import TEST
from caffeonspark.plans.passes import enlarged, fixed_because, pass_size
from caffeonspark.plans.scoring import scoring_plan
from tests.support.deployed import write_two_heads


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Of a net with batches of 4."""
    net, model = write_two_heads(tmp_path_factory.mktemp("passes"))
    config = Config(None, net=net, model=model)
    return scoring_plan(config, config.run_config.net(TEST), ["prob", "one"])


def test_passes_have_the_nets_size_unless_another_is_asked_for(plan):
    assert plan.batch_size == 4
    assert pass_size(plan, ["prob"], None) == 4
    assert pass_size(plan, ["prob"], 64) == 64
    assert pass_size(plan, ["prob"], 1) == 1


def test_passes_that_cannot_have_another(plan):
    (layer,) = plan.layers
    loss = replace(plan, batch_axes={name: axis for name, axis in plan.batch_axes.items() if name != "one"})
    cases = {
        "a layer states the batch size": replace(plan, flexible=False),
        "blob 'one' has the value of a whole batch": loss,
        "the net makes its data itself": replace(plan, layers=(), made_batch=4),
        "the data layers have different batch sizes": replace(plan, layers=(layer, replace(layer, batch_size=8))),
        "its blobs have the size of each image": replace(
            plan, layers=(replace(layer, tops=(ImageTop("x", (1, 4, 4), any_size=True),)),)
        ),
    }
    for why, fixed in cases.items():
        assert fixed_because(fixed, ["prob", "one"]) == why
        assert pass_size(fixed, ["prob", "one"], 64) == 4
    assert pass_size(loss, ["prob"], 64) == 64


def test_memory_grows_with_the_pass(plan):
    larger = enlarged(plan, 64)
    assert larger.shapes["prob"] == (64, 5)
    assert enlarged(plan, 4).shapes == plan.shapes
    assert larger.shapes.keys() == plan.shapes.keys()
