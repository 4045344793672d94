"""Ranks of several hosts, which are addresses of this machine, against the documented order of additions."""

import math
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.layout import group_by_host
from caffeonspark.comm.link_model import FLAT, SEGMENTS, WHOLE, LinkModel, agreed
from caffeonspark.comm.local import local_group
from caffeonspark.comm.shared_memory import HostMemoryCommunicator, SharedMemoryCommunicator, share_memory
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.comm.test_shared_memory import arrays_of, descriptors, mappings
from tests.support.exchanging import in_threads, tcp_group_on
from tests.support.guard import everyone

A, B, C = "127.0.0.1", "127.0.0.2", "127.0.0.3"
LAYOUTS = {
    "2 and 2": [A, B, A, B],
    "1 and 2": [B, A, B],
    "3 and 1": [A, A, B, A],
    "1, 2 and 3": [C, B, A, C, B, C],
    "2, 2 and 2": [A, A, B, B, C, C],
}
SHAPES = {
    "one value": [(1,)],
    "a few": [(3,), (0,), (7, 2)],
    "64 KB": [(16_384,)],
    "large and small": [(300, 1000), (5,), (400_000,)],
    "small between": [(5,), (200_000,), (17_001,), (3, 300, 100), (0,), (40_000,)],
}
WAYS = [FLAT, WHOLE, SEGMENTS]


def documented(parts, hosts, scale):
    """Straight from Communicator.all_reduce's docstring."""
    names = sorted(set(hosts))
    flat = [np.concatenate([array.reshape(-1) for array in arrays]) for arrays in parts]
    sums = []
    for name in names:
        value = None
        for rank, host in enumerate(hosts):
            if host == name:
                value = flat[rank] if value is None else value + flat[rank]
        sums.append(value)
    n, total = len(flat[0]), np.empty_like(flat[0])
    for k in range(len(names)):
        part = slice(n * k // len(names), n * (k + 1) // len(names))
        value = sums[k][part]
        for step in range(1, len(names)):
            value = value + sums[(k + step) % len(names)][part]
        total[part] = value
    return total if scale is None else total * total.dtype.type(scale)


def group_on(hosts, way=None, shared=True, **options):
    """The communicators of ranks on these hosts, which share memory, and go the ``way`` whatever they measured."""
    group = tcp_group_on(hosts, **options)
    if shared:
        tcp = group
        group = in_threads(len(hosts), lambda rank: share_memory(tcp[rank]))
        assert all(isinstance(comm, HostMemoryCommunicator) for comm in group)
    for comm in group:
        if way:
            comm._hierarchy.way = lambda arrays, compressed: way
    return group


def close(group):
    for comm in group:
        comm.close()


@pytest.mark.parametrize(
    ("layout", "way", "dtype"),
    [
        *((layout, way, np.float32) for layout in LAYOUTS for way in (*WAYS, None)),
        *((layout, None, np.float64) for layout in LAYOUTS),
    ],
)
def test_every_way_adds_in_the_documented_order(layout, way, dtype):
    hosts = LAYOUTS[layout]
    size = len(hosts)
    shared, tcp = group_on(hosts, way), group_on(hosts, way, shared=False)
    for number, (name, shapes) in enumerate(SHAPES.items()):
        scale = (1 / size, None)[number % 2]
        copied, moved, reference = ([arrays_of(rank, shapes, dtype) for rank in range(size)] for _ in range(3))
        expected = documented(copied, hosts, scale)
        local = local_group(size, hosts)
        in_threads(size, lambda rank, *of: of[0][rank].share(of[1][rank][1:]), shared, moved)
        for group, parts in ((local, reference), (tcp, copied), (shared, moved)):
            in_threads(size, lambda rank, *of: of[0][rank].all_reduce(of[1][rank], of[2]), group, parts, scale)
            for arrays in parts:
                found = np.concatenate([array.reshape(-1) for array in arrays])
                np.testing.assert_array_equal(found, expected, err_msg=name)
    close([*shared, *tcp])


@pytest.mark.parametrize("shared", [False, True], ids=["over TCP", "shared memory"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("way", WAYS)
def test_again_and_again_over_any_link(way, encrypted, shared):
    hosts = LAYOUTS["3 and 1"]
    group = group_on(hosts, way, shared, encrypted=encrypted)
    parts = [arrays_of(rank, [(700, 900), (3,)], np.float32) for rank in range(4)]
    for number in range(3):
        if number == 1:
            in_threads(4, lambda rank: group[rank].share(parts[rank]))
        expected = documented(parts, hosts, 0.25)
        in_threads(4, lambda rank: group[rank].all_reduce(parts[rank], 0.25))
        for rank, arrays in enumerate(parts):
            np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in arrays]), expected)
            for array in arrays:
                array *= 1 + rank / 7 + number
    data = [b"x" * (rank * 1000) for rank in range(4)]
    assert in_threads(4, lambda rank: group[rank].all_gather(data[rank])) == [data] * 4
    in_threads(4, lambda rank: group[rank].broadcast(parts[rank], 2))
    for arrays in parts:
        np.testing.assert_array_equal(arrays[0], parts[2][0])
    close(group)


