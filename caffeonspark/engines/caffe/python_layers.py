"""Layers of type Python, whose classes have to be importable wherever a net is built."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any, Dict, List

from ...errors import CaffeOnSparkError, ConfigError, DataError

__all__ = ["check_modules", "explained"]

_METHODS = dict.fromkeys(("setup", "reshape", "forward"), "self, bottom, top")


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
        if not (name and module):
            raise ConfigError(f"{here}python_param has to name its module and its layer, which is the class in there")
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
        base = sys.modules["caffe"].Layer
        for method, arguments in _METHODS.items():
            # the base class's own call what is not there, and themselves, until the stack is full
            if getattr(getattr(found, name), method, None) is getattr(base, method, None):
                raise ConfigError(f"{here}class '{name}' ({found.__file__}) has no method {method}({arguments})")


def explained(error: BaseException, net: Any) -> BaseException:
    """What was raised while a net ran: where it comes of a Python layer's own code, a DataError that names the layer.

    Parameters
    ----------
    error : an exception, or the SystemExit of a layer that takes itself for a program
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
            words = f"{type(error).__name__}: {error}".rstrip(": ")
            return DataError(f"layer {names} (Python): {words} ({place})")
    return error
