"""What the generated pages share: rows of tables, and our docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from typing import Iterable, List, Tuple

SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Notes")
NAMED = ("Parameters", "Attributes", "Raises")  # what stands before a colon, or alone on its line, is a name


def row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(head: Tuple[str, ...], rows: Iterable[Tuple[str, ...]]) -> List[str]:
    """The lines of a table, with an empty one behind it."""
    return [row(*head), row(*["---"] * len(head)), *(row(*cells) for cells in rows), ""]


def from_docstring(text: str) -> List[str]:
    """A docstring with numpydoc's sections and reStructuredText's ``code`` as the lines of a page."""
    lines = inspect.cleandoc(text).splitlines()
    found: List[str] = []
    section, number = "", 0
    while number < len(lines):
        line = lines[number]
        if line in SECTIONS and number + 1 < len(lines) and set(lines[number + 1]) == {"-"}:
            section = line
            found += ["", f"**{section}**", ""]
            number += 2
            continue
        if line.startswith((">>> ", "    ")) and section not in NAMED:
            number = _code(lines, number, found)
            continue
        if line.endswith("::"):
            line = line[:-2].rstrip() + (":" if line != "::" else "")
        if section in NAMED and line and not line.startswith(" "):
            name, _, about = line.partition(" : ")
            if section == "Raises" and not re.fullmatch(r"[\w., ]+", name):  # a sentence behind the section
                section = ""
            else:
                line = f"- `{name}`" + (f": {about}" if about else "")
        elif section in NAMED and line[4:5].isupper() and re.search(r"[\w)`]$", found[-1]):
            found[-1] += ":" if found[-1].endswith("`") else "."  # of a type, before what is said of it
        found.append(line)
        number += 1
    return [re.sub(r"``([^`]+)``", r"`\1`", line) for line in found]


def _code(lines: List[str], number: int, found: List[str]) -> int:
    """Append the block of code that begins at a line; the number of the line behind it."""
    start = number
    prompt = lines[start].startswith(">>> ")
    while number < len(lines) and (lines[number].startswith((">>> ", "    ")) or (prompt and lines[number])):
        number += 1
    found += ["", "```python", *(line.replace("``", "`") for line in lines[start:number]), "```", ""]
    return number