def test_what_is_shared_is_added_in_place():
    group = group_on(LAYOUTS["1, 2 and 3"])
    arrays = [[np.full(1 << 20, rank + 1.0, np.float32), np.zeros(3, np.float32)] for rank in range(6)]
    in_threads(6, lambda rank: group[rank].share(arrays[rank]))
    in_threads(6, lambda rank: group[rank].all_reduce(arrays[rank]))
    for comm in group:
        if len(comm._group) > 1:
            (plan,) = comm._hierarchy._plans._plans.values()
            assert plan.copied <= 2 * 4096 + 12
    assert all((array == 21).all() for array, _ in arrays)
    close(group)


def test_more_ranks_than_a_mesh_has():
    hosts = [A] * 4 + [B] * 3 + [C] * 3
    group = group_on(hosts)
    assert sorted({len(comm._links) for comm in group})[-1] < 9
    for shapes in SHAPES.values():
        parts = [arrays_of(rank, shapes, np.float32) for rank in range(10)]
        expected = documented(parts, hosts, None)
        in_threads(10, lambda rank, parts: group[rank].all_reduce(parts[rank]), parts)
        for arrays in parts:
            np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in arrays]), expected)
    close(group)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shared", [False, True], ids=["over TCP", "shared memory"])
@pytest.mark.parametrize(
    "hosts", [[A] * 8 + [B], [A] * 7 + [B, C], [A] * 9], ids=["8 and 1", "7, 1 and 1", "9 on one host"]
)
def test_who_is_connected_to_all_goes_the_way_of_those_who_are_not(hosts, shared, compressed):
    """Of more ranks than a mesh has, a leader may be connected to every other rank."""
    group = tcp_group_on(hosts, compressed=compressed, stall_timeout=20)
    if shared:
        tcp = group
        group = in_threads(9, lambda rank: share_memory(tcp[rank]))
    for name in ("a few", "large and small"):
        parts = [arrays_of(rank, SHAPES[name], np.float32) for rank in range(9)]
        local, reference = local_group(9, hosts), [[array.copy() for array in arrays] for arrays in parts]
        in_threads(9, lambda rank, group, arrays: group[rank].all_reduce(arrays[rank], 1 / 9), local, reference)
        in_threads(9, lambda rank, arrays: group[rank].all_reduce(arrays[rank], 1 / 9), parts)
        for mine in parts:
            for array, wanted in zip(mine, reference[0]):
                np.testing.assert_array_equal(array, wanted)
    assert in_threads(9, lambda rank: group[rank].all_gather(b"%d" % rank)) == [[b"%d" % k for k in range(9)]] * 9
    close(group)


