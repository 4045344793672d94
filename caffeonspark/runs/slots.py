"""Task slots for the runs of one driver: runs in threads that together need more than there are wait for each other.

Left to itself, Spark starts whichever barrier stage fits into the slots that happen to be free: small runs pass a large
one for as long as there are any, a run that is started again after a failure loses its slots to one that came later,
and nobody says what a run waits for.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional

from ..causes import explained
from ..errors import Interrupted, InterruptedByKeyboard
from ..plans.run_config import RunConfig
from ..report.notebook import call_when_a_cell_is_interrupted
from ..spark.jvm import is_stopped, task_slots
from .cancelled import are_all_cancelled, why_cancelled
from .preflight import check_promised

__all__ = ["claimed_slots", "interrupt_all"]

_LOOK, _QUIET = 0.2, 1.0  # seconds between two looks, and until a wait is worth a line


@dataclass(eq=False)
class _Claim:
    """A run's slots, from its arrival to its end, all its attempts together.

    Attributes
    ----------
    application : whose slots
    name : of the run, for people
    ranks : how many slots it needs
    stops : set to end it
    granted : whether it has them
    """

    application: str
    name: str
    ranks: int
    stops: List[threading.Event]
    granted: bool = False


_changed = threading.Condition()
_claims: List[_Claim] = []  # in the order in which they came
_held = threading.local()  # the claim of the thread's run


@contextlib.contextmanager
def claimed_slots(config: RunConfig, name: str, say: Callable[[str], None], stop: threading.Event) -> Iterator[None]:
    """Have ``config.ranks`` task slots meanwhile, among the runs of this process; first come, first served.

    A thread's run claims once: what does this again within it has the same slots.

    Parameters
    ----------
    config : RunConfig
    name : of the run, as others are told that it has the slots; its model's file name where it is ""
    say : told what is waited for
    stop : ends the wait, and is set when all runs are to end

    Raises
    ------
    ConfigError
        Where there will never be so many.
    Interrupted
        When ``stop`` is set, or the application ends, while it waits.
    """
    outer: Optional[_Claim] = getattr(_held, "claim", None)
    if outer is not None:
        with _changed:
            outer.stops.append(stop)
            if outer.stops[0].is_set():
                stop.set()
        yield
        return
    with explained():
        check_promised(config)
        context = config.spark.sparkContext
        application = context.applicationId
    claim = _Claim(application, name or os.path.basename(config.model_uri), config.ranks, [stop])
    call_when_a_cell_is_interrupted(interrupt_all)
    with _changed:
        _claims.append(claim)
    try:
        with explained():
            _wait(claim, context, say)
        _held.claim = claim
        yield
    except KeyboardInterrupt:
        interrupt_all()
        raise
    except Interrupted as e:
        if are_all_cancelled(e):
            interrupt_all()
        raise
    finally:
        _held.claim = None
        with _changed:
            _claims.remove(claim)
            _changed.notify_all()


def interrupt_all() -> None:
    """End all runs of this process, those that wait too, as a request to stop ends them."""
    with _changed:
        for stop in [stop for claim in _claims for stop in claim.stops]:
            stop.set()
        _changed.notify_all()


def _wait(claim: _Claim, context: Any, say: Callable[[str], None]) -> None:
    """Return when the claim is granted."""
    begun, told = time.monotonic(), False
    try:
        while True:
            slots = 0 if is_stopped(context) else task_slots(context)
            with _changed:
                if claim.stops[0].is_set() or is_stopped(context):
                    why = why_cancelled(context, None)
                    raise Interrupted(f"stopped{' by ' + why if why else ''} while it waited for task slots")
                reason = _in_the_way(claim, slots)
                if not reason:
                    claim.granted = True
                    return
            if not told and time.monotonic() - begun > _QUIET:
                say(reason)
                told = True
            with _changed:
                _changed.wait(_LOOK)
    except KeyboardInterrupt:
        raise InterruptedByKeyboard("stopped by SIGINT while it waited for task slots") from None


def _in_the_way(claim: _Claim, slots: int) -> str:
    """What the claim waits for, "" if nothing. One that is too large for the cluster is granted when nobody is before
    it: what checks the cluster says so."""
    others = [other for other in _claims[: _claims.index(claim)] if other.application == claim.application]
    holders = [other for other in _claims if other.granted and other.application == claim.application]
    waiting = [other for other in others if not other.granted]
    held = sum(other.ranks for other in holders)
    if not waiting and (not holders or held + claim.ranks <= slots):
        return ""
    having = ", ".join(f"{other.name} has {other.ranks}" for other in holders)
    before = f"; before it waits {', '.join(other.name for other in waiting)}" if waiting else ""
    return f"waiting for {claim.ranks} of the cluster's {slots} task slots: {having}{before}"
