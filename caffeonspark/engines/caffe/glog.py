"""Caffe's log, which glog writes to standard error: its errors, and all of it where that is asked for.

glog takes its level from the environment when it is loaded, which a program that imports ``caffe`` before us has done;
from then on the level is a variable in glog's memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Iterator

__all__ = ["loading_quietly", "set_level", "show"]

_SETTING = "GLOG_minloglevel"
_VARIABLE = "_ZN3fLI17FLAGS_minloglevelE"  # int32 fLI::FLAGS_minloglevel
_ERRORS = "2"


@contextlib.contextmanager
def loading_quietly() -> Iterator[None]:
    """Load Caffe in this block: it will log errors only, unless the environment says otherwise."""
    given = os.environ.get(_SETTING)
    os.environ.setdefault(_SETTING, _ERRORS)
    try:
        yield
    finally:
        if given is None:  # programs that are started from here, such as caffe itself, may well log
            del os.environ[_SETTING]


def set_level(library: str, level: int) -> None:
    """Log from this level on: 0 is all, 2 errors. Failed CHECKs are logged always.

    Parameters
    ----------
    library : the path of a loaded library that uses glog
    level : int
    """
    with contextlib.suppress(OSError, ValueError):  # a glog that is built another way keeps the level it has
        ctypes.c_int32.in_dll(ctypes.CDLL(library), _VARIABLE).value = level


def show(library: str, everything: bool) -> None:
    """Log everything, or what the environment says: errors only, unless it says more."""
    try:
        level = int(os.environ.get(_SETTING, _ERRORS))
    except ValueError:
        level = int(_ERRORS)
    set_level(library, 0 if everything else level)
