"""What was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from typing import Dict


def describe() -> Dict[str, str]:
    """The machine, and the software that was measured: by name."""
    import google.protobuf
    import numpy
    import pyspark

    from caffeonspark import __version__
    from caffeonspark.engines import blas

    here = blas.facts()
    inherited = "not set" if here["inherited"] is None else here["inherited"] or "set to nothing"
    # in a process of its own: benchmarks that follow fork, and nobody does after Caffe is loaded
    caffe = [sys.executable, "-c", "import caffe; print(caffe.__version__)"]
    versions = {
        "caffeonspark": __version__,
        "Python": platform.python_version(),
        "Caffe": subprocess.run(caffe, capture_output=True, text=True, check=True).stdout.strip(),
        "NumPy": numpy.__version__,
    }
    versions.update(PySpark=pyspark.__version__, protobuf=google.protobuf.__version__, Linux=platform.release())
    return {
        "Processor": f"{here['processor']}, {here['cores']:g} cores",
        "Memory": f"{memory_bytes() / 2**30:.1f} GiB",
        "OpenBLAS": f"{here['openblas']}: takes {here['own']} by itself, -blasKernel auto "
        f"{next(iter(here['kernels']), 'nothing else')}; {blas.VARIABLE} {inherited}",
        "BLAS threads": os.environ.get("OPENBLAS_NUM_THREADS", "as OpenBLAS chooses") + " in each process, but where a "
        "table says otherwise",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Date": datetime.date.today().isoformat(),
    }


def memory_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
