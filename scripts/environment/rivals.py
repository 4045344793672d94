#!/usr/bin/env python3
"""Make the environment that the benchmarks' rivals run in, and print its folder.

It holds Debian 11's PyTorch with its own Python 3.9, and MPICH and mpi4py from PyPI, beside build.py's and made the
same way: nothing of the library, its tests or its environment needs it. ``bin/python`` and ``bin/mpiexec`` are in it.
"""

import glob
import os
import sys

from build import (
    HERE,
    CannotBuild,
    Progress,
    check_host,
    definition_key,
    install_debian,
    provide,
    run,
    say,
    write_program,
)

PACKAGES = ["python3-torch", "libopenblas0-pthread", "python3-distutils", "python-pip-whl"]
LEAVE_OUT = ["libc6", "coreutils", "dpkg", "tar", "perl-base", "debconf", "ucf", "sensible-utils", "tzdata"]
GLIBC, SUITE = "2.31", "bullseye"
PIP = "pip==24.3.1"  # Debian 11's own does not know newer wheels' tags


def build_rivals(prefix: str, scratch: str) -> None:
    check_host(GLIBC)
    install_debian(PACKAGES, LEAVE_OUT, SUITE, prefix, scratch)
    write_programs(prefix)
    python = os.path.join(prefix, "bin", "python")
    env = dict(os.environ, PIP_ROOT_USER_ACTION="ignore", PYTHONNOUSERSITE="1")
    pip = [python, "-m", "pip", "install", "--ignore-installed", "--no-deps", "--disable-pip-version-check", "-q"]
    with Progress("Python packages, installing", os.path.join(prefix, "usr/local")):
        wheels = glob.glob(os.path.join(prefix, "usr/share/python-wheels/*.whl"))
        run([*pip, PIP], "Installing pip", dict(env, PYTHONPATH=":".join(wheels)))
        requirements = os.path.join(HERE, "rivals.txt")
        run([*pip, "--only-binary", ":all:", "-r", requirements], "Installing from PyPI", env)
    write_programs(prefix)
    check = "import torch.distributed as d; assert d.is_available(); from mpi4py import MPI; MPI.COMM_WORLD.Barrier()"
    run([os.path.join(prefix, "bin/mpiexec"), "-n", "2", python, "-c", check], "Starting two ranks of MPICH")


def write_programs(prefix: str) -> None:
    """bin/python and bin/mpiexec, which find their libraries wherever the folder lies."""
    binaries = os.path.join(prefix, "bin")
    os.makedirs(binaries, exist_ok=True)
    triplet = os.path.basename(glob.glob(prefix + "/usr/lib/*-linux-gnu*")[0])
    folders = [
        "usr/local/lib",
        f"usr/lib/{triplet}/openblas-pthread",
        "usr/lib/" + triplet,
        "lib/" + triplet,
        "usr/lib",
    ]
    path = ":".join("$env/" + folder for folder in folders)
    head = '#!/usr/bin/env bash\nenv="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)"\n'
    python = f'export LD_LIBRARY_PATH="{path}" PYTHONNOUSERSITE=1\nexec "$env/usr/bin/python3.9" "$@"\n'
    write_program(os.path.join(binaries, "python"), head + python)
    write_program(os.path.join(binaries, "mpiexec"), head + 'exec "$env/usr/local/bin/mpiexec" "$@"\n')


def main() -> int:
    try:
        print(provide("rivals-" + definition_key("rivals.py", "rivals.txt"), build_rivals))
    except CannotBuild as e:
        say(f"caffeonspark: cannot make the rivals' environment: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
