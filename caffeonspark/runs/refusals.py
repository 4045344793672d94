"""Connections that were hung up on: counted, and told now and then."""

from __future__ import annotations

from typing import Callable, Dict, Mapping

from ..report.result import TrainingResult

__all__ = ["Refusals"]

_AGAIN = 10  # times as many as were told before are told again


class Refusals:
    """Counts in a result what the listeners of one attempt refuse, and has a line for the first and for many more.

    Parameters
    ----------
    result : whose ``refused`` grows
    say : gets the lines
    """

    def __init__(self, result: TrainingResult, say: Callable[[str], None]) -> None:
        self._result = result
        self._say = say
        self._counted: Dict[str, int] = {}  # by listener
        self._told: Dict[str, int] = {}

    def count(self, where: str, hosts: Mapping[str, int], last: bool = False) -> None:
        """What a listener has refused so far.

        Parameters
        ----------
        where : whose it is
        hosts : connections by the host they came from
        last : whether it will refuse no more
        """
        total, told = sum(hosts.values()), self._told.get(where, 0)
        self._result.refused += total - self._counted.get(where, 0)
        self._counted[where] = total
        if total > told and (last or total >= _AGAIN * told):
            self._told[where] = total
            many = f"{total} connection was" if total == 1 else f"{total} connections were"
            self._say(
                f"warning: {many} refused by {where}, from {', '.join(sorted(hosts))}: whoever it was did not know "
                "this attempt's secret, or was not expected"
            )