def test_other_layouts_are_as_they_were():
    for hosts in ([A, A, A], [A, B, C]):
        tcp = tcp_group_on(hosts)
        assert not any(comm._hosts.hierarchical for comm in tcp)
        group = in_threads(3, lambda rank, tcp: share_memory(tcp[rank]), tcp)
        assert all(isinstance(comm, SharedMemoryCommunicator) for comm in group)
        close(group)


# ---- the choice


def test_the_choice_follows_latency_and_rate():
    hosts = group_by_host(LAYOUTS["2, 2 and 2"])
    slow = LinkModel(between=1e-4, within=2e-5, byte=8e-9, memory=1e-10)  # 1 GbE
    assert slow.best(8, hosts, connected=True) == FLAT
    assert slow.best(8, hosts, connected=False) == WHOLE
    assert slow.best(8 << 10, hosts, connected=True) == WHOLE
    assert slow.best(64 << 20, hosts, connected=True) == SEGMENTS
    far = LinkModel(between=0.05, within=2e-5, byte=8e-9, memory=1e-10)
    assert far.best(1 << 20, hosts, connected=True) == WHOLE
    assert slow.best(1 << 20, hosts, connected=True) == SEGMENTS
    sizes = [1 << k for k in range(3, 28)]
    chosen = [WAYS.index(slow.best(size, hosts, connected=True)) for size in sizes]
    assert chosen == sorted(chosen)  # more steps only for more bytes


def test_large_arrays_go_in_segments_however_slow_the_link_answers():
    hosts = group_by_host(LAYOUTS["2 and 2"])
    assert LinkModel(between=1.0).best(256 << 20, hosts, connected=True) == SEGMENTS


def test_all_ranks_choose_by_the_slowest_link():
    models = [LinkModel(1e-4, 0.0, 8e-9, 1e-10), LinkModel(0.0, 3e-5, 0.0, 2e-10)]
    assert agreed([model.pack() for model in models]) == LinkModel(1e-4, 3e-5, 8e-9, 2e-10)


def test_ranks_measure_when_they_meet():
    group = group_on(LAYOUTS["1 and 2"])
    models = {comm._hierarchy.model for comm in group}
    assert len(models) == 1 and models != {LinkModel()}
    (model,) = models
    assert all(0 < number < 1 and math.isfinite(number) for number in (model.between, model.within, model.memory))
    close(group)


# ---- what goes wrong


def test_nothing_is_left_when_it_ends():
    before, open_before = mappings(), descriptors()
    group = group_on(LAYOUTS["3 and 1"])
    arrays = [[np.full(300_000, rank + 1.0, np.float32)] for rank in range(4)]
    in_threads(4, lambda rank: group[rank].share(arrays[rank]))
    in_threads(4, lambda rank: group[rank].all_reduce(arrays[rank]))
    assert len(mappings()) > len(before)
    group[0].close()
    for comm in group[1:]:
        comm.abort()
    assert all((array == 10).all() for (array,) in arrays)
    group = comm = None
    assert mappings() == before
    assert descriptors() == open_before


@pytest.mark.parametrize("way", WAYS)
def test_ranks_out_of_step_fail_at_once(way):
    group = group_on(LAYOUTS["2 and 2"], way, stall_timeout=5)
    with pytest.raises((CommunicationError, PeerLost), match=r"out of step|rank"):
        in_threads(4, failing(group, lambda rank: [np.zeros(100_000 + (rank == 3), np.float32)]))


def test_ranks_that_share_other_arrays_fail_at_once():
    group = group_on(LAYOUTS["2 and 2"], SEGMENTS, stall_timeout=5)
    arrays = [np.zeros(100_000, np.float32) for rank in range(4)]
    in_threads(4, lambda rank: group[rank].share([arrays[rank]]))
    elsewhere = [*arrays[:2], arrays[2].copy(), arrays[3]]
    errors = []

    def work(rank):
        try:
            group[rank].all_reduce([elsewhere[rank]])
        except (CommunicationError, PeerLost, StallError) as e:
            errors.append(str(e))
            group[rank].abort()

    in_threads(4, work)
    assert any("out of step: they share other arrays" in error for error in errors)


