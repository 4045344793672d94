"""Write caffeonspark/api/keywords.pyi, which tells editors and type checkers every flag, from caffeonspark/settings.py.

``--check`` writes nothing: it fails where the file is not what it would write.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Iterator, Sequence

from caffeonspark.flags import Flag
from caffeonspark.settings import FLAGS, NOT_PARAMS

PLACE = pathlib.Path(__file__).parent.parent / "caffeonspark" / "api" / "keywords.pyi"

HEAD = """\
# Written by scripts/make_stubs.py from the flags of settings.py ("make stubs"); not to be edited.
from typing import Any, List, Literal, Mapping, Optional, Sequence, TypeVar, Union

from pyspark.ml.param import Param

Self = TypeVar("Self")

"""


def type_of(flag: Flag, given: bool) -> str:
    """The type of a flag's value: of what may be given for it, or of the value there is then."""
    if given and flag.name == "conf":
        return "Any"  # also a message or a NetSpec
    if given and flag.name == "columns":
        return "Union[Sequence[str], Mapping[str, str]]"
    if flag.alone is not None:
        return "Union[str, int]"  # True: the flag without a value
    if flag.kind == "choice":
        return f"Literal[{', '.join(map(repr, flag.choices))}]".replace("'", '"')
    names = "Sequence[str]" if given else "List[str]"
    kind = {"switch": "bool", "int": "int", "float": "float", "text": "str", "names": names}[flag.kind]
    return f"Optional[{kind}]" if flag.default is None else kind


def keywords(before: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """The lines of a function's parameters."""
    for line in [*before, "*"]:
        yield f"        {line},"
    for name in names:
        flag = FLAGS[FLAGS.aliases.get(name, name)]
        default = () if flag.kind == "names" else flag.default
        yield f"        {name}: {type_of(flag, True)} = {default!r},".replace("'", '"')


def stub() -> str:
    """The whole file."""
    params = [name for name in FLAGS if name not in NOT_PARAMS]
    lines = ["class ConfigFlags:", "    def __init__("]
    places = ["self", "spark: Any = None", "args: Union[Mapping[str, Any], Sequence[str], None] = None"]
    lines += keywords(places, [*FLAGS, *FLAGS.aliases])
    lines += ["    ) -> None: ..."]
    for name in [*FLAGS, *FLAGS.aliases]:
        flag = FLAGS[FLAGS.aliases.get(name, name)]
        lines += [f"    {name}: {type_of(flag, False)}", f'    """{flag.help}"""']
    lines += ["", "class FlagParams:"]
    lines += [f"    {name}: Param[Any]" for name in params]
    lines += ["", "class EstimatorFlags:", "    def __init__("]
    lines += keywords(["self"], params)
    lines += ["    ) -> None: ...", "    def setParams("]
    lines += keywords(["self: Self"], params)
    lines += ["    ) -> Self: ...", ""]
    return HEAD + "\n".join(lines)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if PLACE.read_text() != stub():
            print(f"{PLACE} does not have the flags of settings.py: make stubs", file=sys.stderr)
            return 1
    else:
        PLACE.write_text(stub())
    return 0


if __name__ == "__main__":
    sys.exit(main())
