"""Which of its kernels OpenBLAS uses here, and which one the processor deserves.

OpenBLAS chooses a kernel when it is loaded, by a list of the processors there were when it was made: on a newer one it
takes its slowest. ``OPENBLAS_CORETYPE`` names another, and is read at that moment only. So OpenBLAS is asked in
processes of its own, and nothing here loads it. Other libraries (MKL, ATLAS) choose well by themselves: where
there is no OpenBLAS, or only one kernel in it, nothing is chosen.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import subprocess
import sys
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence

from ..errors import ConfigError, suggest
from .processor import granted_cores, share, this_processor

__all__ = [
    "AUTO",
    "ENVIRONMENT",
    "VARIABLE",
    "BlasInUse",
    "check_setting",
    "checked",
    "facts",
    "in_use",
    "relative_time",
    "runnable",
    "use",
    "use_for",
]

#: What tells OpenBLAS the kernel. Set to nothing it counts as set.
VARIABLE = "OPENBLAS_CORETYPE"
#: The values of -blasKernel that are no kernel's name.
AUTO, ENVIRONMENT = "auto", "environment"


class _Kernel(NamedTuple):
    """A kernel: the time of an iteration of LeNet by it (SkylakeX: 1), and the instruction sets that it uses."""

    time: float
    needs: FrozenSet[str]


_SSE3 = frozenset({"pni"})
_SSE4 = _SSE3 | {"ssse3", "sse4_1", "sse4_2"}
_AVX = _SSE4 | {"avx"}
_AVX2 = _AVX | {"avx2", "fma"}
_AVX512 = _AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}

# The kernels to choose from, the faster first. The times are measured (docs/processors.md).
_KERNELS: Dict[str, _Kernel] = {
    "SkylakeX": _Kernel(1.0, _AVX512),
    "Haswell": _Kernel(1.25, _AVX2),
    "Zen": _Kernel(1.25, _AVX2),
    "Sandybridge": _Kernel(1.4, _AVX),
    "Nehalem": _Kernel(2.0, _SSE4),
    "Prescott": _Kernel(2.1, _SSE3),
}
# Others that OpenBLAS takes by itself where they belong, by one that is about as fast.
_LIKE: Dict[str, str] = {
    "Cooperlake": "SkylakeX",
    "SapphireRapids": "SkylakeX",
    "Excavator": "Haswell",
    "Steamroller": "Sandybridge",
    "Piledriver": "Sandybridge",
    "Bulldozer": "Sandybridge",
    "Barcelona": "Nehalem",
}


def relative_time(kernel: str) -> float:
    """How long an iteration takes with a kernel, on a processor that can run all of them; SkylakeX: 1."""
    return _KERNELS.get(_LIKE.get(kernel, kernel), _KERNELS["Prescott"]).time


def check_setting(setting: str) -> str:
    """The value of -blasKernel, spelt as OpenBLAS does. Raises ConfigError."""
    names = [AUTO, ENVIRONMENT, *_KERNELS]
    for name in names:
        if setting.lower() == name.lower():
            return name
    raise ConfigError(f"-blasKernel: '{setting}' is no kernel that can be chosen. {suggest(setting, names)}")


# ---- asked without loading it here

_SONAME = "libopenblas.so.0"
# Each answer comes from a process of its own, in which OpenBLAS is loaded with one value of the variable.
_ASK = """
import ctypes, json, os, sys
soname, variable, *names = sys.argv[1:]
found = {}
for name in names:
    out, into = os.pipe()
    if not os.fork():
        os.environ.pop(variable, None)
        if name:
            os.environ[variable] = name
        library = ctypes.CDLL(soname)
        answer = []
        for function in (library.openblas_get_corename, library.openblas_get_config):
            function.restype = ctypes.c_char_p
            answer.append(function().decode())
        os.write(into, json.dumps(answer).encode())
        os._exit(0)
    os.close(into)
    found[name] = json.loads(os.read(out, 65536) or b"null")
    os.close(out)
