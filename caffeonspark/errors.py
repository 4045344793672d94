"""The exceptions of the library.

::

    CaffeOnSparkError
    ├── ConfigError            a flag, a prototxt or a cluster setting is wrong
    ├── DataError              a record or a data source cannot be used
    ├── StorageError           a file or folder cannot be read or written
    ├── TrainingError          training itself went wrong (ranks drifted apart)
    │   └── LossNotFinite          the loss became infinite or NaN
    ├── Interrupted            the run was asked to stop, and did
    │   └── InterruptedByKeyboard  by Ctrl-C (SIGINT): a KeyboardInterrupt too
    └── InfrastructureError    a lost executor, peer or connection: worth another attempt
        ├── CommunicationError     the gradient channel
        │   ├── PeerLost               a peer closed its connection or cannot be reached
        │   └── StallError             nothing moved for the stall timeout
        ├── HelperLost             a rank's helper process ended at a record
        └── RankLost               a rank's process ended without a message

Every message is one line: what is wrong, where, and what to do. Errors travel from executors to
the driver as plain dictionaries (``to_wire``/``from_wire``), never pickled.
"""

from __future__ import annotations

import difflib
import re
import traceback
from typing import Any, Dict, Iterable, List, Optional, Type

__all__ = [
    "CaffeOnSparkError",
    "CommunicationError",
    "ConfigError",
    "DataError",
    "HelperLost",
    "InfrastructureError",
    "Interrupted",
    "InterruptedByKeyboard",
    "LossNotFinite",
    "PeerLost",
    "RankLost",
    "StallError",
    "StorageError",
    "TrainingError",
    "from_text",
    "from_wire",
    "suggest",
    "to_wire",
    "without_passwords",
]


_PASSWORD = re.compile("(://[^/@:\\s]*):[^/\\s]*@")  # to the last "@" before the path


def without_passwords(text: str) -> str:
    """A text without the passwords in its URIs: ``ftp://user:password@host/x`` becomes ``ftp://user@host/x``."""
    return _PASSWORD.sub(r"\1@", text)


class CaffeOnSparkError(Exception):
    """Base of every error that this library raises deliberately.

    What to do: follow the message. ``report`` has more lines: a traceback, a rank's last log lines.
    """

    #: Whether starting again from the newest snapshot can help.
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
        #: Further lines for people: a traceback, a rank's last log lines, what failed after.
        self.report: List[str] = []

    @property
    def message(self) -> str:
        """The one-line message: what is wrong, where, and what to do."""
        return without_passwords(str(self.args[0]))

    def __str__(self) -> str:
        return self.message

    def _render_traceback_(self) -> List[str]:
        """What IPython shows: the traceback through the user's own code, and the message in one line."""
        own: List[str] = []
        for frame, line in traceback.walk_tb(self.__traceback__):
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in ("caffeonspark", "pyspark"):
                break
            if package not in ("IPython", "ipykernel"):
                own += traceback.format_list(traceback.StackSummary.extract([(frame, line)]))
        head = ["Traceback (most recent call last):"] if own else []
        return [*head, *"".join(own).splitlines(), f"{type(self).__name__}: {self.message}"]


class ConfigError(CaffeOnSparkError):
    """A flag, a prototxt file or a setting of the cluster is wrong.

    What to do: change what the message names. Nearly all of these errors come before ranks begin to train.
    """


class DataError(CaffeOnSparkError):
    """A data source or one of its records cannot be used.

    What to do: repair or copy again the record or file that the message names, or skip such records by ``-badRecords
    skip``.
    """


class StorageError(CaffeOnSparkError):
    """A file or folder cannot be read or written.

    What to do: check the path that the message names: permissions, quotas, free space, the file system's address. A
    model or snapshot that could not be written is kept on the driver, and the message names the path.
    """


class TrainingError(CaffeOnSparkError):
    """Training itself failed; the same run would fail again.

    What to do: follow the message. If the library is at fault, please report it with the metrics file.
    """


