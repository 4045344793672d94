"""Classes that a user names: one of ours, one that an installed package brings, or any other by ``module:Class``."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from importlib import metadata
from typing import Any, Dict, Mapping, Type, TypeVar

from .errors import CaffeOnSparkError, ConfigError, suggest

__all__ = ["class_named", "installed"]

T = TypeVar("T")


def class_named(name: str, base: Type[T], flag: str, built_in: Mapping[str, str], group: str) -> Type[T]:
    """The class that ``name`` stands for.

    Parameters
    ----------
    name : what the user gave: a name of ``built_in``, of an entry point, or ``module:Class``
    base : what the class has to be a subclass of
    flag : where the user gave it, for errors: ``-engine``
    built_in : ``module:Class`` by name
    group : of the entry points by which installed packages add names

    Raises
    ------
    ConfigError
        If the name is unknown, or what it names cannot be imported or is something else.
    """
    if ":" in name:
        return _load(name, base, f"{flag} {name}")
    if name in built_in:
        return _load(built_in[name], base, f"{flag} {name}")
    brought = installed(group)
    if name in brought:
        return _load(brought[name], base, f"{flag} {name}")
    hint = suggest(name, [*built_in, *brought])
    if hint.startswith("Did"):
        hint += f" There are: {', '.join(sorted({*built_in, *brought}))}."
    raise ConfigError(f"{flag}: '{name}' is unknown. {hint} One of your own is given as MODULE:CLASS.")


def installed(group: str) -> Dict[str, str]:
    """What installed packages add to a group of entry points: ``module:Class`` by name."""
    found: Any = metadata.entry_points()
    entries = found.select(group=group) if hasattr(found, "select") else found.get(group, ())  # since Python 3.10
    return {entry.name: entry.value for entry in entries}


def _load(place: str, base: Type[T], where: str) -> Type[T]:
    module_name, _, class_name = place.partition(":")
    if not module_name or module_name.startswith("."):
        raise ConfigError(f"{where}: give it as MODULE:CLASS, with the module's whole name")
    try:
        module = importlib.import_module(module_name)
    except CaffeOnSparkError:
        raise
    except ImportError as e:
        missing = e.name or ""
        if missing and (module_name + ".").startswith(missing + "."):
            raise ConfigError(
                f"{where}: there is no module '{missing}': install it on every machine, or send it with --py-files"
            ) from None
        raise ConfigError(f"{where}: {module_name} cannot be imported: {e}: install what it needs") from None
    except Exception as e:  # of the module's own
        raise ConfigError(f"{where}: {module_name} cannot be imported: {_in_its_words(e)}") from e
    cls = getattr(module, class_name, None)
    if isinstance(cls, type) and issubclass(cls, base):
        if inspect.isabstract(cls):
            left_out = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise ConfigError(f"{where}: '{class_name}' does not define all that {base.__name__} asks for: {left_out}")
        return cls
    good = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, base)]
    hint = suggest(class_name, [key for key in good if not inspect.isabstract(vars(module)[key])])
    if cls is not None:
        raise ConfigError(f"{where}: '{class_name}' is no subclass of {base.__module__}.{base.__name__}. {hint}")
    raise ConfigError(f"{where}: {_file_of(module_name)} has no class '{class_name}'. {hint}")


def _in_its_words(error: Exception) -> str:
    """An exception with its place, which is in a SyntaxError's words anyway."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return f"{type(error).__name__}: {error}{place}"


def _file_of(module: str) -> str:
    return str(getattr(sys.modules[module], "__file__", None) or module)
