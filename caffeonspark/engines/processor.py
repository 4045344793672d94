"""This machine's processor: what it can run, and how much of it this process may use. Linux only, like the library."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from typing import FrozenSet, Iterator, NamedTuple, Optional

__all__ = ["Processor", "granted_cores", "share", "this_processor"]


class Processor(NamedTuple):
    """A processor.

    Attributes
    ----------
    name : as the kernel calls it
    flags : the instruction sets it has, by their names in /proc/cpuinfo; none where it is not an x86
    """

    name: str
    flags: FrozenSet[str]


def this_processor(cpuinfo: str = "/proc/cpuinfo") -> Processor:
    """The processor that this process runs on."""
    name = platform.machine()
    flags: FrozenSet[str] = frozenset()
    try:
        with open(cpuinfo) as f:
            for line in f:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags = frozenset(value.split())
                elif not line.strip() and flags:
                    break  # the next core is like this one
    except OSError:
        pass
    return Processor(name, flags)


def granted_cores(cgroup: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> float:
    """How many cores this process may use: its affinity, or its cgroups' CPU quota where that is less."""
    cores = float(len(os.sched_getaffinity(0)))
    for quota in _quotas(cgroup, root):
        cores = min(cores, quota)
    return cores


def share(cgroup: str = "/proc/self/cgroup") -> str:
    """Names the group of processes on this machine that ``granted_cores`` holds for together."""
    groups = f"{socket.gethostname()} {_read(cgroup) or ''}"
    return hashlib.sha256(groups.encode()).hexdigest()[:16]


def _quotas(cgroup: str, root: str) -> Iterator[float]:
    """The quota, in cores, of each cgroup that this process is in."""
    for line in (_read(cgroup) or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":  # version 2
            folder = root
        elif "cpu" in controllers.split(","):
            folder = os.path.join(root, controllers)
        else:
            continue
        while True:
            place = folder + path.rstrip("/")
            pair = (_read(f"{place}/cpu.max") or "").split() or [
                (_read(f"{place}/cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period")
            ]
            if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() and int(pair[1]):
                yield int(pair[0]) / int(pair[1])
            if path in ("", "/"):
                break
            path = os.path.dirname(path)


def _read(path: str) -> Optional[str]:
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return None
