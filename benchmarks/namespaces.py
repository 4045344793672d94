"""Machines that are network namespaces of this one, with links of a stated speed. Needs root, ``ip`` and ``tc``.

Every machine has one cable to a switch, a bridge in a namespace of its own. Token buckets (tc's tbf) at both ends of a
cable let through so many bits a second in each direction, headers included, as on Ethernet with frames of 1,500 bytes.
There is no delay beyond the kernel's own, and all machines share this one's processors. Each has processes and a name
of its own, so that ranks of different machines find no memory to share; files are the same on all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .others import processes

#: Bytes that a token bucket lets through at once: more than the largest packet that the kernel hands it, 64 KB.
_BURST = 256 << 10
#: Bytes that wait before a bucket; more are dropped.
_QUEUE = 4 << 20


class Unavailable(Exception):
    """Something that is to be measured cannot be had here, and why."""


class Machine(NamedTuple):
    """One of the machines.

    Attributes
    ----------
    name : of its namespace
    address : the others reach it there
    interface : that has this address
    process : its first one, which all others end with
    """

    name: str
    address: str
    interface: str
    process: int

    @property
    def before(self) -> Tuple[str, ...]:
        """What stands before a command that is to run on it."""
        return ("nsenter", "--target", str(self.process), "--net", "--pid", "--mount", "--uts")


def payload(gigabits: float) -> float:
    """Bytes a second of TCP's data that a link lets through: each frame of 1,500 bytes has 14 more around it, and 52 of
    headers in it."""
    return gigabits * 1e9 / 8 * (1500 - 52) / (1500 + 14)


@contextlib.contextmanager
def machines(count: int, gigabits: Optional[float]) -> Iterator[List[Machine]]:
    """So many machines with links of so many Gbit/s, or with None as fast as the kernel.

    Raises Unavailable. What still runs on them is killed at the end.
    """
    missing = [name for name in ("ip", "tc", "unshare", "nsenter") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        raise Unavailable("network namespaces need root, and the commands ip, tc, unshare and nsenter")
    made = f"cos{secrets.token_hex(3)}"
    names = [f"{made}-{number}" for number in range(1, count + 1)]
    switch = f"{made}-switch"
    with contextlib.ExitStack() as stack:
        for name in (switch, *names):
            _run("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        first = [stack.enter_context(_first_process(name)) for name in names]
        yield [_plug_in(name, switch, number, first[number - 1], gigabits) for number, name in enumerate(names, 1)]


@contextlib.contextmanager
def _first_process(name: str) -> Iterator[int]:
    """A namespace's first process, in namespaces of its own for processes, mounts and the name."""
    words = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--uts",
        "sh",
        "-c",
        f"hostname {name}; echo ready; sleep inf",
    ]
    command = ["ip", "netns", "exec", name, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "ready\n":
            process.kill()
            raise Unavailable(f"there are no such machines here: {process.stderr.read().strip() or 'unshare failed'}")
        (child,) = [number for (number, _), (parent, _) in processes().items() if parent == process.pid]
        try:
            yield child
        finally:
            os.kill(child, signal.SIGKILL)  # and with it all of its namespace


def _plug_in(name: str, switch: str, number: int, process: int, gigabits: Optional[float]) -> Machine:
    """Connect a namespace to the switch."""
    machine, port = Machine(name, f"10.98.7.{number}", "cable", process), f"port{number}"
    _run("ip", "link", "add", machine.interface, "netns", name, "type", "veth", "peer", "name", port, "netns", switch)
    _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
    _run("ip", "-n", name, "addr", "add", f"{machine.address}/24", "dev", machine.interface)
    for interface in ("lo", machine.interface):
        _run("ip", "-n", name, "link", "set", interface, "up")
    _choose_congestion_control(machine)
    if gigabits is not None:
        bucket = ("root", "tbf", "rate", f"{round(gigabits * 1e9)}bit", "burst", str(_BURST), "limit", str(_QUEUE))
        _run("tc", "-n", name, "qdisc", "add", "dev", machine.interface, *bucket)
        _run("tc", "-n", switch, "qdisc", "add", "dev", port, *bucket)
    return machine


def _choose_congestion_control(machine: Machine) -> None:
    """For sockets that do not choose themselves: bbr, the default of some systems, paces below what such links take,
    and where cubic may not be a namespace's default, reno may."""
    for name in ("cubic", "reno"):
        setting = f"net.ipv4.tcp_congestion_control={name}"
        if not subprocess.run([*machine.before, "sysctl", "-qw", setting], capture_output=True, check=False).returncode:
            return


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or "it does not say why").splitlines()[-1]
        raise Unavailable(f"there are no such links here: '{' '.join(command)}' failed: {why}")


def spread(ranks: int, machines: Sequence[Machine]) -> List[Machine]:
    """The machine of each rank: as many on each machine, neighbours on the same one."""
    return [machines[rank * len(machines) // ranks] for rank in range(ranks)]
