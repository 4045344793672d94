"""Parts of the library in a process of their own, into which nothing else brings Caffe."""

import os
import pathlib
import subprocess
import sys
import textwrap

LIBRARY = pathlib.Path(__file__).parent.parent.parent / "caffeonspark"

PREAMBLE = """
import sys, types
sys.modules["caffeonspark"] = package = types.ModuleType("caffeonspark")
package.__path__ = [{library!r}]
"""

#: To Python, Caffe is not there after this.
WITHOUT_CAFFE = 'import sys\nsys.modules["caffe"] = None\n'


def run(code, library=LIBRARY, path=(), before=""):
    """What Python code prints; the folders in ``path`` come first on Python's."""
    paths = [*map(str, path), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", before + PREAMBLE.format(library=str(library)) + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
