"""Flags: how their texts become values, and the tables that command line, dicts, keywords and the help all read."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from .errors import ConfigError, suggest

__all__ = ["Flag", "FlagTable", "flag", "table_of"]


_YES, _NO = ("", "true", "1", "yes"), ("false", "0", "no", "none")


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
    above: Optional[float] = None
    below: Optional[float] = None
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
            if text.lower() in _YES:
                return True
            if text.lower() in _NO:
                return False
            raise ConfigError(f"-{self.name} is a switch: it is true or false, not '{text}'")
        if self.kind == "names":
            parts = [str(v) for v in value] if isinstance(value, (list, tuple)) else text.split(",")
            return [part.strip() for part in parts if part.strip()]
        if self.kind in ("int", "float"):
            return self._number(text)
        if self.kind == "choice" and self.alone is not None and text.lower() in _YES + _NO:
            return self.alone if text.lower() in _YES else self.default
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
        if self.above is not None and not number > self.above:
            raise ConfigError(f"-{self.name} must be above {self.above:g}, not {text}")
        if self.below is not None and not number < self.below:
            raise ConfigError(f"-{self.name} must be below {self.below:g}, not {text}")
        return number


class FlagTable(Mapping[str, Flag]):
    """Flags by name: a command line, a dict and the help all come from one table.

    Parameters
    ----------
    *sections : (title, flags), in the order of the help
    aliases : other names of flags
    """

    def __init__(self, *sections: Tuple[str, Sequence[Flag]], aliases: Optional[Mapping[str, str]] = None) -> None:
        #: (title, flags), in the order of the help.
        self.sections = sections
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
        flags = [(self._flag(str(name)), value) for name, value in given.items()]
        return {flag.name: flag.convert(value) for flag, value in flags}

    def parse_args(self, argv: Sequence[str]) -> Dict[str, Any]:
        """Values by flag name from a command line. Raises ConfigError."""
        values: Dict[str, Any] = {}
        rest = [str(word) for word in argv]
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                raise ConfigError(f"'{word}' follows no flag that takes a value. See -help.")
            name, equals, text = word.partition("=")
            flag = self._flag(name)
            if equals:
                values[flag.name] = flag.convert(text)
            elif flag.kind == "switch":
                values[flag.name] = flag.convert(rest.pop(0)) if rest and rest[0] in ("true", "false") else True
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
        for title, flags in self.sections:
            lines.append(f"{title}:")
            for flag in flags:
                head = f"  -{flag.name} {flag.argument}".rstrip()
                default = "" if flag.default in (None, "", [], False) else f" (default {flag.default})"
                gap = " " * max(2, 26 - len(head))
                lines.append(f"{head}{gap}{flag.help}{default}")
            lines.append("")
        return "\n".join(lines).rstrip()


def flag(kind: str, default: Any, help: str, argument: str = "", *, section: str = "", **more: Any) -> Any:
    """A field of a dataclass that is a flag.

    Parameters
    ----------
    kind, default, help, argument, **more : see Flag
    section : the title in the help under which this flag and those after it stand; "" for the one before
    """
    about = {"section": section, "flag": lambda name: Flag(name, kind, default, help, argument, **more)}
    return field(default=tuple(default) if kind == "names" else default, metadata=about)


def table_of(cls: Type[Any], aliases: Optional[Mapping[str, str]] = None) -> FlagTable:
    """The table of a dataclass whose fields are flags."""
    sections: List[Tuple[str, List[Flag]]] = []
    for one in fields(cls):
        if one.metadata["section"]:
            sections.append((one.metadata["section"], []))
        sections[-1][1].append(one.metadata["flag"](one.name))
    return FlagTable(*sections, aliases=aliases)
