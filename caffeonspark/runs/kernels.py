"""The kernels of the ranks' OpenBLAS: who takes which, in which workers, and what there is to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from ..engines.blas import AUTO, ENVIRONMENT, VARIABLE, check_setting, checked, relative_time, runnable
from ..errors import InfrastructureError
from ..report.result import RankMachine

__all__ = ["FreshWorkersNeeded", "Kernels", "RankKernels", "choose", "crowded", "describe_differences"]

#: How much longer the fastest rank may take for an iteration so that all ranks compute alike.
_PRICE = 1.1


class FreshWorkersNeeded(InfrastructureError):
    """A worker has an OpenBLAS loaded with another kernel than it is to take: the ranks have to start in other ones.

    Attributes
    ----------
    kernels : of the ranks
    """

    def __init__(self, kernels: Sequence[str]) -> None:
        super().__init__(f"the ranks need other Python workers, for the kernels {', '.join(kernels)}")
        self.kernels = tuple(kernels)


@dataclass(frozen=True)
class Kernels:
    """The kernel of each rank ("": left to OpenBLAS and its environment), and lines to tell."""

    kernels: Tuple[str, ...]
    notes: Tuple[str, ...] = ()


def choose(setting: str, ranks: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> Kernels:
    """The ranks' kernels.

    Parameters
    ----------
    setting : of -blasKernel
    ranks : what each rank found (``engines.blas.facts``)
    hosts : where they are

    Raises
    ------
    ConfigError
        If a rank cannot run the kernel that ``setting`` names.
    """
    setting = check_setting(setting)
    if setting == ENVIRONMENT:
        return Kernels(("",) * len(ranks))
    if setting != AUTO:
        for rank, here in enumerate(ranks):
            runnable(setting, here, f"rank {rank} on {hosts[rank]}")
        kernels = [setting] * len(ranks)
    else:
        kernels = _automatic(ranks)
    return Kernels(tuple(kernels), tuple(_overridden(setting, kernels, ranks)))


def _automatic(ranks: Sequence[Mapping[str, Any]]) -> List[str]:
    """The best that all ranks can run, where that costs the fastest at most a tenth; otherwise each its own."""
    own = [next(iter(here["kernels"]), "") for here in ranks]
    if len(set(own)) == 1 or "" in own:
        return own
    common = set.intersection(*[set(here["kernels"]) for here in ranks])
    if common:
        best = min(sorted(common), key=relative_time)
        if relative_time(best) <= _PRICE * min(map(relative_time, own)):
            return [best] * len(ranks)
    return own


def _overridden(setting: str, kernels: Sequence[str], ranks: Sequence[Mapping[str, Any]]) -> List[str]:
    """One line about environments that name another kernel."""
    others: Dict[str, List[int]] = {}
    for rank, (kernel, here) in enumerate(zip(kernels, ranks)):
        value = here["inherited"]
        if kernel and value is not None and value.lower() != kernel.lower():
            others.setdefault(value, []).append(rank)
    return [
        f"{VARIABLE}={value} in the environment of rank {', '.join(map(str, who))} is not used: -blasKernel {setting} "
        f"takes {', '.join(sorted({kernels[rank] for rank in who}))} (-blasKernel {ENVIRONMENT} leaves it)"
        for value, who in sorted(others.items())
    ]


def in_other_workers(kernels: Sequence[str], ranks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a rank's worker has loaded an OpenBLAS with another kernel."""
    return any(kernel and here["loaded"] not in ("", kernel) for kernel, here in zip(kernels, ranks))


def describe_differences(digests: Sequence[str], names: Sequence[str]) -> List[str]:
    """One line about ranks that compute other bits than rank 0, if there are any; ``names`` of their kernels."""
    others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if not others:
        return []
    who = ", ".join(f"{rank} ({names[rank]})" for rank in others)
    do = "does" if len(others) == 1 else "do"
    return [f"rank {who} {do} not round as rank 0 ({names[0]}) does: they settle on rank 0's weights now and then"]


