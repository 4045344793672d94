"""The page of the flags, from the tables that command line, ``-help`` and Python read."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from markdown_text import table

from caffeonspark.cli import COMMANDS
from caffeonspark.flags import Flag
from caffeonspark.settings import FLAGS
from caffeonspark.tools.registry import TOOLS

HEAD = """# Flags

Every flag of the command line. In Python the same names are keywords and attributes of `Config`, without the dash, and
Params of the Spark ML classes where they mean something there. `caffeonspark -help` prints this list.
"""
KINDS = {
    "switch": "switch: alone, or `true` or `false`",
    "text": "text",
    "int": "whole number",
    "float": "number",
    "names": "names with commas between; in Python a list",
}


def page() -> str:
    """The page's text."""
    lines: List[str] = [HEAD]
    for title, flags in FLAGS.sections:
        lines += [f"## {title}", "", *table(("Flag", "Meaning", "Value", "Default"), map(_cells, flags))]
    lines += [
        "## CaffeOnSpark's names",
        "",
        "Names of the same settings in CaffeOnSpark's `Config`, which are understood:",
        "",
    ]
    lines += table(("There", "Here"), ((f"`{old}`", f"`{new}`") for old, new in FLAGS.aliases.items()))
    lines += ["## Commands", "", "A first word without a dash is a command. Each has its own `-help`.", ""]
    lines += table(("Command", "What it does"), _commands())
    for name, tool in TOOLS.items():
        flags = list(tool.flags.values())
        lines += [f"### {name}", "", f"{tool.about}.", ""]
        lines += table(("Flag", "Meaning", "Value", "Default"), map(_cells, flags))
    return "\n".join(lines)


def _cells(flag: Flag) -> Tuple[str, ...]:
    value = " or ".join(f"`{choice}`" for choice in flag.choices) or KINDS[flag.kind]
    value += f", at least {flag.minimum:g}" if flag.minimum is not None else ""
    value += "; may stand alone" if flag.alone is not None else ""
    default = "" if flag.default in (None, "", [], False) else f"`{flag.default}`"
    return f"`{f'-{flag.name} {flag.argument}'.rstrip()}`", flag.help, value, default.replace("True", "true")


def _commands() -> Iterator[Tuple[str, ...]]:
    yield from ((f"`{name}`", about) for name, (_, about) in COMMANDS.items())
    yield from ((f"[`{name}`](#{name.lower()})", tool.about) for name, tool in TOOLS.items())
