"""Layers of type Python, whose classes have to be importable wherever a net is built."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import ConfigError

__all__ = ["check_modules"]


def check_modules(net: Any, where: str = "") -> None:
    """Import what the Python layers of a NetParameter name.

    Raises
    ------
    ConfigError
        Where that cannot be: ``where``, the layer, its module, and why.
    """
    for layer in net.layer:
        if layer.type != "Python":
            continue
        name, module = str(layer.python_param.layer), str(layer.python_param.module)
        here = f"{where}{': ' if where else ''}layer '{layer.name}' (Python): "
        try:
            found = importlib.import_module(module)
        except Exception as e:  # of the module's own, too
            missing = isinstance(e, ModuleNotFoundError) and e.name == module.partition(".")[0]
            why = "there is no such module on this machine" if missing else f"{type(e).__name__}: {e}"
            raise ConfigError(
                f"{here}its module '{module}' cannot be imported ({why}): send it to every node with --py-files "
                f"{module.partition('.')[0]}.py, or install it in the environment"
            ) from None
        if not hasattr(found, name):
            raise ConfigError(f"{here}module '{module}' ({getattr(found, '__file__', None)}) has no class '{name}'")