class LossNotFinite(TrainingError):
    """The loss, or the weights, became infinite or NaN.

    What to do: lower ``base_lr`` or scale the data, and continue from the snapshot that the message names.
    """


class Interrupted(CaffeOnSparkError):
    """The run was asked to stop and stopped.

    What to do: nothing; ``-resume`` continues from the snapshot that the message names.
    """


class InterruptedByKeyboard(Interrupted, KeyboardInterrupt):
    """The run was asked to stop by Ctrl-C (SIGINT). ``except Exception`` catches it, like every error of the library.

    What to do: nothing; ``-resume`` continues from the snapshot that the message names.
    """


class InfrastructureError(CaffeOnSparkError):
    """The infrastructure failed: an executor, a connection, a machine.

    What to do: at first nothing, because the run restarts automatically. If it keeps failing, check the machine or rank
    that the message names.
    """

    retryable = True


class CommunicationError(InfrastructureError):
    """The channel between the ranks failed.

    What to do: check the network between the two ends that the message names, and at firewalls (``-port``,
    ``-interface``).
    """


class PeerLost(CommunicationError):
    """A peer closed its connection or cannot be reached.

    What to do: as for ``CommunicationError``; most often the peer itself failed, and its own error is raised.
    """


class StallError(CommunicationError):
    """Nothing moved on the channel for longer than the stall timeout.

    What to do: find out which rank is slow or stopped; raise ``-stallTimeout`` if an iteration takes that long.
    """


class HelperLost(InfrastructureError):
    """A rank's helper process ended while it worked on a record that the message names.

    What to do: check that record; if it is large, give the executors more memory.
    """


class RankLost(InfrastructureError):
    """The process of a rank ended, or its machine was lost, before its work was done.

    What to do: check for a lack of memory; raise ``spark.executor.memoryOverhead``. ``report`` has the rank's last log
    lines.
    """


def _subclasses(cls: Type[CaffeOnSparkError]) -> Iterable[Type[CaffeOnSparkError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _subclasses(sub)


def to_wire(error: BaseException) -> Dict[str, Any]:
    """An error as JSON-able data. Errors that are not ours are named by their class."""
    if isinstance(error, CaffeOnSparkError):
        return {"kind": type(error).__name__, "message": error.message}
    return {"kind": None, "message": f"{type(error).__name__}: {error}"}


def from_wire(data: Dict[str, Any], where: str = "") -> CaffeOnSparkError:
    """The error that ``to_wire`` described, with ``where`` (such as ``rank 1 on host-a``) put before its message."""
    kinds = {cls.__name__: cls for cls in _subclasses(CaffeOnSparkError)}
    cls = kinds.get(str(data.get("kind")), TrainingError)
    message = str(data.get("message", ""))
    return cls(f"{where}: {message}" if where else message)


def from_text(text: str) -> Optional[CaffeOnSparkError]:
    """The error of this library in a traceback, such as Spark puts into its own exceptions."""
    prefixes = {f"{cls.__module__}.{cls.__name__}: ": cls for cls in _subclasses(CaffeOnSparkError)}
    for line in text.splitlines():
        for prefix, cls in prefixes.items():
            if line.strip().startswith(prefix):
                return cls(line.strip()[len(prefix) :])
    return None


def suggest(name: str, known: Iterable[str], otherwise: Optional[str] = None, cutoff: float = 0.6) -> str:
    """The sentence that ends "unknown X" errors: the nearest valid name, or the list when it is short.

    ``cutoff`` is how near a name has to be, from 0 to 1 (``difflib``).
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    if not near:
        lowered = {n.lower(): n for n in names}
        near = [lowered[c] for c in difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=cutoff)]
    if near:
        return f"Did you mean '{near[0]}'?"
    if otherwise is not None:
        return otherwise
    if names and len(names) <= 20:
        return "Valid names: " + ", ".join(names) + "."
    return ""
