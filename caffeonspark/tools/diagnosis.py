"""What the findings of ``caffeonspark doctor`` mean: what is there, and what to change."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ..causes import ENVIRONMENT as SAME_SOFTWARE
from ..engines.blas import checked, relative_time
from ..errors import InfrastructureError, from_wire
from ..runs.kernels import choose, crowded, describe_differences
from ..storage import EXECUTOR_SETTING

__all__ = ["RankFound", "Section", "diagnose", "found_by_ranks"]

#: A rank is slow that takes this many times the median's time: all others wait for it in every iteration.
SLOW = 1.2
#: A link is slow that has less than this part of the median of its kind.
SLOW_LINK = 0.5
#: Links between machines that are slower, in bytes a second, are not even 1 Gbit/s.
GIGABIT = 100e6
#: Bytes that ranks should have for records.
ROOM = 2 << 30
#: Gradients of CaffeNet, to say what a link means.
_CAFFENET = 244e6


@dataclass(frozen=True)
class RankFound:
    """What a rank found.

    Attributes
    ----------
    host, machine : the address of its machine, and the name it gives itself
    versions : of its software, by name
    facts : of its processor and its OpenBLAS (``engines.blas.facts``)
    kernel, threads : of the OpenBLAS that was measured; "" and 0 for another BLAS
    digest : what differs where ranks do not round alike
    seconds : of an iteration of a small net
    links : by a peer's rank, bytes a second each way
    folder, free : where its records go, and the bytes that are free there
    """

    host: str
    machine: str
    versions: Mapping[str, str]
    facts: Mapping[str, Any]
    kernel: str
    threads: int
    digest: str
    seconds: float
    links: Mapping[int, float]
    folder: str
    free: int


@dataclass(frozen=True)
class Section:
    """One subject: what is there, and what to change, a line each."""

    title: str
    lines: Tuple[str, ...]
    changes: Tuple[str, ...] = ()


def found_by_ranks(told: Sequence[Mapping[str, Any]]) -> List[RankFound]:
    """The ranks' answers, in rank order. Raises the error of a rank that could not be examined; of several, one that
    is not the loss of another rank. What all ranks say alike is no rank's."""
    failed = {rank: one["error"] for rank, one in enumerate(told) if one.get("error")}
    alike = len(failed) == len(told) and all(error == failed[0] for error in failed.values())
    errors = [from_wire(error, "" if alike else f"rank {rank}") for rank, error in failed.items()]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, InfrastructureError))
    found = []
    for one in told:
        values = {**one, "facts": checked(one["facts"]), "links": {int(peer): rate for peer, rate in one["links"]}}
        found.append(RankFound(**values))
    return found


def diagnose(ranks: Sequence[RankFound], driver: Mapping[str, str], setting: str) -> List[Section]:
    """What there is to say.

    Parameters
    ----------
    ranks : in rank order
    driver : versions of its software, by name; those that it has
    setting : of -blasKernel
    """
    return [
        _versions(ranks, driver),
        _processors(ranks),
        _kernels(ranks, setting),
        _speed(ranks),
        *([_links(ranks)] if len(ranks) > 1 else []),
        _disks(ranks),
    ]


def _who(rank: int, ranks: Sequence[RankFound]) -> str:
    found = ranks[rank]
    name = f" ({found.machine})" if found.machine != found.host else ""
    return f"rank {rank} on {found.host}{name}"


def _grouped(texts: Sequence[str]) -> List[str]:
    """A line for each different text of the ranks, with those it is true of."""
    groups: Dict[str, List[int]] = {}
    for rank, text in enumerate(texts):
        groups.setdefault(text, []).append(rank)
    if len(groups) == 1 and len(texts) > 1:
        return [f"all ranks: {next(iter(groups))}"]
    return [f"rank {', '.join(map(str, members))}: {line}" for line, members in groups.items()]


def _versions(ranks: Sequence[RankFound], driver: Mapping[str, str]) -> Section:
    lines = _grouped([", ".join(f"{name} {version}" for name, version in found.versions.items()) for found in ranks])
    parties = [("the driver", driver), *((f"rank {rank}", found.versions) for rank, found in enumerate(ranks))]
    changes = []
    for name in ranks[0].versions:
        having: Dict[str, List[str]] = {}
        for who, versions in parties:
            if name in versions:
                having.setdefault(versions[name], []).append(who)
        if len(having) > 1:
            each = ", ".join(f"{version} on {' and '.join(who)}" for version, who in having.items())
            changes.append(f"{name} is {each}. {SAME_SOFTWARE}")
    return Section("Versions", tuple(lines), tuple(changes))


def _processors(ranks: Sequence[RankFound]) -> Section:
    lines = [
        f"{_who(rank, ranks)}: {found.facts['processor']}, {_count(found.facts['cores'], 'core')}, "
        f"{_count(found.threads, 'BLAS thread') if found.kernel else 'a BLAS that is not OpenBLAS'}"
        for rank, found in enumerate(ranks)
    ]
    hosts, facts, threads = _columns(ranks)
    changes = [line.replace("warning: ", "", 1) for line in crowded(hosts, facts, threads)]
    return Section("Processors", tuple(lines), (*changes, *_idle(ranks)))


def _columns(ranks: Sequence[RankFound]) -> Tuple[List[str], List[Mapping[str, Any]], List[int]]:
    return [found.host for found in ranks], [found.facts for found in ranks], [found.threads for found in ranks]


