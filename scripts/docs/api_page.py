"""The page of the Python interface, from the docstrings of the public names and of their public members.

``--check`` writes nothing: it fails where something on the page has no docstring.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pathlib
import re
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from markdown_text import from_docstring, table

import caffeonspark
from caffeonspark.errors import CaffeOnSparkError
from caffeonspark.ml.tables import PARAMS_OF

HEAD = """# Python

Import everything here from `caffeonspark`. Other modules of the package are internal and may change. The
[errors](errors.md) have a separate page. So do the [flags](flags.md), which are keywords of `Config` and of the
Spark ML classes.
"""
GROUPS = {
    "Train, test, extract": [
        *("Config", "DataSource", "CaffeOnSpark", "NetSource"),
        *("TrainingResult", "ValidationResult", "RankTiming", "RankMachine", "read_metrics"),
    ],
    "Spark ML": [
        *("CaffeClassifier", "CaffeClassificationModel", "CaffeRegressor", "CaffeRegressionModel"),
        *("CaffeAutoencoder", "CaffeAutoencoderModel", "CaffeEstimator", "CaffeModel", "nets"),
    ],
    "Tools": ["run_tool", "export_model"],
    "Data sources of your own": [
        *("FrameSource", "FrameReader", "RangeSource", "RangeReader", "DataFrameSource", "Source", "SourceConfig"),
        *("Records", "BadRecord", "BadRecords", "NumberTop", "ImageTop", "pack_image"),
        *("ENCODED", "RAW_BYTES", "RAW_FLOATS"),
    ],
    "Engines of your own": ["Engine", "Trainer", "Predictor", "Inspection", "SolverInspection"],
    "Strategies of your own": ["Strategy", "Progress", "Communicator"],
    "Observers of your own": ["Observer"],
}
SAID = {
    "Spark ML": "They also have the methods of Spark's own estimators and models: `fit`, `transform`, `save`, `load`, "
    "`copy`, `explainParams` and others."
}


class Entry(NamedTuple):
    """One thing on the page."""

    name: str  # in full, Config.refresh
    said: str  # as it is written: "Config.refresh() -> None"
    doc: str


def public() -> Dict[str, List[str]]:
    """The public names by group; raises AssertionError where one has no place on any page."""
    errors = {name for name in caffeonspark.__all__ if _is_error(getattr(caffeonspark, name))}
    placed = [name for names in GROUPS.values() for name in names]
    assert {*placed, *errors, "__version__"} == set(caffeonspark.__all__), "a public name without a place in GROUPS"
    return GROUPS


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, CaffeOnSparkError)


def entries(name: str) -> Iterator[Entry]:
    """A public name and its public members."""
    thing = getattr(caffeonspark, name)
    if inspect.ismodule(thing):
        yield Entry(name, name, thing.__doc__ or "")
        for one in thing.__all__:
            yield Entry(
                f"{name}.{one}",
                f"{name}.{one}{_signature(getattr(thing, one))}",
                inspect.getdoc(getattr(thing, one)) or "",
            )
    elif inspect.isclass(thing):
        yield Entry(name, f"{name}{_signature(thing)}", inspect.getdoc(thing) or "")
        for member, value in _members(thing):
            yield Entry(f"{name}.{member}", _said(name, member, value), inspect.getdoc(value) or "")
    elif callable(thing):
        yield Entry(name, f"{name}{_signature(thing)}", inspect.getdoc(thing) or "")
    else:
        yield Entry(name, f"{name} = {thing!r}", _comment(name))


def _members(cls: type) -> Iterator[Tuple[str, Any]]:
    """The public functions and properties that the library gives a class, in the order of the code; no setters and
    getters of Params, which are in a table."""
    made = {f"{kind}{name[0].upper()}{name[1:]}" for name in PARAMS_OF.get(cls.__name__, ()) for kind in ("set", "get")}
    seen: Dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.split(".")[0] == "caffeonspark":
            for name, value in vars(base).items():
                plain = inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))
                if plain and not name.startswith("_") and name not in made:
                    seen.setdefault(name, value)
    for name, value in seen.items():
        yield name, value if isinstance(value, property) else getattr(cls, name)


def _said(owner: str, name: str, value: Any) -> str:
    if isinstance(value, property):
        kind = inspect.signature(value.fget).return_annotation
        return f"{owner}.{name}" + ("" if kind is inspect.Signature.empty else f": {_annotation(kind)}")
    return f"{owner}.{name}{_signature(value)}"


def _signature(thing: Any) -> str:
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return ""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [p for p in signature.parameters.values() if p.name != "self" and not p.name.startswith("_")]
    text = str(signature.replace(parameters=parameters))
    return re.sub(r"'([^']*)'", r"\1", text) if "= '" not in text else _without_quotes(text)


def _without_quotes(text: str) -> str:
    """A signature whose annotations are strings, without their quotes; defaults keep theirs."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _wrapped(said: str) -> str:
    """A signature in lines of its parameters, where it is long."""
    if len(said) <= 88 or "(" not in said:
        return said
    head, _, rest = said.partition("(")
    lines, depth = [""], 0
    inside, end = rest[: rest.rindex(")")], rest[rest.rindex(")") :]
    for char in inside:
        depth += (char in "[(") - (char in "])")
        lines[-1] += char
        if char == "," and not depth:
            lines.append("")
    return "\n".join([f"{head}(", *(f"    {line.strip()}" for line in lines), end])


def _annotation(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def _comment(name: str) -> str:
    """What a comment says of a constant where it is assigned."""
    module = importlib.import_module(f"caffeonspark.{caffeonspark._PLACES[name]}")
    lines = pathlib.Path(str(module.__file__)).read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
    above = []
    while lines[number - 1].startswith("#: "):
        number -= 1
        above.insert(0, lines[number][3:])
    return " ".join(above)


def page() -> str:
    """The page's text."""
    lines: List[str] = [HEAD]
    for group, names in public().items():
        lines += [f"## {group}", "", SAID.get(group, ""), ""]
        for name in names:
            for entry in entries(name):
                label = entry.name.rpartition(".")[2]
                deep = "####" if "." in entry.name else "###"
                lines += [f'{deep} {entry.name} {{ data-toc-label="{label}" }}', ""]
                lines += ["```python", _wrapped(entry.said), "```", "", *from_docstring(entry.doc), ""]
                if entry.name in PARAMS_OF:
                    lines += _params(entry.name)
    return "\n".join(lines)


def _params(name: str) -> List[str]:
    """The table of a class's Params."""
    rows = []
    for flag in PARAMS_OF[name].values():
        default = "" if flag.default in (None, "", [], ()) else f"`{flag.default}`"
        rows.append((f"`{flag.name}`", flag.help, default))
    head = f'??? note "Params of {name}"'
    said = "Each is a keyword, and has a setter and a getter."
    return [
        head,
        "",
        f"    {said}",
        "",
        *(f"    {line}".rstrip() for line in table(("Param", "Meaning", "Default"), rows)),
    ]


def main() -> int:
    bare = [entry.name for names in public().values() for name in names for entry in entries(name) if not entry.doc]
    for name in bare:
        print(f"caffeonspark.{name} has no docstring", file=sys.stderr)
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
