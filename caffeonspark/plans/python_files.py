"""Files that the ``param_str`` of a Python layer names, as far as that can be known.

It is text of a form that only the layer knows, so nothing in it is rewritten. A file that it names without a
folder is sent to the working directory of every executor, where the layer finds it by that name. For other files there
is a line that says where they have to be.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Tuple

from ..data.sources.fields import say_once
from ..errors import ConfigError
from ..nets.prototxt import Files
from ..storage import is_local, local_path

__all__ = ["send_named_files"]

#: What can be a path in a param_str.
_WORD = re.compile(r"[^\s'\",;:=\[\](){}]{3,}")

#: By application and name, the file that was sent under it, with its size and time of modification (ns).
_sent: Dict[Tuple[str, str], Tuple[str, int, int]] = {}


def send_named_files(layer: Any, net: str, where: str, files: Files, session: Any) -> None:
    """Send the files that a Python layer names to the executors, or say where they have to be.

    Parameters
    ----------
    layer : LayerParameter
    net : the path of the net
    where : file and layer, for errors
    files : Files
    session : SparkSession or None

    Raises
    ------
    ConfigError
        For a file that is not what it was when it was sent.
    """
    if session is None or session.sparkContext.master.partition("[")[0] == "local":  # one working directory
        return
    for name in _files_in(str(layer.python_param.param_str)):
        found = files.find(name, beside=net)
        if found is None:
            continue
        path = os.path.abspath(local_path(found)) if is_local(found) else found
        if os.path.basename(name) == name and os.path.isfile(path):
            _send(session.sparkContext, path, f"{where}: python_param.param_str")
        else:
            say_once(
                f"{where}: python_param.param_str names {path}: if the layer opens it, it has to be there on every "
                "node; files that are named without a folder are sent to the executors"
            )


def _files_in(text: str) -> List[str]:
    """The words of a param_str that can be paths."""
    whole = [] if re.search(r"[:{}\[\]\n]", text) else [text]
    words = dict.fromkeys([*whole, *_WORD.findall(text)])
    return [word for word in words if ("/" in word or "." in word) and re.search("[A-Za-z]", word)]


def _send(context: Any, path: str, where: str) -> None:
    """Have Spark put a file into the executors' working directories, once."""
    name, state = os.path.basename(path), os.stat(path)
    key, now = (str(context.applicationId), name), (path, state.st_size, state.st_mtime_ns)
    before = _sent.get(key)
    if before is not None and before != now:
        raise ConfigError(
            f"{where} names {path}, and this application has sent {before[0]} to the executors as {name} before, with "
            "another content: start a new application, or rename one"
        )
    if before is None:
        context.addFile(path)
        _sent[key] = now
        say_once(f"{where} names {path}: it is sent to the working directory of every executor")
