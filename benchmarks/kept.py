"""What parts of the benchmarks found, kept as a file each, and the page that is made of them.

A part that is measured anew takes its file's place, and the page is made again from all files.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from dataclasses import asdict, dataclass
from typing import Dict, List, Sequence, Tuple

from . import results
from .common import ROOT
from .results import Result

FOLDER = ROOT / "benchmarks" / "kept"


@dataclass(frozen=True)
class Part:
    """One part, measured.

    Attributes
    ----------
    name : of its module
    results : its tables
    machine : what it was measured on (``machine.describe``)
    version : of the code (``version``)
    short : whether with few rounds
    minutes : it took
    others : cores that other processes took meanwhile: in the mean, and in the worst few seconds
    busy : whether that was too much
    """

    name: str
    results: Tuple[Result, ...]
    machine: Dict[str, str]
    version: str
    short: bool
    minutes: float
    others: Tuple[float, float]
    busy: bool

    @property
    def conditions(self) -> Dict[str, str]:
        """The machine without the date."""
        return {about: value for about, value in self.machine.items() if about != "Date"}


def version() -> str:
    """The commit of this checkout, with "+" where there are changes beyond it; "" without git."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    code = ["status", "--porcelain", "--", "caffeonspark", "benchmarks/*.py"]
    changes = subprocess.run([*git, *code], capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "") if not commit.returncode else ""


def save(part: Part, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = {**asdict(part), "results": [results.as_values(result) for result in part.results]}
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    new = folder / f"{part.name}.json.new"
    new.write_text(text, encoding="utf-8")
    new.replace(folder / f"{part.name}.json")


def load(folder: pathlib.Path, names: Sequence[str]) -> List[Part]:
    """The parts that are there, in the order of ``names``."""
    found = []
    for name in names:
        file = folder / f"{name}.json"
        if file.exists():
            values = json.loads(file.read_text(encoding="utf-8"))
            tables = tuple(results.from_values(one) for one in values["results"])
            found.append(Part(**{**values, "results": tables, "others": tuple(values["others"])}))
    return found


def write_page(parts: Sequence[Part], page: pathlib.Path) -> None:
    """The page of all parts, and their pictures next to it."""
    pictures = {}
    for part in parts:
        for result in part.results:
            file = page.parent / f"{result.name}.png"
            if results.picture(result, file):
                pictures[result.name] = file.name
    page.write_text(markdown(parts, pictures), encoding="utf-8")


def markdown(parts: Sequence[Part], pictures: Dict[str, str]) -> str:
    """The page.

    Parameters
    ----------
    parts : at least one
    pictures : by the name of a result, the file of its picture
    """
    usual = max((part.conditions for part in parts), key=[part.conditions for part in parts].count)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` from the files in `benchmarks/kept`. The sides of a comparison run in turn, round "
        "after round; a ratio is the median of the rounds' ratios, with the lowest and the highest. Compare ratios, "
        "and times within a table: from one table to another the machine's speed drifts.",
        "",
        *results.table(("Machine", ""), [(name, (value,)) for name, value in usual.items()], "---"),
    ]
    for part in parts:
        remarks = _remarks(part, usual)
        for result in part.results:
            lines += results.section(result, pictures.get(result.name, ""), remarks)
    rows = [(part.name, _provenance(part)) for part in parts]
    head = ("Part", "date", "commit", "minutes", "cores that others took: mean", "at most")
    return "\n".join([*lines, "", "## When, and how undisturbed", "", *results.table(head, rows)]) + "\n"


def _provenance(part: Part) -> Tuple[str, ...]:
    date, mean, most = part.machine.get("Date", ""), *part.others
    return date, part.version, f"{part.minutes:.1f}", f"{mean:.2f}", f"{most:.2f}"


def _remarks(part: Part, usual: Dict[str, str]) -> List[str]:
    """What a reader has to know before believing a part."""
    remarks = []
    if part.busy:
        remarks.append(
            f"**The machine was busy:** other processes took {part.others[0]:.2f} cores while this was measured. "
            "Its times and ratios say little."
        )
    if part.short:
        remarks.append("**A short run**, of one round and small sizes: to see that it works.")
    other = [f"{about}: {value}" for about, value in part.conditions.items() if usual.get(about) != value]
    if other:
        remarks.append(f"Measured with another machine or software than the table above says. {'; '.join(other)}.")
    return remarks
