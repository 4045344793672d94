"""The catalogue of errors: the classes of ``errors.py``, and the messages that the library's code has for each."""

from __future__ import annotations

import ast
import pathlib
import re
from typing import Dict, Iterator, List, Set, Tuple, Type

from markdown_text import from_docstring

import caffeonspark
from caffeonspark import errors
from caffeonspark.errors import CaffeOnSparkError

PACKAGE = pathlib.Path(caffeonspark.__file__).parent
SENTENCES = ("detail", "error", "message", "reason", "told", "what", "where")  # values that are no single name
HEAD = """# Errors

Every error that the library raises deliberately is a `CaffeOnSparkError`. Its message is one line: what is wrong,
where, and what to do. The command line prints it to standard error after `caffeonspark:`, and the exit status is 1.

The messages below are taken from the code. To find yours, search this page for some of its words. Words in capitals,
and `…`, are replaced by names and numbers in the real message.
"""


def classes() -> List[Type[CaffeOnSparkError]]:
    """The classes, each behind its base."""

    def below(cls: Type[CaffeOnSparkError]) -> Iterator[Type[CaffeOnSparkError]]:
        yield cls
        for sub in cls.__subclasses__():
            if sub.__module__ == errors.__name__:
                yield from below(sub)

    return list(below(CaffeOnSparkError))


def page() -> str:
    """The page's text."""
    found = messages()
    lines = [HEAD, "```text", *_tree(), "```", ""]
    for cls in classes():
        lines += [f"## {cls.__name__}", "", *from_docstring(cls.__doc__ or ""), ""]
        if cls is not CaffeOnSparkError:
            again = (
                "restarts automatically from the newest snapshot"
                if cls.retryable
                else "ends, because another attempt would fail in the same way"
            )
            lines += [f"A run with this error {again}.", ""]
        for module in sorted({module for name, module in found if name == cls.__name__}):
            lines += [f"**{module}**", ""]
            lines += [f"- {_as_text(message)}" for message in sorted(found[cls.__name__, module])]
            lines += [""]
    return "\n".join(lines)


def _tree() -> List[str]:
    text = (errors.__doc__ or "").partition("::\n")[2]
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def _as_text(message: str) -> str:
    """A message as code, whatever it has of Markdown."""
    return f"`` {message} ``" if "`" in message else f"`{message}`"


def messages() -> Dict[Tuple[str, str], Set[str]]:
    """The messages in the code, by (class, module)."""
    names = {cls.__name__ for cls in classes()}
    found: Dict[Tuple[str, str], Set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                message = _written(node.args[0]).strip()
                if len(re.sub(r"[A-Z_…\W\d]+", "", message)) >= 12:  # else the words come from elsewhere
                    found.setdefault((node.func.id, module), set()).add(message)
    return found


def _written(node: ast.AST) -> str:
    """The text that an expression makes, as far as the code says."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_written(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _name(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _written(node.left) + _written(node.right)
    return "…"


def _name(node: ast.AST) -> str:
    """What stands for a value in a message: the last of its names."""
    while isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.func, ast.Name):
        node = node.args[0]
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return "…" if len(name) == 1 or name in SENTENCES else name.strip("_").upper() or "…"