def _idle(ranks: Sequence[RankFound]) -> List[str]:
    """A line for each machine, or container, of whose cores ranks use half or fewer."""
    groups: Dict[str, List[int]] = {}
    for rank, found in enumerate(ranks):
        if found.kernel:
            groups.setdefault(found.facts["share"], []).append(rank)
    lines = []
    for members in groups.values():
        cores = max(float(ranks[rank].facts["cores"]) for rank in members)
        used = sum(ranks[rank].threads for rank in members)
        if used <= cores / 2:
            who = f"rank {', '.join(map(str, members))}"
            lines.append(
                f"{who} on {ranks[members[0]].host}: {_count(used, 'BLAS thread')} on {cores:g} cores leave others "
                f"idle: start more ranks there (-clusterSize or -devices), or set "
                f"spark.executorEnv.OPENBLAS_NUM_THREADS to {int(cores // len(members))}"
            )
    return lines


def _kernels(ranks: Sequence[RankFound], setting: str) -> Section:
    hosts, facts, _ = _columns(ranks)
    kernels = choose(setting, facts, hosts)

    def text(found: RankFound, picked: str) -> str:
        if not found.facts["openblas"]:
            return "no OpenBLAS, so no kernel is chosen"
        how = f"-blasKernel {setting} chooses {picked}" if picked else f"-blasKernel {setting} chooses none"
        return (
            f"OpenBLAS {found.facts['openblas']} takes {found.facts['own']} by itself, {how}; {found.kernel} was used"
        )

    changes = []
    for rank, (found, picked) in enumerate(zip(ranks, kernels.kernels)):
        best = next(iter(found.facts["kernels"]), "")
        if not picked and best and relative_time(found.kernel) > SLOW * relative_time(best):
            times = relative_time(found.kernel) / relative_time(best)
            changes.append(
                f"{_who(rank, ranks)}: {found.kernel} takes about {times:.1f} times as long as {best}, which its "
                f"processor can run: leave -blasKernel {setting} out"
            )
    lines = _grouped([text(found, picked) for found, picked in zip(ranks, kernels.kernels)])
    names = [found.kernel or str(found.facts["processor"]) for found in ranks]
    different = describe_differences([found.digest for found in ranks], names)
    return Section("Kernels", (*lines, *kernels.notes, *different), tuple(changes))


def _speed(ranks: Sequence[RankFound]) -> Section:
    middle = statistics.median(found.seconds for found in ranks)
    lines = [f"{_who(rank, ranks)}: {found.seconds * 1000:.1f} ms" for rank, found in enumerate(ranks)]
    slowest = max(range(len(ranks)), key=lambda rank: ranks[rank].seconds)
    times = ranks[slowest].seconds / min(found.seconds for found in ranks)
    if len(ranks) > 1:
        lines.append(f"the slowest is rank {slowest}: {times:.2f} times the fastest's time")
    changes = [
        f"{_who(rank, ranks)} takes {found.seconds / middle:.2f} times as long as the median, and all ranks wait for "
        "it in every iteration: see what else runs there, or leave that machine out"
        for rank, found in enumerate(ranks)
        if found.seconds > SLOW * middle
    ]
    return Section("An iteration of LeNet, 64 samples, all ranks at once", tuple(lines), tuple(changes))


def _links(ranks: Sequence[RankFound]) -> Section:
    rates = {(rank, peer): rate for rank, found in enumerate(ranks) for peer, rate in found.links.items()}
    lines, changes = [], []
    for within in (True, False):
        kind = {(a, b): rate for (a, b), rate in rates.items() if (ranks[a].host == ranks[b].host) == within}
        where = "on one machine" if within else "between machines"
        middle = statistics.median(kind.values()) if kind else 0.0
        for (a, b), rate in sorted(kind.items()):
            lines.append(f"rank {a} - rank {b}, {where}: {rate / 1e6:,.0f} MB/s each way")
            if rate < SLOW_LINK * middle:
                changes.append(
                    f"rank {a} on {ranks[a].host} - rank {b} on {ranks[b].host}: {rate / middle:.2f} of the median "
                    f"{where}, and every exchange waits for it: look at what else uses that link, or leave a machine "
                    "out"
                )
        if kind and not within and middle < GIGABIT:
            seconds = _exchange_seconds(len(ranks), middle)
            changes.append(
                f"between machines {middle / 1e6:,.0f} MB/s: to exchange CaffeNet's {_CAFFENET / 1e6:.0f} MB of "
                f"gradients takes {seconds:.1f} s an iteration: name a faster network with -interface, or exchange "
                "less often with -sync average"
            )
    return Section("Links", tuple(lines), tuple(changes))


def _exchange_seconds(ranks: int, rate: float) -> float:
    """Of an all-reduce by a ring: 2 (n - 1) / n of the bytes pass every link (Patarasuk and Yuan, 2009)."""
    return 2 * (ranks - 1) / ranks * _CAFFENET / rate


def _disks(ranks: Sequence[RankFound]) -> Section:
    lines, changes = [], []
    for rank, found in enumerate(ranks):
        left = f"{_who(rank, ranks)}: {found.free / 1e9:.1f} GB"
        lines.append(f"{left} free in {found.folder}")
        if found.free < ROOM:
            changes.append(
                f"{left} are little for records and snapshots: make room in {found.folder}, or set {EXECUTOR_SETTING} "
                "to a larger disk"
            )
    return Section("Disks", tuple(lines), tuple(changes))


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"
