"""Ranks as processes, each with a kernel of OpenBLAS of its own: unequal machines on one machine."""

import hashlib
import multiprocessing
import os
import pathlib

import numpy as np

from caffeonspark.comm.handshake import Credentials, Listener
from caffeonspark.comm.shared_memory import share_memory
from caffeonspark.comm.tcp import connect
from caffeonspark.settings import Settings


def images(count=600):
    """(images, labels) that a net can learn, like those of the fixture ``small_images``."""
    rng = np.random.default_rng(7)
    prototypes = rng.integers(0, 200, (10, 1, 12, 12))
    labels = rng.integers(0, 10, count)
    return np.clip(prototypes[labels] + rng.integers(0, 56, (count, 1, 12, 12)), 0, 255).astype(np.uint8), labels


def run_rank(rank, kernels, pipe, credentials, folder, solver, layers, iterations, spoil, flags):
    """In a process of its own: ``iterations`` of a rank, settled where the ranks do not compute alike."""
    from caffeonspark.engines.blas import in_use
    from caffeonspark.engines.caffe import CaffeEngine
    from caffeonspark.sync.settlement import settlement_for
    from tests.support.local_ranks import LocalRank
    from tests.support.stock import batches, input_net

    listener = Listener("127.0.0.1", (0, 0), credentials, rank)
    pipe.send(listener.address)
    ranks = len(kernels)
    with share_memory(connect(rank, pipe.recv(), listener, credentials, connect_timeout=60)) as comm:
        try:
            data = images()
            own = pathlib.Path(folder) / f"rank{rank}"
            own.mkdir()
            feed = batches(*data, ranks, rank, 10)
            one = LocalRank(rank, comm, Settings(**flags), solver, input_net(10, layers=layers), feed, own)
            one.strategy.start([], None, None)
            settlement = settlement_for(one.strategy, one.trainer, comm, CaffeEngine().arithmetic())
            settled = []
            while one.trainer.iteration < iterations:
                one.train(one.trainer.iteration + 1)
                if spoil == (rank, one.trainer.iteration):
                    one.trainer.weights[0][...] *= 1.001
                if settlement is not None:
                    settlement.after_iteration()
                    if one.trainer.iteration % 100 == 0:
                        settled.append(digest_of(one, own))
            if settlement is not None:
                settlement.settle()
            pipe.send(
                {
                    "kernel": in_use().kernel,
                    "settlement": settlement is not None,
                    "drift": settlement.drift if settlement else 0.0,
                    "settled": settled,
                    "model": hashlib.sha256(b"".join(array.tobytes() for array in one.model())).hexdigest(),
                    "files": sorted(os.listdir(own)),
                    "losses": [loss for _, loss, _ in one.history],
                }
            )
        except Exception as e:
            pipe.send(e)


def digest_of(one, folder):
    """Of the weights and of the history, as a snapshot has them."""
    from caffeonspark.formats.solverstate import read_solverstate

    weights, state = one.trainer.snapshot()
    found = hashlib.sha256(b"".join(array.tobytes() for array in one.weights()))
    for array in read_solverstate(state).history:
        found.update(np.ascontiguousarray(array).tobytes())
    os.unlink(weights)
    os.unlink(state)
    return found.hexdigest()


def on_kernels(folder, kernels, solver, layers, iterations, spoil=None, **flags):
    """What each rank found; the error of the first rank that had one is raised."""
    spawn = multiprocessing.get_context("spawn")
    credentials = Credentials.new(encrypted=False)
    before = os.environ.get("OPENBLAS_CORETYPE")
    pipes, processes = [], []
    try:
        for rank, kernel in enumerate(kernels):
            os.environ["OPENBLAS_CORETYPE"] = kernel
            pipe, theirs = spawn.Pipe()
            arguments = (rank, kernels, theirs, credentials, str(folder), solver, layers, iterations, spoil, flags)
            processes.append(spawn.Process(target=run_rank, args=arguments, daemon=True))
            processes[-1].start()
            theirs.close()
            pipes.append(pipe)
    finally:
        os.environ.pop("OPENBLAS_CORETYPE")
        if before is not None:
            os.environ["OPENBLAS_CORETYPE"] = before
    addresses = [pipe.recv() for pipe in pipes]
    for pipe in pipes:
        pipe.send(addresses)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    for one in found:
        if isinstance(one, Exception):
            raise one
    return found
