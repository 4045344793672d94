"""Runs without Spark: ranks as processes of this machine, and of machines that join."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from typing import List, Optional, Sequence, Tuple

from ..comm import encryption
from ..comm.addresses import check_ports
from ..data.sources.base import Source
from ..errors import ConfigError
from ..launchers.base import Launcher
from ..launchers.joining import JoinServer
from ..launchers.local_processes import LocalProcesses, StoredFile
from ..plans.run_config import RunConfig
from ..spark.workers import Workers
from ..storage import DRIVER_SETTING, naming_full_disks, temporary_folder
from .cluster import Cluster, Say
from .snapshots import StartFiles

__all__ = ["OnMachines"]

_WAIT = 600.0  # seconds for machines to join


class OnMachines(Cluster):
    """This machine, and those that join.

    Parameters
    ----------
    config : RunConfig, whose ``executors`` are all the ranks
    count : how many of them start here
    host : this machine's address for the ranks
    server : where the others join; None where all start here
    """

    def __init__(
        self, config: RunConfig, count: int, host: str = "127.0.0.1", server: Optional[JoinServer] = None
    ) -> None:
        super().__init__(config)
        self._count = count
        self._host = host
        self._server = server
        self._name = f"local-{socket.gethostname()}-{os.getpid()}-{int(time.time())}"
        self._workers = Workers(config.settings.blasKernel, self._name)
        self._refused = 0

    @property
    def application(self) -> str:
        return self._name

    def describe(self) -> str:
        ranks = self.config.ranks
        here = f"{ranks} {'rank' if ranks == 1 else 'ranks'}: {_processes(self._count)} on this machine (from -np)"
        machines = self._server.machines if self._server is not None else []
        return ", ".join([here, *(f"{_processes(machine.count)} on {machine.host}" for machine in machines)])

    @property
    def command(self) -> Tuple[List[str], Tuple[str, ...]]:
        joining = ["-join", str(self._server.wanted)] if self._server is not None else []
        return ["caffeonspark", "local", "-np", str(self._count), *joining, "-train"], ("clusterSize",)

    def check(self) -> None:
        check_ports(self.config.settings.ports, self._count + (self._server is not None))

    def check_encryption(self, say: Say) -> None:
        if self.config.settings.encrypt:
            encryption.require()
            say("what ranks send is encrypted, because of -encrypt")

    def wait(self, say: Say, stop: threading.Event) -> None:
        server = self._server
        if server is None or self.config.settings.dryRun:
            return
        deadline, told = time.monotonic() + _WAIT, -1
        while True:
            self._tell_refused(server, say)
            joined = server.joined
            if joined == server.wanted or stop.is_set():
                return
            if joined != told:
                say(f"waiting for ranks to join: {joined} of {server.wanted} are there")
                told = joined
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"-join {server.wanted}: {joined} of these ranks joined within {_WAIT:.0f} s: run 'caffeonspark "
                    f"join {server.address[0]}:{server.address[1]}' on the other machines, or lower -join"
                )
            stop.wait(0.2)

    def _tell_refused(self, server: JoinServer, say: Say) -> None:
        refused = server.refused
        if sum(refused.values()) > self._refused:
            self._refused = sum(refused.values())
            say(f"warning: {', '.join(sorted(refused))} tried to join and did not know the secret")

    def launcher(
        self, sources: Sequence[Sequence[Source]], start: StartFiles, cleanup: contextlib.ExitStack
    ) -> Launcher:
        files: List[StoredFile] = []
        with naming_full_disks(temporary_folder(), DRIVER_SETTING):
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="caffeonspark-"))
            for number, content in enumerate(start.read_all(self.config.storage)):
                files.append(StoredFile(os.path.join(folder, f"start{number}")))
                with open(files[-1].path, "wb") as f:
                    f.write(content)
        return LocalProcesses(
            self._count,
            files,
            self._host,
            self._server.machines if self._server is not None else (),
            self._workers.environment,
            self._workers.fresh,
            bool(self.config.settings.encrypt),
        )

    def take_fresh(self, kernels: Sequence[str]) -> None:
        self._workers.take_fresh(kernels)


def _processes(count: int) -> str:
    return f"{count} {'process' if count == 1 else 'processes'}"