def failing(group, arrays):
    def work(rank):
        try:
            group[rank].all_reduce(arrays(rank))
        except Exception:
            group[rank].abort()
            raise

    return work


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gone", range(4))
def test_a_closed_rank_is_noticed_at_once(way, gone):
    group = group_on(LAYOUTS["2 and 2"], way, stall_timeout=30)

    def work(rank):
        if rank == gone:
            group[rank].abort()
            return None
        with pytest.raises(PeerLost):
            group[rank].all_reduce([np.zeros(500_000, np.float32)])
        group[rank].abort()
        return True

    begin = time.monotonic()
    assert in_threads(4, work) == [None if rank == gone else True for rank in range(4)]
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("silent", [2, 1], ids=["a follower", "a leader"])
def test_a_silent_rank_is_given_up(way, silent):
    group = group_on(LAYOUTS["2 and 2"], way, stall_timeout=0.5)
    errors = []

    def work(rank):
        if rank == silent:
            return
        try:
            group[rank].all_reduce([np.zeros(500_000, np.float32)])
        except (StallError, PeerLost) as e:
            errors.append(e)
            group[rank].abort()

    in_threads(4, work)
    assert len(errors) == 3
    assert any(isinstance(e, StallError) and f"rank {silent}" in str(e) for e in errors)
    group[silent].abort()


def test_a_collective_that_is_called_off():
    class CalledOff(Exception):
        pass

    def call_off():
        raise CalledOff

    readable, writable = os.pipe()
    os.write(writable, b"x")
    group = group_on(LAYOUTS["2 and 2"], SEGMENTS)
    group[0]._watch, group[0]._on_watch = readable, call_off
    with pytest.raises(CalledOff):
        group[0].all_reduce([np.zeros(500_000, np.float32)])
    for comm in group:
        comm.abort()
    os.close(readable)
    os.close(writable)


def peer(rank, pipe, credentials, hosts):
    """A rank in a process of its own: reduces until it is ended."""
    listener = Listener(hosts[rank], (0, 0), None, rank)
    pipe.send(listener.address)
    comm = share_memory(connect(rank, pipe.recv(), listener, credentials, connect_timeout=60, stall_timeout=2))
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    while True:
        comm.all_reduce([array], 0.25)


@pytest.mark.parametrize("victim", [1, 2, 3])
@pytest.mark.parametrize(
    ("sign", "error"), [(signal.SIGKILL, PeerLost), (signal.SIGSTOP, (StallError, PeerLost))], ids=["killed", "stopped"]
)
def test_a_rank_that_ends_in_the_middle(sign, error, victim):
    """Whichever rank it is; the others end by themselves, and nothing of their memory is left."""
    hosts, credentials = LAYOUTS["2 and 2"], everyone()
    context = multiprocessing.get_context("fork")
    before, open_before = mappings(), descriptors()
    pipes, processes = [], []
    for rank in (1, 2, 3):
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=peer, args=(rank, theirs, credentials, hosts), daemon=True))
        processes[-1].start()
        pipes.append(mine)
    listener = Listener(hosts[0], (0, 0), None, 0)
    addresses = [listener.address, *(pipe.recv() for pipe in pipes)]
    for pipe in pipes:
        pipe.send(addresses)
    comm = share_memory(connect(0, addresses, listener, credentials, connect_timeout=60, stall_timeout=2))
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    for _ in range(3):
        comm.all_reduce([array], 0.25)
    assert (array == 1).all()
    os.kill(processes[victim - 1].pid, sign)
    begin = time.monotonic()
    with pytest.raises(error):
        for _ in range(1000):
            comm.all_reduce([array], 0.25)
    assert time.monotonic() - begin < 30
    comm.abort()
    for process in processes:
        if process is processes[victim - 1]:
            process.kill()
        process.join(30)
        assert process.exitcode is not None
    comm = None
    assert mappings() == before
    assert descriptors() == open_before
