"""One run at a time on one place: a file next to the model that says who writes there.

It is renewed while the run lives and removed when it ends. One that is not renewed goes stale by itself, so a run whose
machine was lost frees its place. Ages are measured by the clock of the file system, whose two times are compared;
where the holder's process would be on this very machine, it is looked at instead, and then no clock counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from ..errors import ConfigError, StorageError
from ..formats.endings import name_beside
from ..storage import Storage, join, parent

__all__ = ["STALE_SECONDS", "Lease", "leases_of"]

STALE_SECONDS = 60.0  # without being renewed
_RENEW_SECONDS = 10.0


class Lease:
    """The right to write at a place; a context manager that takes it and gives it back.

    Parameters
    ----------
    storage : Storage
    uri : names the place: the model, or what the names of snapshots begin with
    application : id of the Spark application; what an earlier attempt of it left is taken over at once
    attempt : which attempt of the application this is, from 1
    what : what the place is, and how to choose another one, for the error: ``"-model"``

    Raises
    ------
    ConfigError
        On entering, where a live run has the place.
    """

    def __init__(self, storage: Storage, uri: str, application: str, attempt: int, what: str) -> None:
        self._storage = storage
        self._place = uri
        self._file = join(parent(uri), f".{os.path.basename(uri)}.lease")
        self._what = what
        self._mine: Dict[str, Any] = {
            "application": application,
            "attempt": attempt,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _identity(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "token": secrets.token_hex(8),
        }
        self._over = threading.Event()
        self._lost = ""
        self._thread = threading.Thread(target=self._keep, name="caffeonspark-lease", daemon=True)

    def __enter__(self) -> Lease:
        _live.add(self._mine["token"])  # before others see the file
        try:
            self._take()
        except BaseException:
            _live.discard(self._mine["token"])
            raise
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        _live.discard(self._mine["token"])
        self._thread.join(_RENEW_SECONDS)  # storage may not answer
        try:
            if self._holder().get("token") == self._mine["token"]:
                self._storage.remove(self._file)
        except Exception:  # the run's own end counts, and what is left goes stale
            return

    def check(self) -> None:
        """Raise ConfigError where another run has taken the place meanwhile: before anything is written there."""
        if self._lost:
            raise ConfigError(self._lost)

    # ---- taking

    def _take(self) -> None:
        for _ in range(3):
            if self._storage.create(self._file, self._content()):
                return
            holder = self._holder()
            self._refuse_unless_free(holder)
            self._remove_stale(holder)
            self._remove_unfinished()
        raise ConfigError(f"{self._place}: another run took this place at the same moment: start this one again")

    def _refuse_unless_free(self, holder: Mapping[str, Any]) -> None:
        """Raise ConfigError unless what has the place is over."""
        mine = self._mine
        if holder.get("application") == mine["application"] and _number(holder.get("attempt")) < mine["attempt"]:
            return
        lives = _lives(holder.get("process"), str(holder.get("token")))
        age = self._age()
        if lives is False or (age > STALE_SECONDS and (lives is None or not self._is_renewed())):
            return
        who = ", ".join(
            f"{name} {holder[key]}"
            for name, key in (("application", "application"), ("process", "pid"), ("host", "host"), ("since", "since"))
            if key in holder
        )
        until = "" if lives else f"; if it was killed, the place is free in {max(1.0, STALE_SECONDS - age):.0f} s"
        raise ConfigError(
            f"{self._place} is in use by another run ({who or 'which is just starting'}): wait for its end or stop it, "
            f"or give this one a {self._what} of its own{until}"
        )

    def _is_renewed(self) -> bool:
        """Whether an old lease of a process that lives is renewed soon: it may have slept, with its machine."""
        before, deadline = self._storage.modified(self._file), time.monotonic() + 2.5 * _RENEW_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.1 * _RENEW_SECONDS)
            if self._storage.modified(self._file) != before:
                return True
        return False

    def _remove_unfinished(self) -> None:
        """Remove the files that the run before was writing here when it was killed: the model and what is next to it,
        or snapshots. What other places' names begin alike, another run may be writing."""
        name = os.path.basename(self._place)
        stem = name_beside(name, "")
        beside = rf"|{re.escape(stem)}\.(metrics|curve)[\w.]*" if stem != name else ""
        left = re.compile(rf"\.({re.escape(name)}(_\d+\.[\w.]*)?{beside})\.[0-9a-f]{{8}}\.part")
        with contextlib.suppress(StorageError):
            for one in self._storage.names(parent(self._place)):
                if left.fullmatch(one):
                    self._storage.remove(join(parent(self._place), one))

    def _remove_stale(self, holder: Mapping[str, Any]) -> None:
        """Remove what an ended run left. Of several who do, none removes what another has put there since."""
        aside = f"{self._file}.{self._mine['token']}"
        try:
            self._storage.rename(self._file, aside)
        except StorageError:
            return  # somebody was faster
        taken = self._read(aside)
        if taken.get("token") != holder.get("token"):
            self._storage.create(self._file, json.dumps(dict(taken)).encode())
        self._storage.remove(aside)

    # ---- keeping

    def _keep(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            try:
                self._renew()
            except Exception:  # storage that does not answer now may later
                continue
            if self._lost:
                return

    def _renew(self) -> None:
        holder = self._holder()
        if not holder and self._storage.create(self._file, self._content()):
            return
        if holder.get("token") == self._mine["token"]:
            self._storage.write(self._file, self._content())
        elif holder:
            self._lost = (
                f"{self._place} was taken by another run (application {holder.get('application')} on "
                f"{holder.get('host')}) while this one could not renew {self._file}: nothing more is written there"
            )

    # ---- the file

    def _content(self) -> bytes:
        return json.dumps(self._mine).encode()

    def _holder(self) -> Dict[str, Any]:
        """What the file says; {} where there is none, or none yet."""
        return self._read(self._file)

    def _read(self, uri: str) -> Dict[str, Any]:
        try:
            found = json.loads(self._storage.read(uri))
        except (StorageError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _age(self) -> float:
        """Seconds since the lease was renewed, by the clock that both times come from."""
        renewed = self._storage.modified(self._file)
        if renewed is None:
            return 0.0
        probe = f"{self._file}.{self._mine['token']}.now"
        self._storage.write(probe, b"x")
        try:
            now = self._storage.modified(probe)
        finally:
            self._storage.remove(probe)
        return 0.0 if now is None else now - renewed


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


# ---- processes of this machine


_OVER = ("Z", "X", "x")  # the states of processes that have ended: man proc_pid_stat


def _identity(pid: int) -> Optional[List[str]]:
    """[boot, process namespace, pid, start]: what tells a process from every other; None where that is not known, or
    where it is over and only waits for its parent to ask how it ended."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            boot = f.read().strip()
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        if fields[0] in _OVER:
            return None
        return [boot, os.readlink("/proc/self/ns/pid"), str(pid), fields[19]]
    except (OSError, IndexError):
        return None


_live: Set[str] = set()  # the tokens of this process's leases


def _lives(identity: Any, token: str) -> Optional[bool]:
    """Whether the run lives that a process took a lease for; None where this machine cannot know."""
    place = _identity(os.getpid())
    if place is None or not isinstance(identity, list) or identity[:2] != place[:2] or not str(identity[2]).isdigit():
        return None
    return token in _live if identity == place else _identity(int(identity[2])) == identity


def leases_of(storage: Storage, model: str, snapshots: str, application: str, attempt: int) -> Tuple[Lease, ...]:
    """What a run takes: the model's place, and that of its snapshots, which another model may share."""
    return (
        Lease(storage, model, application, attempt, "-model"),
        Lease(storage, snapshots, application, attempt, "snapshot_prefix (in the solver) or folder"),
    )
