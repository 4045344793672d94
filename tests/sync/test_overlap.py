"""Gradients that travel in buckets while backward still runs: what is trained does not depend on when they travel."""

import contextlib
import time

import numpy as np
import pytest

from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.local import local_group
from caffeonspark.comm.shared_memory import share_memory
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import PeerLost
from caffeonspark.settings import Settings
from caffeonspark.sync import all_reduce
from tests.support import stock
from tests.support.exchanging import helped_group, in_threads, tcp_group
from tests.support.guard import parties
from tests.support.local_ranks import LocalRank
from tests.support.mixed_ranks import images

SGD = 'base_lr: 0.02 momentum: 0.9 lr_policy: "fixed" random_seed: 3 weight_decay: 0.001'
ITERATIONS, BATCH, LEAST = 6, 10, 1024
SHARED = 'param { name: "w" } param { name: "b" }'
FILLER = 'weight_filler { type: "xavier" }'


def line(name, bottom, outputs, more=""):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {more} '
        f"inner_product_param {{ num_output: {outputs} {FILLER} }} }}\n"
    )


LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }\n'
NETS = {
    "plain": stock.LAYERS,
    "shared": line("a", "data", 144, SHARED)
    + line("b", "a", 144)
    + line("c", "b", 144, SHARED)
    + line("ip2", "c", 10)
    # ReLUs would make rounding decide
    + LOSS,
    "frozen": line("a", "data", 200, "param { lr_mult: 0 } param { lr_mult: 0 }")
    + line("b", "a", 100)
    + line("ip2", "b", 10, "param { lr_mult: 1 } param { lr_mult: 0 }")
    + LOSS,
    "statistics": 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm" }\n'
    + line("a", "norm", 200)
    + line("ip2", "a", 10)
    + LOSS,
    # counts of labels are exchanged in the forward pass
    "counted": stock.LAYERS.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: 3 } }'),
}


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch):
    monkeypatch.setattr(all_reduce.AllReduce, "least", LEAST)


class AtTheEnd(all_reduce.AllReduce):
    """The same buckets, all of them exchanged when the gradients are ready."""

    def _layer_done(self, final):
        pass


def train(group, folder, solver, layers, strategy=all_reduce.AllReduce, iterations=ITERATIONS, watch=None):
    """The weights of each rank, and its losses; ``watch(strategy)`` may put itself between."""
    data = images()

    def run(rank):
        own = folder / f"rank{rank}"
        own.mkdir(parents=True, exist_ok=True)
        feed = stock.batches(*data, len(group), rank, BATCH)
        net = stock.input_net(BATCH, layers=layers)
        settings = Settings(sync=f"{strategy.__module__}:{strategy.__name__}")
        one = LocalRank(rank, group[rank], settings, solver, net, feed, own)
        with contextlib.closing(one.trainer):
            if watch:
                watch(one)
            one.strategy.start([], None, None)
            try:
                one.train(iterations)
            except BaseException:
                group[rank].abort()
                raise
            return one.weights(), [loss for _, loss, _ in one.history]

    return in_threads(len(group), run)


def overlapping(make_group, size, *args):
    group = make_group(size, *args)
    for comm in group:
        comm.overlaps = True
    return group


def assert_equal(found, wanted):
    for (weights, losses), (others, other_losses) in zip(found, wanted):
        assert losses == other_losses
        for one, other in zip(weights, others):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("solver", ["", "iter_size: 2 clip_gradients: 0.5"], ids=["plain", "everything"])
@pytest.mark.parametrize("name", NETS)
def test_when_they_travel_changes_nothing(tmp_path, name, solver):
    """Over TCP and early, against the same buckets at the end, one after another, in the documented order."""
    solver = f"{SGD} {solver}"
    early = train(overlapping(tcp_group, 2), tmp_path / "early", solver, NETS[name])
    late = train(overlapping(local_group, 2), tmp_path / "late", solver, NETS[name], AtTheEnd)
    assert_equal(early, late)
    assert_equal(early[:1], early[1:])


@pytest.mark.parametrize(("size", "encrypted"), [(3, False), (2, True)])
def test_more_ranks_and_encryption(tmp_path, size, encrypted):
    solver = f"{SGD} iter_size: 2 clip_gradients: 0.5"
    early = train(overlapping(tcp_group, size, encrypted), tmp_path / "early", solver, NETS["plain"])
    late = train(overlapping(tcp_group, size), tmp_path / "late", solver, NETS["plain"], AtTheEnd)
    reference = train(overlapping(local_group, size), tmp_path / "reference", solver, NETS["plain"])
    assert_equal(early, late)
    assert_equal(early, reference)


def train_on(hosts, *args):
    """The same by ranks of these hosts, with helpers."""
    with contextlib.ExitStack() as ended:
        group = helped_group(hosts)
        for comm in group:
            ended.callback(comm.close)  # the solvers' memory must not stay shared when it is freed
        return train(group, *args)


class Helped(all_reduce.AllReduce):
    """All buckets but the last one go in helper processes."""

    aside = (True,)

    def __init__(self, trainer, comm, *args):
        super().__init__(trainer, comm, *args)
        assert comm.helps


class Chosen(all_reduce.AllReduce):
    """The default, which tries both ways and notes which one it goes."""

    def __init__(self, *args):
        super().__init__(*args)
        self.went = []

    def iterate(self, load):
        self.went.append(self._trial.way)
        return super().iterate(load)


