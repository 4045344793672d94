"""Layers of type Python, whose classes have to be importable wherever a net is built."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any, Dict, List

from ...errors import CaffeOnSparkError, ConfigError, DataError

__all__ = ["check_modules", "explained"]


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
            file, missing = module.partition(".")[0], isinstance(e, ModuleNotFoundError) and e.name
            if missing and f"{module}.".startswith(f"{missing}."):
                raise ConfigError(
                    f"{here}there is no module '{missing}' on this machine: send it to every node with --py-files "
                    f"{file}.py, or install it in the environment"
                ) from None
            raise ConfigError(f"{here}its module '{module}' cannot be imported: {type(e).__name__}: {e}") from None
        if not hasattr(found, name):
            raise ConfigError(f"{here}module '{module}' ({getattr(found, '__file__', None)}) has no class '{name}'")


def explained(error: Exception, net: Any) -> Exception:
    """What was raised while a net ran: where it comes of a Python layer's own code, a DataError that names the layer.

    Parameters
    ----------
    error : Exception
    net : NetParameter
    """
    if isinstance(error, CaffeOnSparkError):
        return error
    layers: Dict[str, List[str]] = {}
    for layer in net.layer:
        if layer.type == "Python":
            file = getattr(sys.modules.get(layer.python_param.module), "__file__", None)
            layers.setdefault(str(file), []).append(f"'{layer.name}'")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in layers:
            names = " or ".join(layers[frame.filename])
            place = f"{frame.filename}, line {frame.lineno}"
            return DataError(f"layer {names} (Python): {type(error).__name__}: {error} ({place})")
    return error
