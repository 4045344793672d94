"""Helper processes that exchange while their ranks compute: bit for bit what the ranks do themselves, and no trace."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
from itertools import chain

import numpy as np
import pytest

from caffeonspark.comm import memory
from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.helped import HelpedCommunicator, can_help, with_helper
from caffeonspark.comm.helper import Helper
from caffeonspark.comm.local import local_group
from caffeonspark.comm.memory import PAGE, new_memory, open_all
from caffeonspark.comm.rooms import Edges, make_rooms
from caffeonspark.comm.shared_memory import SharedMemoryCommunicator
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.comm.test_shared_memory import descriptors, mappings
from tests.support.exchanging import helped_group, in_threads, shared_group
from tests.support.guard import everyone, parties
from tests.support.processes import alive, tree

HERE, THERE, YONDER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
LAYOUTS = {
    "one each": [HERE, THERE, YONDER],
    "two and two": [HERE, THERE, HERE, THERE],
    "three and one": [HERE] * 3 + [THERE],
}
#: Of the arrays of each bucket: with whole pages and without, and some that begin where no page does.
SHAPES = [[(300, 1000), (5,)], [(7,)], [(17001,), (0,), (900,)], [(200_000,)]]


def buckets(rank, seed=0):
    """Lists of arrays for one exchange each, at places that differ from rank to rank."""
    rng = np.random.default_rng([seed, rank])
    lists = []
    for shapes in SHAPES:
        wide = [rng.standard_normal(int(np.prod(shape)) + rank + 3).astype(np.float32) for shape in shapes]
        lists.append([array[rank:-3].reshape(shape) for array, shape in zip(wide, shapes)])
    return lists


def copies(lists):
    return [[array.copy() for array in arrays] for arrays in lists]


def share(group, given):
    in_threads(len(group), lambda rank: group[rank].share(list(chain(*given[rank]))))


def close(group):
    for comm in group:
        comm.close()


def assert_equal(found, wanted):
    for mine, want in zip(chain(*chain(*found)), chain(*chain(*wanted))):
        np.testing.assert_array_equal(mine, want)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_does_what_the_ranks_do_themselves(layout, encrypted):
    hosts = LAYOUTS[layout]
    size = len(hosts)
    given = [buckets(rank) for rank in range(size)]
    wanted = [copies(lists) for lists in given]
    reference, group = local_group(size, hosts), helped_group(hosts, encrypted)
    share(group, given)
    assert all(comm.helps for comm in group)
    extra = [[np.full(100_000, rank, np.float32)] for rank in range(size)]

    def run(rank, iteration):
        comm, lists = group[rank], given[rank]
        pending = [comm.begin_aside(arrays, scale=1 / size) for arrays in lists[:-1]]
        time.sleep(0.01 * rank)  # ranks hear of it when they like
        own = comm.begin_all_reduce(extra[rank])  # overtakes, or not
        pending.append(comm.begin_aside(lists[-1], scale=1 / size))
        for one in pending[: rank + 1]:
            one.progress()
        for one in [own, *pending]:
            one.wait()
            one.wait()  # again: nothing happens
            assert one.progress()
        assert comm.all_gather(b"%d" % rank) == [b"%d" % other for other in range(size)]
        assert (extra[rank][0] == sum(range(size)) * size**iteration).all()

    for iteration in range(3):
        for rank in range(size):
            for array, want in zip(chain(*given[rank]), chain(*wanted[rank])):
                array *= 1 + rank / 7 + iteration  # what backward does: new values at the same place
                want *= 1 + rank / 7 + iteration
        in_threads(size, lambda rank, *of: [reference[rank].all_reduce(arrays, 1 / size) for arrays in wanted[rank]])
        in_threads(size, run, iteration)
        assert_equal(given, wanted)
    close(group)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_rounding_leaves_is_kept_at_one_place(layout):
    """Buckets are compressed, now by helpers and now by their ranks."""
    hosts = LAYOUTS[layout]
    size = len(hosts)
    groups = [helped_group(hosts) for _ in range(2)]
    given = [[buckets(rank, seed=1) for rank in range(size)] for _ in range(2)]
    for group, lists in zip(groups, given):
        share(group, lists)

    def run(rank, group, lists, aside):
        pending = []
        for arrays in lists[rank]:
            begin = group[rank].begin_aside if aside else group[rank].begin_all_reduce
            pending.append(begin(arrays, 1 / size, len(arrays)))
        for one in pending:
            one.wait()

    before = copies(given[0][0])
    for iteration in range(4):
        in_threads(size, run, groups[0], given[0], False)
        in_threads(size, run, groups[1], given[1], iteration in (1, 2))
        assert_equal(given[1], given[0])
        assert not np.array_equal(before[0][0], given[0][0][0][0])
        for lists in given:
            for rank in range(size):
                for array in chain(*lists[rank]):
                    array *= 1 + rank / 7
    for group in groups:
        close(group)


def test_they_go_on_while_their_ranks_hold_the_gil():
    group = helped_group([HERE, THERE])
    arrays = [np.full(1 << 20, rank + 1, np.float32) for rank in range(2)]
    in_threads(2, lambda rank: group[rank].share([arrays[rank]]))
    pending = [comm.begin_aside([array]) for comm, array in zip(group, arrays)]
    deadline, pause = time.monotonic() + 60, ctypes.PyDLL(None).usleep
    while not all((array[5000:-5000] == 3).all() for array in arrays):  # nobody has heard of it
        assert time.monotonic() < deadline
        pause(100_000)
    for one in pending:
        one.wait()
    assert all((array == 3).all() for array in arrays)
    close(group)


def test_nothing_is_left_when_they_end():
    before, open_before, processes = mappings(), descriptors(), set(tree(os.getpid()))
    group = helped_group([HERE, HERE, THERE])
    arrays = [np.full(300_001, rank + 1.0, np.float32)[1:] for rank in range(3)]
    in_threads(3, lambda rank: group[rank].share([arrays[rank]]))
    in_threads(3, lambda rank: group[rank].begin_aside([arrays[rank]], compressed=1).wait())
    assert len(mappings()) > len(before)
    assert len(set(tree(os.getpid())) - processes) == 3
    group[0].close()
    for comm in group[1:]:
        comm.abort()
    assert all((array == 6).all() for array in arrays)
    group = comm = None
    assert mappings() == before
    assert descriptors() == open_before
    assert set(tree(os.getpid())) <= processes


def test_ranks_that_share_memory_have_no_use_for_them():
    helpers = [Helper.start() for _ in range(2)]
    group = shared_group(2)
    pids = [helper.pid for helper in helpers]
    assert [with_helper(comm, helper, {}) for comm, helper in zip(group, helpers)] == group
    assert isinstance(group[0], SharedMemoryCommunicator)
    assert not any(map(alive, pids))
    close(group)


@pytest.mark.parametrize(("hosts", "use"), [([HERE], False), ([HERE, HERE], False), ([HERE, THERE], True)])
def test_where_they_can_help(hosts, use):
    assert can_help(hosts) == use


def test_a_rank_whose_helper_cannot_have_the_memory(monkeypatch):
    """None of them is used."""
    group = helped_group([HERE, THERE, THERE])
    monkeypatch.setattr(group[1]._helper, "attach", lambda told, rooms, edges: False)
    arrays = [np.full(100_000, rank + 1.0, np.float32) for rank in range(3)]
    in_threads(3, lambda rank: group[rank].share([arrays[rank]]))
    assert not any(comm.helps for comm in group)
    in_threads(3, lambda rank: group[rank].begin_aside([arrays[rank]]).wait())
    assert all((array == 6).all() for array in arrays)
    close(group)


def test_a_machine_without_memory_to_share(monkeypatch):
    group = helped_group([HERE, THERE])
    monkeypatch.setattr(memory, "_libc", object())
    arrays = [np.full(100_000, rank + 1.0, np.float32) for rank in range(2)]
    in_threads(2, lambda rank: group[rank].share([arrays[rank]]))
    assert not any(comm.helps for comm in group)
    in_threads(2, lambda rank: group[rank].begin_aside([arrays[rank]]).wait())
    assert all((array == 3).all() for array in arrays)
    close(group)


def test_a_peer_that_has_no_helper_to_connect():
    credentials = parties(2)
    listeners = [Listener(host, (0, 0), None, rank) for rank, host in enumerate((HERE, THERE))]
    addresses, spares = [listener.address for listener in listeners], {}

    def meet(rank):
        more = {"connect_timeout": 2, "spares": spares} if rank == 0 else {}
        return connect(rank, addresses, listeners[rank], credentials[rank], **more)

    with pytest.raises(PeerLost, match="rank 0: rank 1 did not connect within 2 s"):
        in_threads(2, meet)


# ---- when something ends


@pytest.mark.parametrize("moment", ["idle", "at work", "reported"])
def test_a_helper_that_is_killed(moment):
    """Its rank says so, and the others that they lost a peer; what they do after that fails at once."""
    group = helped_group([HERE, THERE, THERE], stall_timeout=30)
    arrays = [np.ones(4 << 20, np.float32) for _ in range(3)]
    in_threads(3, lambda rank: group[rank].share([arrays[rank]]))
    in_threads(3, lambda rank: group[rank].begin_aside([arrays[rank]]).wait())
    begun = {rank: group[rank].begin_aside([arrays[rank]]) for rank in range(3) if moment != "idle" and rank != 1}
    os.kill(group[0]._helper.pid, signal.SIGKILL)
    if moment == "reported":
        time.sleep(0.5)
    begin, said = time.monotonic(), {}

    def run(rank):
        try:
            (begun.get(rank) or group[rank].begin_aside([arrays[rank]])).wait()
        except CommunicationError as e:
            said[rank] = e
            with pytest.raises(CommunicationError, match="gave its collectives up"):
                group[rank].begin_aside([arrays[rank]])
            group[rank].abort()

    in_threads(3, run)
    assert time.monotonic() - begin < 25  # no stall's time
    assert "the process that exchanges gradients ended with SIGKILL" in str(said[0])
    assert isinstance(said[1], PeerLost) and isinstance(said[2], PeerLost)
    assert not any(comm._helper.pid for comm in group)


def test_a_peer_that_is_silent_is_given_up_when_it_is_waited_for():
    group = helped_group([HERE, THERE], stall_timeout=0.5)
    arrays = [np.zeros(1 << 20, np.float32) for _ in range(2)]
    in_threads(2, lambda rank: group[rank].share([arrays[rank]]))
    pending = group[0].begin_aside([arrays[0]])
    time.sleep(1.5)
    assert not pending.progress()  # as long as nobody waits, nobody is given up
    with pytest.raises(StallError, match=r"rank 0 heard nothing from rank 1 for 0.5 s"):
        pending.wait()
    assert group[0].waited > 0.3
    close(group)


def test_ranks_that_begin_others():
    group = helped_group([HERE, THERE])
    arrays = [[np.zeros(70_000, np.float32), np.zeros(70_001, np.float32)] for _ in range(2)]
    in_threads(2, lambda rank: group[rank].share(arrays[rank]))
    with pytest.raises(CommunicationError, match=r"out of step|rank [01]"):
        in_threads(2, lambda rank: group[rank].begin_aside([arrays[rank][rank]]).wait())
    for comm in group:
        comm.abort()


def test_the_driver_calls_off_what_a_helper_does():
    read, write = os.pipe()

    def call_off():
        raise InterruptedError("called off")

    group = helped_group([HERE, THERE], watch=read, on_watch=call_off)
    arrays = [np.zeros(1 << 20, np.float32) for _ in range(2)]
    in_threads(2, lambda rank: group[rank].share([arrays[rank]]))
    pending = group[0].begin_aside([arrays[0]])
    os.write(write, b"x")
    with pytest.raises(InterruptedError, match="called off"):
        pending.wait()
    for comm in group:
        comm.abort()
    os.close(read)
    os.close(write)


def peer(pipe, credentials):
    """Rank 1, in a process of its own: reduces until it is ended."""
    helper = Helper.start()
    listener = Listener(THERE, (0, 0), None, 1)
    pipe.send((listener.address, helper.pid))
    spares = {}
    comm = with_helper(connect(1, pipe.recv(), listener, credentials, 60, spares=spares), helper, spares)
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    while True:
        comm.begin_aside([array]).wait()


def test_a_rank_that_is_killed():
    """Its helper ends with it, and the others hear of it."""
    before, credentials = mappings(), everyone()
    spawn = multiprocessing.get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=peer, args=(theirs, credentials), daemon=True)
    process.start()
    helper, spares = Helper.start(), {}
    listener = Listener(HERE, (0, 0), None, 0)
    address, other = pipe.recv()
    addresses = [listener.address, address]
    pipe.send(addresses)
    comm = with_helper(connect(0, addresses, listener, credentials, 60, spares=spares), helper, spares)
    assert isinstance(comm, HelpedCommunicator)
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    for _ in range(3):
        comm.begin_aside([array], scale=0.5).wait()
    assert alive(other)
    os.kill(process.pid, signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(PeerLost, match="rank 1"):
        for _ in range(1000):
            comm.begin_aside([array], scale=0.5).wait()
    assert time.monotonic() - begin < 30
    process.join()
    while alive(other):
        assert time.monotonic() - begin < 30
        time.sleep(0.05)
    comm.abort()
    del comm
    assert mappings() == before


# ---- rooms


def test_an_array_is_in_one_place_for_whoever_maps_its_room():
    wide = np.arange(200_000, dtype=np.float32)
    start = -wide.ctypes.data % PAGE // 4  # the first value that begins a page
    arrays = [
        wide[start + 3 : start + 60_000],
        wide[100_001:100_004],
        wide[150_000:150_000],
        wide[start + 102_400 :][:2048],
    ]
    pages = [(1021, 1021 + 57 * 1024), (0, 0), (0, 0), (0, 2048)]
    rooms, size = make_rooms(arrays, pages)
    assert [(room.start, room.head, room.body, room.tail) for room in rooms] == [
        (12, PAGE, 57 * PAGE, PAGE),
        (0, PAGE, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 2 * PAGE, 0),
    ]
    assert size == 3 * PAGE
    with contextlib.ExitStack() as opened:
        edges, edges_offer = new_memory(size, opened)
        moved, moved_offer = new_memory(59 * PAGE, opened)
        copied, whole = open_all([edges_offer, moved_offer])
        at = 0
        for array, (low, high) in zip(arrays, pages):
            whole[at : at + 4 * (high - low)] = array[low:high].view(np.uint8)
            at += 4 * (high - low)
        ends = Edges(arrays, rooms, copied)
        seen = [room.map(edges, moved) for room in rooms]
        for number, (array, found) in enumerate(zip(arrays, seen)):
            ends.copy_in(number)
            np.testing.assert_array_equal(found, array)
            found += 1
            ends.copy_out(number)
        assert (arrays[0][:1021] == np.arange(start + 3, start + 1024) + 1).all()
        assert (arrays[1] == np.arange(100_002, 100_005)).all()