@pytest.mark.parametrize("solver", ["", "iter_size: 2 clip_gradients: 0.5"], ids=["plain", "everything"])
@pytest.mark.parametrize("name", ["plain", "shared", "statistics"])
def test_who_exchanges_them_changes_nothing(tmp_path, name, solver):
    """Helper processes of ranks of two machines, against the ranks themselves at the end, in the documented order."""
    solver, hosts = f"{SGD} {solver}", ["127.0.0.1", "127.0.0.2"]
    helped = train_on(hosts, tmp_path / "helped", solver, NETS[name], Helped)
    late = train(overlapping(local_group, 2), tmp_path / "late", solver, NETS[name], AtTheEnd)
    assert_equal(helped, late)


def test_both_ways_are_tried(tmp_path):
    hosts, made = ["127.0.0.1", "127.0.0.1", "127.0.0.2"], []
    chosen = train_on(hosts, tmp_path / "a", SGD, stock.LAYERS, Chosen, 10, lambda one: made.append(one.strategy))
    helped = train_on(hosts, tmp_path / "b", SGD, stock.LAYERS, Helped, 10)
    assert_equal(chosen, helped)
    assert [one.went[:8] for one in made] == [[False, True] * 4] * 3
    assert len({tuple(one.went) for one in made}) == 1


def bucketed_sum(sizes, buckets):
    """``stock.documented_sum`` for each bucket of gradients of these sizes; loss and votes go behind the last one."""
    at = np.concatenate([[0], np.cumsum(sizes)])
    places = [np.concatenate([np.arange(at[n], at[n + 1]) for n in numbers]) for numbers in buckets]
    places[-1] = np.concatenate([places[-1], at[-1] + np.arange(2)])
    one_at_a_time = stock.documented_sum

    def add(parts):
        total = np.empty_like(parts[0])
        for place in places:
            total[place] = one_at_a_time([part[place] for part in parts])
        return total

    return add


@pytest.mark.parametrize("iter_size", [1, 2])
def test_the_model_is_what_one_solver_makes_of_the_documented_sums(tmp_path, monkeypatch, iter_size):
    solver = f"{SGD} iter_size: {iter_size} clip_gradients: 0.5"
    sizes = [8 * 25, 8, 150 * 128, 150, 10 * 150, 10]
    monkeypatch.setattr(stock, "documented_sum", bucketed_sum(sizes, [(4, 5), (2, 3), (0, 1)]))
    one, losses = stock.train_in_turn(solver, 2, BATCH, ITERATIONS, *images(), iter_size=iter_size)
    found = train(overlapping(tcp_group, 2), tmp_path, solver, stock.LAYERS)
    assert_equal(found, [(stock.weights(one.net), losses)] * 2)


def test_on_one_machine_it_is_one_collective(tmp_path):
    solver = f"{SGD} clip_gradients: 0.5"
    one, losses = stock.train_in_turn(solver, 2, BATCH, ITERATIONS, *images())
    assert_equal(train(tcp_group(2), tmp_path, solver, stock.LAYERS), [(stock.weights(one.net), losses)] * 2)


def test_buckets_leave_while_backward_runs(tmp_path):
    said = []

    def watch(one):
        if one.rank:
            return
        begin, step = one.strategy.comm.begin_all_reduce, one.trainer.step

        def begin_all_reduce(arrays, scale=None, compressed=0):
            said.append(sum(array.size for array in arrays))
            return begin(arrays, scale, compressed)

        def watched(load, gradients_ready):
            step(load, lambda loss: (said.append("ready"), gradients_ready(loss)))

        one.strategy.comm.begin_all_reduce, one.trainer.step = begin_all_reduce, watched

    train(overlapping(tcp_group, 2), tmp_path, SGD, stock.LAYERS, iterations=2, watch=watch)
    assert said == [1510, 19350, "ready", 210] * 2


@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_leaves_when_a_bucket_travels(tmp_path, who):
    def watch(one):
        if one.rank != who:
            return

        def leave(final):
            if one.trainer.iteration == 2 and final == 2:
                raise ValueError("gone")

        one.trainer.watch_backward(leave)

    group = overlapping(tcp_group, 2)
    begin = time.monotonic()
    with pytest.raises((ValueError, PeerLost)):
        train(group, tmp_path, SGD, stock.LAYERS, watch=watch)
    assert time.monotonic() - begin < 30  # no stall's time
    for comm in group:
        comm.abort()


@pytest.mark.parametrize(("hosts", "overlaps"), [(["127.0.0.1"] * 2, False), (["127.0.0.1", "127.0.0.2"], True)])
def test_it_is_done_where_ranks_are_on_several_machines(hosts, overlaps):
    credentials = parties(2)
    listeners = [Listener(host, (0, 0), None, rank) for rank, host in enumerate(hosts)]
    addresses = [listener.address for listener in listeners]
    group = in_threads(2, lambda rank: connect(rank, addresses, listeners[rank], credentials[rank]))
    assert [comm.overlaps for comm in group] == [overlaps] * 2
    for comm in in_threads(2, lambda rank: share_memory(group[rank])):
        assert not comm.overlaps  # in memory there is nothing to wait for
        comm.close()
    assert not local_group(1)[0].overlaps