print(json.dumps(found))
"""


@functools.lru_cache(maxsize=None)
def _answers() -> Dict[str, Any]:
    """By kernel that this processor can run ("": the one that OpenBLAS takes): [the kernel it is then, its
    configuration]; empty where there is no OpenBLAS."""
    flags = this_processor().flags
    names = [name for name, kernel in _KERNELS.items() if kernel.needs <= flags]
    if not names:
        return {}
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", _ASK, _SONAME, VARIABLE, "", *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            env=env,
            check=True,
        )
        return {name: answer for name, answer in json.loads(done.stdout).items() if answer}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def facts() -> Dict[str, Any]:
    """What a rank tells the driver of its processor and its OpenBLAS, JSON-able; no engine is loaded for it.

    ``processor`` : its name; ``cores`` : what this process may use; ``share`` : with which others;
    ``openblas`` : version, "" without one; ``own`` : the kernel it takes by itself; ``kernels`` : those that can be
    chosen, the best first; ``inherited`` : the variable's value in the environment, or None; ``loaded`` : the
    kernel of an OpenBLAS that is loaded already, or ""
    """
    answers = _answers()
    own, configuration = answers.get("", ["", ""])
    kernels = [name for name, answer in answers.items() if name and answer[0] == name]
    if "DYNAMIC_ARCH" not in configuration.split():
        kernels = []
    elif own and own not in kernels:
        kernels.append(own)
    kernels.sort(key=lambda name: (relative_time(name), name != own))
    version = re.search(r"OpenBLAS (\S+)", configuration)
    blas = in_use()
    return {
        "processor": this_processor().name,
        "cores": granted_cores(),
        "share": share(),
        "openblas": version.group(1) if version else "",
        "own": own,
        "kernels": kernels,
        "inherited": _INHERITED,
        "loaded": blas.kernel if blas else "",
    }


def checked(told: Mapping[str, Any]) -> Dict[str, Any]:
    """``facts`` as they came from a rank. Raises KeyError, TypeError or ValueError where they are none."""
    inherited = told["inherited"]
    return {
        "processor": str(told["processor"]),
        "cores": float(told["cores"]),
        "share": str(told["share"]),
        "openblas": str(told["openblas"]),
        "own": str(told["own"]),
        "kernels": [str(name) for name in told["kernels"]],
        "inherited": None if inherited is None else str(inherited),
        "loaded": str(told["loaded"]),
    }


# ---- in this process

_INHERITED: Optional[str] = os.environ.get(VARIABLE)


def use(kernel: str) -> None:
    """Have OpenBLAS take a kernel when it is loaded; "" leaves that to it and the environment."""
    if kernel:
        os.environ[VARIABLE] = kernel


def use_for(setting: str) -> None:
    """Before an engine is loaded for work that no other process shares: the kernel of -blasKernel, for "auto" this
    processor's best. Raises ConfigError where this processor cannot run it."""
    if setting != ENVIRONMENT:
        here = facts()
        use(runnable(setting, here, "this machine") if setting != AUTO else next(iter(here["kernels"]), ""))


def runnable(kernel: str, here: Mapping[str, Any], where: str) -> str:
    """``kernel``, which can be chosen where these ``facts`` are true. Raises ConfigError."""
    kernels: Sequence[str] = here["kernels"]
    if kernel in kernels:
        return kernel
    if not kernels:
        raise ConfigError(
            f"-blasKernel {kernel}: {where} has no OpenBLAS whose kernel can be chosen; leave -blasKernel out"
        )
    raise ConfigError(
        f"-blasKernel {kernel}: {where} cannot run it: its processor ({here['processor']}) and OpenBLAS "
        f"{here['openblas']} have {', '.join(kernels)}"
    )


class BlasInUse(NamedTuple):
    """The OpenBLAS that is loaded: its kernel, and its threads."""

    kernel: str
    threads: int


def in_use(maps: str = "/proc/self/maps") -> Optional[BlasInUse]:
    """The engine's OpenBLAS, if it has one and is loaded. NumPy's and SciPy's own from PyPI do not count."""
    found: List[str] = []
    with open(maps) as f:
        for line in f:
            path = line.split(maxsplit=5)[-1].strip()
            if re.search(r"/libopenblas[^/]*\.so[^/]*$", path) and not re.search(r"\.libs/[^/]*$", path):
                found.append(path)
    for path in dict.fromkeys(found):
        try:
            library = ctypes.CDLL(path)
            corename, threads = library.openblas_get_corename, library.openblas_get_num_threads
        except (OSError, AttributeError):
            continue
        corename.restype = ctypes.c_char_p
        return BlasInUse(corename().decode(), int(threads()))
    return None
