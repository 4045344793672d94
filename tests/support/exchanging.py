"""Groups of ranks in threads, and strategies that say by which way they exchange."""

import threading

from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.helped import with_helper
from caffeonspark.comm.helper import Helper
from caffeonspark.comm.shared_memory import HostMemoryCommunicator, SharedMemoryCommunicator, share_memory
from caffeonspark.comm.tcp import TCPCommunicator, connect
from caffeonspark.sync.all_reduce import AllReduce
from tests.support.guard import parties


def in_threads(size, run, *more):
    """run(rank, *more) in a thread for each rank; the results, or the first error."""
    results, errors = [None] * size, []

    def work(rank):
        try:
            results[rank] = run(rank, *more)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def tcp_group(size, encrypted=False, **options):
    return tcp_group_on(["127.0.0.1"] * size, encrypted, **options)


def tcp_group_on(hosts, encrypted=False, **options):
    """Ranks on these hosts, which are addresses of this machine."""
    size = len(hosts)
    credentials = parties(size, encrypted)
    listeners = [Listener(host, (0, 0), None, rank) for rank, host in enumerate(hosts)]
    addresses = [listener.address for listener in listeners]
    return in_threads(
        size, lambda rank: connect(rank, addresses, listeners[rank], credentials[rank], connect_timeout=20, **options)
    )


def shared_group(size, encrypted=False, **options):
    """The same over shared memory, which this machine's kernel gives."""
    tcp = tcp_group(size, encrypted, **options)
    group = in_threads(size, lambda rank: share_memory(tcp[rank]))
    assert size == 1 or all(isinstance(comm, SharedMemoryCommunicator) for comm in group)
    return group


def helped_group(hosts, encrypted=False, **options):
    """Ranks on these hosts, with a helper each; those of a host share memory, ranks of different hosts do not."""
    size = len(hosts)
    helpers = [Helper.start() for _ in hosts]
    credentials = parties(size, encrypted)
    listeners = [Listener(host, (0, 0), None, rank) for rank, host in enumerate(hosts)]
    addresses = [listener.address for listener in listeners]

    def meet(rank):
        spares = {}
        comm = connect(rank, addresses, listeners[rank], credentials[rank], 20, spares=spares, **options)
        if comm._hosts.hierarchical:
            comm = share_memory(comm)
            assert isinstance(comm, HostMemoryCommunicator)
        return with_helper(comm, helpers[rank], spares)

    return in_threads(size, meet)


class InSharedMemory(AllReduce):
    """The default, where it sums gradients up in memory that the ranks share."""

    def __init__(self, trainer, comm, *args):
        super().__init__(trainer, comm, *args)
        assert isinstance(comm, SharedMemoryCommunicator)
        assert any(comm._plan([array]).direct for array in trainer.gradients)


class OverTCP(AllReduce):
    """The same over the connections alone."""

    def __init__(self, trainer, comm, *args):
        over_tcp = TCPCommunicator(comm.rank, comm.size, comm._links, comm._order, comm.stall_timeout)
        super().__init__(trainer, over_tcp, *args)
