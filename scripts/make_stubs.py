"""Write what editors and type checkers know of flags and Params, from the tables they are made of.

That is caffeonspark/api/keywords.pyi, from caffeonspark/settings.py, and caffeonspark/ml/keywords.pyi, from
caffeonspark/ml/tables.py. ``--check`` writes nothing: it fails where a file is not what it would write.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Dict, Iterator, Mapping, Sequence

from caffeonspark.flags import Flag
from caffeonspark.ml.tables import PARAMS_OF
from caffeonspark.settings import FLAGS

PACKAGE = pathlib.Path(__file__).parent.parent / "caffeonspark"

HEAD = """\
# Written by scripts/make_stubs.py from {table} ("make stubs"); not to be edited.
from typing import {names}

"""
ML_HEAD = """\
from pyspark.ml.param import Param
from pyspark.ml.param.shared import HasWeightCol

Self = TypeVar("Self")

class UnknownParam(Exception): ...
"""
_GIVEN = {
    "conf": "Any",  # also a message or a NetSpec
    "net": "Any",
    "columns": "Union[Sequence[str], Mapping[str, str]]",
    "featuresCol": "Union[str, Sequence[str]]",
    "progress": 'Union[bool, Literal["auto", "bar", "log", "none"]]',
}


def type_of(flag: Flag, given: bool) -> str:
    """The type of a flag's value: of what may be given for it, or of the value there is then."""
    if given and flag.name in _GIVEN:
        return _GIVEN[flag.name]
    if flag.kind in ("model", "fields"):
        return {"model": "Any", "fields": "Optional[Mapping[str, Any]]" if given else "Dict[str, Any]"}[flag.kind]
    if flag.alone is not None:
        return "Union[str, int]"  # True: the flag without a value
    if flag.kind == "choice":
        return f"Literal[{', '.join(map(repr, flag.choices))}]".replace("'", '"')
    names = "Sequence[str]" if given else "List[str]"
    kind = {"switch": "bool", "int": "int", "float": "float", "text": "str", "names": names}[flag.kind]
    return f"Optional[{kind}]" if flag.default is None else kind


def keywords(before: Sequence[str], flags: Mapping[str, Flag]) -> Iterator[str]:
    """The lines of a function's parameters."""
    for line in [*before, "*"]:
        yield f"        {line},"
    for name, flag in flags.items():
        default = repr(() if flag.kind == "names" else flag.default)
        yield f"        {name}: {type_of(flag, True)} = {default},".replace("'", '"')


def config_stub() -> str:
    """Of api/keywords.py."""
    flags = {name: FLAGS[FLAGS.aliases.get(name, name)] for name in [*FLAGS, *FLAGS.aliases]}
    lines = ["class ConfigFlags:", "    def __init__("]
    places = ["self", "spark: Any = None", "args: Union[Mapping[str, Any], Sequence[str], None] = None"]
    lines += keywords(places, flags)
    lines += ["    ) -> None: ..."]
    for name, flag in flags.items():
        lines += [f"    {name}: {type_of(flag, False)}", f'    """{flag.help}"""']
    names = "Any, List, Literal, Mapping, Optional, Sequence, Union"
    return HEAD.format(table="settings.py", names=names) + "\n".join([*lines, ""])


def params_stub() -> str:
    """Of ml/keywords.py."""
    names = "Any, Dict, List, Literal, Mapping, Optional, Sequence, TypeVar, Union"
    lines = [HEAD.format(table="ml/tables.py", names=names).rstrip(), "", ML_HEAD]
    for like, table in PARAMS_OF.items():
        lines += [f"class {like.replace('Caffe', '')}Params(HasWeightCol):"]
        lines += ["    _table: Mapping[str, Any]", "    def given(self) -> Dict[str, Any]: ..."]
        lines += [f"    {name}: Param[Any]" for name in table]
        for head, end in (("    def __init__(", "None"), ("    def setParams(", "Self")):
            self_ = "self" if end == "None" else "self: Self"
            lines += [head, *keywords([self_], table), f"    ) -> {end}: ..."]
        for name, flag in table.items():
            upper, text = name[0].upper() + name[1:], f'        """{flag.help}"""'
            lines += [f"    def set{upper}(self: Self, value: {type_of(flag, True)}) -> Self:", text]
            lines += [f"    def get{upper}(self) -> {type_of(flag, False)}:", text]
        lines += [""]
    return "\n".join(lines)


def main() -> int:
    stubs: Dict[pathlib.Path, str] = {
        PACKAGE / "api" / "keywords.pyi": config_stub(),
        PACKAGE / "ml" / "keywords.pyi": params_stub(),
    }
    for place, text in stubs.items():
        if sys.argv[1:] == ["--check"]:
            if not place.exists() or place.read_text() != text:
                print(f"{place} does not have what the tables have: make stubs", file=sys.stderr)
                return 1
        else:
            place.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
