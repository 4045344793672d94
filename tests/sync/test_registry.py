"""Strategies by name, and flags that belong to one of them."""

import sys

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.settings import FLAGS, Settings
from caffeonspark.sync.all_reduce import AllReduce
from caffeonspark.sync.averaging import Averaging
from caffeonspark.sync.elastic import Elastic
from caffeonspark.sync.full_batch import FullBatch
from caffeonspark.sync.lbfgs import LBFGS
from caffeonspark.sync.registry import strategy_for
from tests.support import own_strategy, stock
from tests.support.local_ranks import on_ranks

OWN = "from tests.support.own_strategy import Alone as Own\n"


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder on Python's path whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_strategy.py").write_text(OWN)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_names():
    assert strategy_for(Settings()) is AllReduce
    assert strategy_for(Settings(sync="average")) is Averaging
    assert strategy_for(Settings(sync="elastic")) is Elastic
    assert FLAGS["syncInterval"].default == 10


def test_a_class_of_ones_own(modules):
    found = strategy_for(Settings(sync="own_strategy:Own", syncInterval=3))
    assert found is own_strategy.Alone


def test_an_installed_package_brings_a_strategy(modules):
    info = modules / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[caffeonspark.strategies]\nmine = own_strategy:Own\n")
    assert strategy_for(Settings(sync="mine")) is own_strategy.Alone
    with pytest.raises(
        ConfigError, match=r"-sync: 'xyz' is unknown\. Valid names: all_reduce, average, elastic, mine\."
    ):
        strategy_for(Settings(sync="xyz"))


@pytest.mark.parametrize("name", ["averge", "allreduce", "gossip"])
def test_an_unknown_name_lists_those_there_are(name):
    with pytest.raises(ConfigError, match=rf"-sync: '{name}' is unknown\. .*: all_reduce, average, elastic\."):
        strategy_for(Settings(sync=name))


def test_a_class_that_is_none(modules):
    with pytest.raises(ConfigError, match=r"no subclass of caffeonspark\.sync\.base\.Strategy"):
        strategy_for(Settings(sync="collections:Counter"))


def test_a_class_that_leaves_something_out(modules):
    (modules / "own_half.py").write_text("from caffeonspark import Strategy\nclass Half(Strategy):\n    pass\n")
    for name in ("own_half:Half", "own_half:Strategy"):
        with pytest.raises(ConfigError, match=r"does not define all that Strategy asks for: iterate$"):
            strategy_for(Settings(sync=name))
    with pytest.raises(ConfigError, match=r"has no class 'Hal'\.$"):  # nothing here would do
        strategy_for(Settings(sync="own_half:Hal"))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("x = 1\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*own_broken\.py, line 2\)$"),
        ("def f(:\n", r"SyntaxError: invalid syntax \(own_broken\.py, line 1\)$"),
        ("import not_there\n", r"No module named 'not_there': install what it needs$"),
        ("from caffeonspark import ConfigError\nraise ConfigError('its own')\n", "^its own$"),
    ],
)
def test_a_module_that_cannot_be_imported(modules, code, why):
    (modules / "own_broken.py").write_text(code)
    with pytest.raises(ConfigError, match=why) as raised:
        strategy_for(Settings(sync="own_broken:Own"))
    if why[0] != "^":
        assert str(raised.value).startswith("-sync own_broken:Own: own_broken cannot be imported: ")


@pytest.mark.parametrize("name", [":", ":Own", "..own:Own"])
def test_half_a_place(name):
    with pytest.raises(ConfigError, match=f"-sync {name}: give it as MODULE:CLASS, with the module's whole name"):
        strategy_for(Settings(sync=name))


def test_a_flag_of_another_strategy():
    message = (
        r"-syncInterval belongs to -sync average or -sync elastic, and this is -sync all_reduce: leave -syncInterval"
    )
    with pytest.raises(ConfigError, match=message):
        strategy_for(Settings(syncInterval=5))
    for flags in ({"averageHistory": True}, {"sync": "elastic", "averageHistory": True}):
        with pytest.raises(
            ConfigError, match=r"-averageHistory belongs to -sync average, and this is -sync \w+: leave"
        ):
            strategy_for(Settings(**flags))
    with pytest.raises(ConfigError, match=r"-elasticAlpha belongs to -sync elastic, and this is -sync average: leave"):
        strategy_for(Settings(sync="average", elasticAlpha=0.1))


@pytest.mark.parametrize(("alpha", "ranks"), [(0, 1), (-0.1, 2), (0.6, 2), (1.01, 1), (0.34, 3), (float("nan"), 1)])
def test_an_alpha_that_cannot_be(alpha, ranks):
    message = rf"-elasticAlpha {alpha:g} must be above 0 and at most 1 / ranks, which is .* here: .* 0\.9 / ranks$"
    with pytest.raises(ConfigError, match=message):
        Elastic.check_settings(Settings(sync="elastic", elasticAlpha=alpha), ranks)


@pytest.mark.parametrize(("alpha", "ranks"), [(None, 3), (1, 1), (1 / 3, 3), (1 / 49, 49), (1e-6, 100)])
def test_an_alpha_that_can_be(alpha, ranks):
    Elastic.check_settings(Settings(sync="elastic", elasticAlpha=alpha), ranks)


def test_the_interval_is_at_least_one():
    with pytest.raises(ConfigError, match="-syncInterval must be at least 1"):
        FLAGS.parse_args(["-syncInterval", "0"])


def test_a_strategy_of_ones_own_trains(tmp_path, small_images):
    settings = 'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3'

    def work(rank):
        rank.train(7)
        return rank.weights(), rank.model()

    found = on_ranks(tmp_path, *small_images, 2, work, solver=settings, sync="tests.support.own_strategy:Alone")
    solver = stock.make_solver(settings, stock.input_net(10))
    feed = stock.batches(*small_images, 2, 0, 10)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(7)
    for expected, own, one, other in zip(stock.weights(solver.net), found[0][0], found[0][1], found[1][1]):
        assert (expected == own).all()
        assert (expected == one).all()
        assert (expected == other).all()


def test_the_solvers_type_or_a_flag_chooses_one_that_goes_through_all_data():
    assert strategy_for(Settings(), "LBFGS") is LBFGS
    assert strategy_for(Settings(tol=1e-3, lbfgsHistory=3, fullBatch=True), "LBFGS") is LBFGS
    assert strategy_for(Settings(fullBatch=True)) is FullBatch
    with pytest.raises(ConfigError, match="-fullBatch goes through all the data as one solver, and -sync average does"):
        strategy_for(Settings(fullBatch=True, sync="average"))
    with pytest.raises(ConfigError, match='-tol belongs to type: "LBFGS", and this is -fullBatch: leave -tol out'):
        strategy_for(Settings(fullBatch=True, tol=1e-3))
    with pytest.raises(
        ConfigError, match='-syncInterval belongs to -sync average or -sync elastic, and this is type: "LBFGS"'
    ):
        strategy_for(Settings(syncInterval=3), "LBFGS")
