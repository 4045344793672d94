"""Machines that are network namespaces of this one, with links of a stated speed. Needs root, ``ip`` and ``tc``.

Every machine has one cable to a switch, a bridge in a namespace of its own. Token buckets (tc's tbf) at both ends of a
cable let through so many bits a second in each direction, headers included, as on Ethernet with frames of 1,500 bytes.
There is no delay beyond the kernel's own, and all machines share this one's processors and memory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

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
    """

    name: str
    address: str
    interface: str

    @property
    def before(self) -> Tuple[str, ...]:
        """What stands before a command that is to run on it."""
        return ("ip", "netns", "exec", self.name)


def payload(gigabits: float) -> float:
    """Bytes a second of TCP's data that a link lets through: each frame of 1,500 bytes has 14 more around it, and 52 of
    headers in it."""
    return gigabits * 1e9 / 8 * (1500 - 52) / (1500 + 14)


@contextlib.contextmanager
def machines(count: int, gigabits: Optional[float]) -> Iterator[List[Machine]]:
    """So many machines with links of so many Gbit/s, or with None as fast as the kernel.

    Raises Unavailable. Whatever runs on them has ended before the block does.
    """
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        raise Unavailable("network namespaces need root, and the commands ip and tc")
    made = f"cos{secrets.token_hex(3)}"
    names = [f"{made}-{number}" for number in range(1, count + 1)]
    switch = f"{made}-switch"
    with contextlib.ExitStack() as stack:
        for name in (switch, *names):
            _run("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        yield [_plug_in(name, switch, number, gigabits) for number, name in enumerate(names, 1)]


def _plug_in(name: str, switch: str, number: int, gigabits: Optional[float]) -> Machine:
    """Connect a namespace to the switch."""
    machine, port = Machine(name, f"10.98.7.{number}", "cable"), f"port{number}"
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
