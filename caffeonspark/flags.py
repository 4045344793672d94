"""The flags, in one table: every way to configure the library (CLI, dict, list, keywords) reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .errors import ConfigError, suggest

__all__ = ["FLAGS", "Flag", "FlagTable"]


@dataclass(frozen=True)
class Flag:
    """One flag: its name without the dash, how its text becomes a value, its default and what it means."""

    name: str
    kind: str  # "switch", "text", "int", "float", "names" or "choice"
    default: Any
    help: str
    argument: str = ""
    choices: Tuple[str, ...] = ()
    minimum: Optional[float] = None
    alone: Optional[str] = None  # the value of a flag that may stand without one

    def convert(self, value: Any) -> Any:
        """The value of the flag from text, or from an object of the right type; raises ConfigError."""
        if value is None:
            return self.default
        if self.alone is not None and isinstance(value, bool):
            return self.alone if value else self.default
        text = str(value).strip()
        if self.kind == "switch":
            if isinstance(value, bool):
                return value
            if text.lower() in ("", "true", "1", "yes"):
                return True
            if text.lower() in ("false", "0", "no", "none"):
                return False
            raise ConfigError(f"-{self.name} is a switch: it is true or false, not '{text}'")
        if self.kind == "names":
            parts = [str(v) for v in value] if isinstance(value, (list, tuple)) else text.split(",")
            return [part.strip() for part in parts if part.strip()]
        if self.kind in ("int", "float"):
            return self._number(text)
        if self.kind == "choice":
            for choice in self.choices:
                if text.lower() == choice.lower():
                    return choice
            raise ConfigError(f"-{self.name}: '{text}' is none of {', '.join(self.choices)}")
        return text

    def _number(self, text: str) -> Any:
        try:
            number = int(text) if self.kind == "int" else float(text)
        except ValueError:
            kind = "a whole number" if self.kind == "int" else "a number"
            raise ConfigError(f"-{self.name} needs {kind}, not '{text}'") from None
        if self.minimum is not None and not number >= self.minimum:
            raise ConfigError(f"-{self.name} must be at least {self.minimum:g}, not {text}")
        return number


class FlagTable(Mapping[str, Flag]):
    """Flags by name: a command line, a dict and the help all come from one table.

    Parameters
    ----------
    *sections : (title, flags), in the order of the help
    aliases : other names of flags
    """

    def __init__(self, *sections: Tuple[str, Sequence[Flag]], aliases: Optional[Mapping[str, str]] = None) -> None:
        self._sections = sections
        self._flags = {flag.name: flag for _, flags in sections for flag in flags}
        self.aliases = dict(aliases or {})

    def __getitem__(self, name: str) -> Flag:
        return self._flags[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flags)

    def __len__(self) -> int:
        return len(self._flags)

    def _flag(self, name: str) -> Flag:
        bare = name[1:] if name.startswith("-") and not name.startswith("--") else name
        bare = self.aliases.get(bare, bare)
        if bare not in self._flags:
            raise ConfigError(f"unknown flag {name}. {suggest(bare, self._flags, otherwise='See -help.')}")
        return self._flags[bare]

    def parse_mapping(self, given: Mapping[str, Any]) -> Dict[str, Any]:
        """Values by flag name from a dict such as ``{"-conf": "x.prototxt", "devices": 2}``. Raises ConfigError."""
        return {self._flag(name).name: self._flag(name).convert(value) for name, value in given.items()}

    def parse_args(self, argv: Sequence[str]) -> Dict[str, Any]:
        """Values by flag name from a command line. Raises ConfigError."""
        values: Dict[str, Any] = {}
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                raise ConfigError(f"'{word}' follows no flag that takes a value. See -help.")
            name, equals, text = word.partition("=")
            flag = self._flag(name)
            if equals:
                values[flag.name] = flag.convert(text)
            elif flag.kind == "switch":
                values[flag.name] = True
            elif flag.alone is not None and (not rest or rest[0].startswith("-")):
                values[flag.name] = flag.alone
            elif not rest or (rest[0].startswith("-") and rest[0].lstrip("-").partition("=")[0] in self._flags):
                raise ConfigError(f"-{flag.name} needs a value ({flag.argument})")
            else:
                values[flag.name] = flag.convert(rest.pop(0))
        return values

    def help_text(self) -> str:
        """What ``-help`` prints."""
        lines: List[str] = []
        for title, flags in self._sections:
            lines.append(f"{title}:")
            for flag in flags:
                head = f"  -{flag.name} {flag.argument}".rstrip()
                default = "" if flag.default in (None, "", [], False) else f" (default {flag.default})"
                gap = " " * max(2, 26 - len(head))
                lines.append(f"{head}{gap}{flag.help}{default}")
            lines.append("")
        return "\n".join(lines).rstrip()


# CaffeOnSpark's names of the same settings on its Python ``Config``.
_ALIASES: Dict[str, str] = {
    "protoFile": "conf",
    "isTraining": "train",
    "isTest": "test",
    "modelPath": "model",
    "outputPath": "output",
    "isRddPersistent": "persistent",
    "snapshotStateFile": "snapshot",
    "snapshotModelFile": "weights",
}

#: What everything but the tools is configured by.
FLAGS = FlagTable(
    (
        "What to do",
        (
            Flag("train", "switch", False, "train, and save the model"),
            Flag("test", "switch", False, "print and save the mean of each output blob of the TEST net"),
            Flag("features", "names", [], "save these blobs of the TEST net, one row for each sample", "BLOB,BLOB…"),
            Flag("label", "text", "", "one more blob for -features", "BLOB"),
        ),
    ),
    (
        "Files",
        (
            Flag("conf", "text", "", "the solver prototxt", "FILE"),
            Flag("model", "text", "", "the model: written by -train, read by -test and -features", "FILE"),
            Flag("output", "text", "output", "where -features and -test write", "PATH"),
            Flag("outputFormat", "text", "json", "format of -features: json, parquet or any Spark writer", "NAME"),
            Flag("weights", "text", "", "start from these .caffemodel files (comma-separated), by layer name", "FILE"),
            Flag("snapshot", "text", "", "resume from this .solverstate; needs -weights", "FILE"),
            Flag(
                "resume", "switch", False, "resume from the newest complete snapshot beside the model, if there is one"
            ),
            Flag("keepSnapshots", "int", None, "keep only the newest N snapshots of the run", "N", minimum=1),
        ),
    ),
    (
        "Cluster",
        (
            Flag(
                "clusterSize",
                "int",
                None,
                "executors that train together (default: spark.executor.instances, else 1)",
                "N",
                minimum=1,
            ),
            Flag("devices", "int", 1, "ranks (solvers) in each executor", "N", minimum=1),
            Flag(
                "connection",
                "choice",
                "ethernet",
                "how gradients travel; infiniband runs as ethernet over IPoIB",
                "NAME",
                choices=("ethernet", "infiniband"),
            ),
            Flag(
                "maxRestarts",
                "int",
                3,
                "restart from the newest snapshot at most N times after a failure",
                "N",
                minimum=0,
            ),
            Flag("port", "text", "", "ports to listen on, on driver and executors (default: any)", "LOW-HIGH"),
            Flag("interface", "text", "", "network interface for the gradients (default: the one Spark uses)", "NAME"),
            Flag(
                "encrypt", "switch", False, "encrypt what ranks send (by itself where Spark encrypts its own traffic)"
            ),
            Flag("stallTimeout", "float", 120.0, "seconds without progress after which a rank is lost", "S", minimum=1),
        ),
    ),
    (
        "Data",
        (
            Flag("resize", "switch", False, "resize decoded images to the layer's height and width"),
            Flag("shuffle", "switch", False, "shuffle each rank's samples anew for every epoch"),
            Flag("readerOptions", "names", [], "options of the Spark reader of a DataFrame", "NAME=VALUE,…"),
            Flag(
                "badRecords",
                "choice",
                "fail",
                "what a record that cannot be used does: fail the job, or be skipped",
                "fail|skip",
                choices=("fail", "skip"),
            ),
            Flag("badRecordsMax", "float", 0.01, "skip at most this fraction of the records", "F", minimum=0),
            Flag("decoders", "int", 2, "a rank's processes that decode images ahead of it", "N", minimum=0),
            Flag("persistent", "switch", False, "keep the training DataFrame on Spark's disks between attempts"),
            Flag(
                "lmdb_partitions",
                "int",
                None,
                "partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)",
                "N",
                minimum=1,
            ),
        ),
    ),
    (
        "Validation",
        (
            Flag("patience", "int", None, "stop after N validations without a better one", "N", minimum=1),
            Flag("best", "switch", False, "the model is the best validated one, not the last"),
            Flag("monitor", "text", "", "the output -patience and -best look at (default: the first loss)", "BLOB"),
        ),
    ),
    (
        "Display",
        (
            Flag("quiet", "switch", False, "no progress bar, and no notes about the run"),
            Flag("logRanks", "switch", False, "show every rank's log lines"),
            Flag(
                "web",
                "text",
                "",
                "serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port",
                "[[ADDRESS:]PORT]",
                alone="0",
            ),
            Flag("tensorboard", "text", "", "write event files for TensorBoard into this folder", "DIR"),
            Flag(
                "mlflow",
                "text",
                "",
                "log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns",
                "[URI]",
                alone="default",
            ),
        ),
    ),
    aliases=_ALIASES,
)
