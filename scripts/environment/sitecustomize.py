"""Runs at every start of the environment's Python.

bin/python has to set LD_LIBRARY_PATH so that the dynamic loader finds Caffe's libraries, but a JVM, a
shell or any other program of the host that this process starts must not inherit it. The loader reads the
variable once, before Python runs, so taking it back here changes nothing for this process. Children
that are Python again go through sys.executable, which therefore has to be bin/python.
"""

import os
import sys

_wrapper = os.environ.pop("CAFFEONSPARK_PYTHON", None)
if _wrapper is not None:
    sys.executable = _wrapper
    _before = os.environ.pop("CAFFEONSPARK_LD_LIBRARY_PATH", "")
    if _before:
        os.environ["LD_LIBRARY_PATH"] = _before
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)
