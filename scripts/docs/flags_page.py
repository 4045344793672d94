"""The page of the flags, from the tables that command line, ``-help`` and Python read."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from markdown_text import table

from caffeonspark.cli import COMMANDS
from caffeonspark.flags import Flag
from caffeonspark.settings import FLAGS
from caffeonspark.tools.registry import TOOLS

HEAD = """# Flags

Every flag of the command line. In Python the same names, without the dash, are keywords and attributes of `Config`.
Those that apply to the Spark ML classes are Params there. `caffeonspark -help` prints this list.
"""
KINDS = {
    "switch": "no value, `true` or `false`",
    "text": "text",
    "int": "whole number",
    "float": "number",
    "names": "names separated by commas; in Python a list",
}


def page() -> str:
    """The page's text."""
    lines: List[str] = [HEAD]
    for title, flags in FLAGS.sections:
        lines += [f"## {title}", "", *table(("Flag", "Meaning", "Value"), map(_cells, flags))]
    lines += [
        "## CaffeOnSpark's names",
        "",
        "CaffeOnSpark's `Config` has these names for the same settings. They work too:",
        "",
    ]
    lines += table(("CaffeOnSpark", "Here"), ((f"`{old}`", f"`{new}`") for old, new in FLAGS.aliases.items()))
    lines += ["## Commands", "", "A first word without a dash is a command. Each command has `-help`.", ""]
    lines += table(("Command", "What it does"), _commands())
    for name, tool in TOOLS.items():
        flags = list(tool.flags.values())
        lines += [f"### {name}", "", f"{tool.about}.", ""]
        lines += table(("Flag", "Meaning", "Value"), map(_cells, flags))
    return "\n".join(lines)


def _cells(flag: Flag) -> Tuple[str, ...]:
    value = " or ".join(f"`{choice}`" for choice in flag.choices) or KINDS[flag.kind]
    value += f", at least {flag.minimum:g}" if flag.minimum is not None else ""
    value += ", or no value" if flag.alone is not None else ""
    if flag.default not in (None, "", [], False):
        value += f"; default `{str(flag.default).replace('True', 'true')}`"
    argument = f" `{flag.argument}`" if flag.argument else ""
    return f"`-{flag.name}`{argument}", flag.help, value


def _commands() -> Iterator[Tuple[str, ...]]:
    yield from ((f"`{name}`", about) for name, (_, about) in COMMANDS.items())
    yield from ((f"[`{name}`](#{name.lower()})", tool.about) for name, tool in TOOLS.items())