def crowded(hosts: Sequence[str], ranks: Sequence[Mapping[str, Any]], threads: Sequence[int]) -> List[str]:
    """A warning for each machine, or each container, whose ranks have more BLAS threads than it has cores."""
    groups: Dict[str, List[int]] = {}
    for rank, here in enumerate(ranks):
        groups.setdefault(here["share"], []).append(rank)
    lines = []
    for members in groups.values():
        total = sum(threads[rank] for rank in members)
        cores = max(float(ranks[rank]["cores"]) for rank in members)
        if total > cores:
            who = f"rank {', '.join(map(str, members))}"
            lines.append(
                f"warning: {who} on {hosts[members[0]]}: {total} BLAS threads on {cores:g} cores that they may use "
                "slow each other down; set OPENBLAS_NUM_THREADS in their environment "
                f"(spark.executorEnv.OPENBLAS_NUM_THREADS) to {max(1, int(cores // len(members)))}"
            )
    return lines


class RankKernels:
    """The kernels of an attempt's ranks, as the ranks tell what they have and then what they use.

    Parameters
    ----------
    setting : of -blasKernel
    ranks : how many there are
    settles : whether ranks that do not round alike settle (``Strategy.lockstep``)
    fresh : whether their workers have computed nothing before
    parted : called where a rank takes another kernel than it would alone
    note : called with lines to tell

    Attributes
    ----------
    chosen : each rank's kernel, once all ranks have said hello
    """

    def __init__(
        self,
        setting: str,
        ranks: int,
        settles: bool,
        fresh: bool,
        parted: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self._setting = setting
        self._count = ranks
        self._settles = settles
        self._fresh = fresh
        self._parted = parted
        self._note = note
        self._hosts: Dict[int, str] = {}
        self._facts: Dict[int, Mapping[str, Any]] = {}
        self._engines: Dict[int, Mapping[str, Any]] = {}
        self.chosen: Sequence[str] = ()

    def hello(self, rank: int, host: str, facts: Mapping[str, Any]) -> None:
        """A rank has come. Raises ConfigError, and FreshWorkersNeeded, when all have."""
        self._hosts[rank], self._facts[rank] = host, checked(facts)
        if len(self._facts) < self._count or self.chosen:
            return
        every = self._in_order(self._facts)
        found = choose(self._setting, every, self._in_order(self._hosts))
        if any(kernel and kernel != here["kernels"][0] for kernel, here in zip(found.kernels, every)):
            self._parted()
        if not self._fresh and in_other_workers(found.kernels, every):
            raise FreshWorkersNeeded(found.kernels)
        self.chosen = found.kernels
        for line in found.notes:
            self._note(line)

    def engine(self, rank: int, about: Mapping[str, Any]) -> RankMachine:
        """A rank has loaded its engine; what it computes with."""
        here = self._facts[rank]
        machine = RankMachine(
            processor=str(here["processor"]),
            cores=float(here["cores"]),
            blas=f"OpenBLAS {here['openblas']}" if about["kernel"] else "",
            kernel=str(about["kernel"]),
            threads=int(about["threads"]),
        )
        self._engines[rank] = {**about, "machine": machine}
        if len(self._engines) == self._count:
            self._say_together(self._in_order(self._engines))
        return machine

    def _say_together(self, engines: Sequence[Mapping[str, Any]]) -> None:
        digests = [str(about["digest"]) for about in engines]
        names = [about["machine"].kernel or about["machine"].processor for about in engines]
        threads = [about["machine"].threads for about in engines]
        for line in [
            *(describe_differences(digests, names) if self._settles else ()),
            *crowded(self._in_order(self._hosts), self._in_order(self._facts), threads),
        ]:
            self._note(line)

    def _in_order(self, values: Mapping[int, Any]) -> List[Any]:
        return [values[rank] for rank in range(self._count)]
