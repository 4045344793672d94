"""What ``caffeonspark doctor`` measures on each rank: how it would compute, and how it reaches the others."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from google.protobuf import text_format

from .._version import __version__
from ..comm.base import Communicator
from ..comm.credentials import Credentials
from ..comm.encryption import KeyPair
from ..comm.handshake import Listener
from ..comm.layout import ring_order
from ..comm.tcp import TCPCommunicator, connect
from ..engines import blas
from ..engines.base import Engine
from ..engines.registry import engine_named
from ..errors import to_wire
from ..nets.schema import NetParameter, SolverParameter
from ..ranks.rank import listen
from ..runs.kernels import choose
from ..settings import Settings
from ..storage import scratch_folder

__all__ = ["Question", "examine", "iteration_seconds", "library_versions", "measured_pairs"]

_WARM_UP, _ITERATIONS = 2, 10
_LINK_BYTES, _LINK_ROUNDS = 4 << 20, 5

#: LeNet's layers, as in Caffe's examples.
_NET = """
state { phase: TRAIN }
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 64 dim: 1 dim: 28 dim: 28 } shape { dim: 64 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
_SOLVER = 'base_lr: 0.001 momentum: 0.9 lr_policy: "fixed" random_seed: 1'


@dataclass(frozen=True)
class Question:
    """What ranks are told.

    Attributes
    ----------
    settings : the flags
    nonce : 16 random bytes of this job
    encrypted : whether connections between ranks are
    """

    settings: Settings
    nonce: bytes
    encrypted: bool


def examine(
    question: Question, secret: bytes, rank: int, hosts: Sequence[str], gather: Callable[[str], Sequence[str]]
) -> Dict[str, Any]:
    """What a rank finds, JSON-able: the values of a ``diagnosis.RankFound``, or {"error": …} by ``to_wire``.

    Parameters
    ----------
    question : the same for all ranks
    secret : what the ranks of this job recognise each other by
    rank : int
    hosts : the address of each rank's machine
    gather : every rank's text, in rank order; called once
    """
    try:
        group = _Group(question, secret, rank, hosts)
    except Exception as e:  # the others wait for word of this rank
        gather(json.dumps(None))
        return {"error": to_wire(e)}
    with group.listener:
        told = [json.loads(one) for one in gather(json.dumps(group.introduction()))]
        if None in told:
            return {"error": None}
        try:
            return group.examine(told)
        except Exception as e:
            return {"error": to_wire(e)}


class _Group:
    """This rank among the others."""

    def __init__(self, question: Question, secret: bytes, rank: int, hosts: Sequence[str]) -> None:
        self._settings, self._nonce = question.settings, question.nonce
        self._secret, self._rank, self._hosts = secret, rank, hosts
        self._pair = KeyPair() if question.encrypted else None
        self._own = self._credentials({})
        self._facts = blas.facts()
        self._identities: List[bytes] = []
        self.listener = self._listen(rank)

    def introduction(self) -> Dict[str, Any]:
        """What the others have to know of this rank."""
        address = list(self.listener.address)
        return {"facts": self._facts, "address": address, "identity": self._own.identity.hex()}

    def examine(self, told: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
        """What this rank finds, given everybody's introduction."""
        self._identities = [bytes.fromhex(one["identity"]) for one in told]
        kernel = choose(self._settings.blasKernel, [one["facts"] for one in told], self._hosts).kernels[self._rank]
        blas.use(kernel)
        engine = engine_named(self._settings.engine)
        engine.show_log(False)
        versions = {**library_versions(), **engine.versions()}
        digest, used = engine.arithmetic(), blas.in_use()
        addresses = [(str(one["address"][0]), int(one["address"][1])) for one in told]
        with self._connect(self._rank, range(len(told)), addresses, self.listener) as comm:
            seconds = iteration_seconds(engine, comm)
            links = self._links(comm)
        folder = scratch_folder()
        return {
            "host": self._hosts[self._rank],
            "machine": socket.gethostname(),
            "versions": versions,
            "facts": self._facts,
            "kernel": used.kernel if used else "",
            "threads": used.threads if used else 0,
            "digest": digest,
            "seconds": seconds,
            "links": links,
            "folder": folder,
            "free": shutil.disk_usage(folder).free,
        }

    def _links(self, comm: Communicator) -> List[Tuple[int, float]]:
        """(peer, bytes a second each way) of the pairs whose first member this rank is. One pair at a time measures."""
        found = []
        for pair in measured_pairs(self._hosts):
            mine = self._listen(pair.index(self._rank)) if self._rank in pair else None
            where = [json.loads(one) for one in comm.all_gather(json.dumps(mine and mine.address).encode())]
            if mine is not None:
                own, addresses = pair.index(self._rank), [(str(where[one][0]), int(where[one][1])) for one in pair]
                with mine, self._connect(own, pair, addresses, mine) as two:
                    rate = _bytes_a_second(two)
                if own == 0:
                    found.append((pair[1], rate))
        comm.barrier()  # the last pair's end
        return found

    def _listen(self, me: int) -> Listener:
        return listen(self._settings, self._hosts, self._hosts[self._rank], me)

    def _credentials(self, known: Mapping[int, bytes]) -> Credentials:
        return Credentials(self._secret, self._nonce, self._pair, known, self._settings.checksum)

    def _connect(
        self, me: int, members: Sequence[int], addresses: Sequence[Tuple[str, int]], listener: Listener
    ) -> TCPCommunicator:
        """A communicator of some ranks, in which this one is the ``me``-th."""
        credentials = self._credentials({number: self._identities[rank] for number, rank in enumerate(members)})
        return connect(me, addresses, listener, credentials)


def measured_pairs(hosts: Sequence[str]) -> List[Tuple[int, int]]:
    """The pairs of ranks between which gradients travel: neighbours in the ring."""
    order = ring_order(hosts)
    pairs = {(min(a, b), max(a, b)) for a, b in zip(order, [*order[1:], order[0]]) if a != b}
    return sorted(pairs)


def _bytes_a_second(two: Communicator) -> float:
    """How fast two ranks exchange a few MB, each way: of two ranks, each sends and gets as much as it has to reduce."""
    array = np.zeros(_LINK_BYTES // 4, np.float32)
    two.share([array])
    times = []
    for _ in range(1 + _LINK_ROUNDS):
        two.barrier()
        begin = time.perf_counter()
        two.all_reduce([array])
        times.append(time.perf_counter() - begin)
    return array.nbytes / statistics.median(times[1:])  # the first one has the kernel's buffers grow


def iteration_seconds(engine: Engine, comm: Communicator) -> float:
    """The median time of an iteration of LeNet, batch 64, while all ranks make theirs, without exchanging anything."""
    net, solver = text_format.Parse(_NET, NetParameter()), text_format.Parse(_SOLVER, SolverParameter())
    times = []
    with tempfile.TemporaryDirectory(prefix="caffeonspark-", dir=scratch_folder()) as folder:
        trainer = engine.trainer(solver, net, [], 0, folder)
        try:
            trainer.inputs["data"][...] = np.random.default_rng(1).random(trainer.inputs["data"].shape)
            comm.barrier()
            for _ in range(_WARM_UP + _ITERATIONS):
                begin = time.perf_counter()
                trainer.step(lambda: None, lambda loss: None)
                times.append(time.perf_counter() - begin)
        finally:
            trainer.close()
    comm.barrier()  # while others still iterate, nobody fills the links
    return statistics.median(times[_WARM_UP:])


def library_versions() -> Dict[str, str]:
    """Of what driver and ranks have in common besides the engine; by name."""
    import google.protobuf
    import pyarrow
    import pyspark

    return {
        "caffeonspark": __version__,
        "Python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "NumPy": np.__version__,
        "PySpark": pyspark.__version__,
        "pyarrow": pyarrow.__version__,
        "protobuf": google.protobuf.__version__,
    }
