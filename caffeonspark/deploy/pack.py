"""``caffeonspark pack OUT.tar.gz``: this Python environment as an archive for ``--archives OUT.tar.gz#env``.

The nodes of a cluster unpack it and start ``env/bin/python``, so it has to run from any folder. The environment
that scripts/with-env makes does; a conda environment is made to by conda-pack. What a job does not run is left out.
The same environment gives the same bytes, and an archive is there whole and tried out, or not at all.
"""

from __future__ import annotations

import argparse
import fnmatch
import glob
import gzip
import importlib
import io
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, NoReturn, Optional, Sequence, Set, Tuple

from ..errors import CaffeOnSparkError, ConfigError, StorageError
from ..spark.library_zip import library_digest, library_files
from ..storage import whole_file

__all__ = ["MANIFEST", "main", "pack"]

_log = logging.getLogger(__name__)

#: The archive's first member: which library it holds.
MANIFEST = "caffeonspark-environment.json"

_SITE = "usr/local/lib/python3.9/dist-packages"
_TIME = 315_532_800  # of every file: 1 January 1980, the first that zip files know

# Distributions that no job imports: those of tests, checks and installation, and what the demo takes its digits from.
_UNUSED_PACKAGES = (
    *("attrs", "exceptiongroup", "hypothesis", "iniconfig", "mypy", "mypy_extensions", "pip", "pluggy", "pygments"),
    *("pytest", "pytest-timeout", "ruff", "setuptools", "sortedcontainers", "tomli", "wheel"),
    *("joblib", "scikit-learn", "threadpoolctl"),
)

# What else is left out, by group; patterns of paths from the environment's root.
_LEFT_OUT: Dict[str, Tuple[str, ...]] = {
    "Spark's jars, which the submitting side sends": (
        *(f"{_SITE}/pyspark/{part}/*" for part in ("jars", "bin", "sbin", "python", "examples", "data", "licenses")),
        "bin/spark-*",
        "bin/pyspark",
    ),
    "tests of packages": (
        *(f"{site}/*/{name}/*" for site in (_SITE, "usr/lib/python3/dist-packages") for name in ("tests", "test")),
        "usr/lib/python3.9/test/*",
        "usr/lib/python3/dist-packages/skimage/data/*.*g",  # png, jpg, jpeg
        "usr/lib/python3/dist-packages/skimage/data/*.tif*",
        "bin/mypy",
        "bin/pip",
        "bin/pytest",
        "bin/ruff",
        "usr/local/bin/*",
    ),
    "headers and static libraries": (
        *("*.a", "*.la", "*.h", "*.hpp", "*.pxd", "*.pyx", "*.pyi", "*.c", "*.cc", "*.cpp", "*/pkgconfig/*", "*.cmake"),
        f"{_SITE}/pyarrow/include/*",
    ),
    "Arrow Flight": (f"{_SITE}/pyarrow/*flight*",),
    "Debian's programs, settings and documentation": (
        *(
            "usr/bin/*",
            "usr/sbin/*",
            "usr/share/*",
            "usr/lib/valgrind/*",
            "sbin/*",
            "usr/local/share/*",
            "usr/local/man/*",
        ),
        *("etc/*", "usr/lib/ssl/*", "bin/caffe", "bin/compute_image_mean", "bin/convert_*"),
    ),
    "compiled files, made again": ("*.pyc",),
}
_KEPT_ANYWAY = ("usr/bin/python3.9",)

_CHECK = """
import importlib, os, pkgutil, sys
import caffe, lmdb, pandas, pyarrow.parquet, pyspark.sql, scipy.sparse, skimage.io
import caffeonspark
assert os.path.realpath(caffeonspark.__file__).startswith(os.path.realpath(sys.argv[1])), caffeonspark.__file__
for module in pkgutil.walk_packages(caffeonspark.__path__, "caffeonspark."):
    importlib.import_module(module.name)
caffe.layer_type_list()
"""

# Modules that cannot be compiled are templates, or for other versions of Python.
_COMPILE = """
import json, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for path, target, name in json.loads(sys.stdin.readline()):
    try:
        py_compile.compile(path, target, dfile=name, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, SyntaxError):
        pass
    print(flush=True)
"""


@dataclass
class _Contents:
    """What goes into an archive, and what does not.

    Attributes
    ----------
    files : paths on this machine by name in the archive
    left_out : bytes of what is left out, by why
    """

    files: Dict[str, str] = field(default_factory=dict)
    left_out: Dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(os.lstat(path).st_size for path in self.files.values())


def main(argv: Sequence[str]) -> int:
    """The command; its exit status."""
    parser = _Parser(
        prog="caffeonspark pack",
        description="Pack this Python environment, the library included, for the nodes of a cluster: "
        "spark-submit's --archives OUT.tar.gz#env unpacks it there, and env/bin/python is its Python.",
    )
    parser.add_argument("out", metavar="OUT.tar.gz", help="the archive to write; replaced when it is there")
    words = ["--help" if word == "-help" else word for word in argv]
    pack(parser.parse_args(words).out)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"pack: {message}. See caffeonspark pack -help.")


def pack(out: str) -> None:
    """Write the archive ``out`` of this Python's environment.

    Raises
    ------
    ConfigError
        If this Python belongs to neither kind of environment that can be packed.
    StorageError
        If the archive cannot be written.
    CaffeOnSparkError
        If its Python does not start from another folder.
    """
    if not out.endswith((".tar.gz", ".tgz")):
        raise ConfigError(f"pack: {out}: YARN unpacks what is called .tar.gz or .tgz; name the archive so")
    out = os.path.abspath(out)
    try:
        with whole_file(out) as part:
            left_out = _write(part)
            _log.info("trying the archive in another folder")
            _try(part)
    except OSError as e:
        raise StorageError(f"pack: {out} cannot be written: {e.strerror or e}") from None
    _log.info(f"{out}: {os.path.getsize(out) / 1e6:.0f} MB, for --archives {os.path.basename(out)}#env")
    for why, size in left_out.items():
        _log.info(f"  left out: {size / 1e6:5.0f} MB  {why}")


def _write(part: str) -> Dict[str, int]:
    """Write the archive; what was left out."""
    root = _relocatable_root()
    if root is not None:
        contents = _choose(root)
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch, open(part, "wb") as f:
            _compile(contents, scratch)
            _archive(contents, f)
        return contents.left_out
    if os.environ.get("CONDA_PREFIX"):
        _conda_pack(os.environ["CONDA_PREFIX"], part)
        return {}
    raise ConfigError(
        f"pack: {sys.executable} belongs to no environment that can be packed: run it with scripts/with-env, or in an "
        "activated conda environment"
    )


# ---- the environment of scripts/with-env


def _relocatable_root() -> Optional[str]:
    """The environment of scripts/with-env that this Python is of, or None."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    marks = ("bin/python", "usr/bin/python3.9", _SITE)
    return root if all(os.path.exists(os.path.join(root, mark)) for mark in marks) else None


def _choose(root: str) -> _Contents:
    contents = _Contents()
    unused = _files_of(os.path.join(root, _SITE), _UNUSED_PACKAGES)
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            path = os.path.join(folder, name)
            inside = os.path.relpath(path, root)
            why = "packages for tests, checks and the demo" if path in unused else _why_not(inside)
            if why is None and os.path.islink(path) and not os.path.exists(path):
                why = "links that lead nowhere"
            if why is None:
                contents.files[inside] = path
            else:
                contents.left_out[why] = contents.left_out.get(why, 0) + os.lstat(path).st_size
    for name, path in library_files().items():
        contents.files[f"{_SITE}/caffeonspark/{name}"] = path
    return contents


def _why_not(name: str) -> Optional[str]:
    """Why a file of the environment is left out; None if it is not."""
    if name in _KEPT_ANYWAY:
        return None
    for why, patterns in _LEFT_OUT.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return why
    return None


def _files_of(site: str, packages: Sequence[str]) -> Set[str]:
    """The files that distributions installed, from their RECORDs."""
    from importlib import metadata

    found: Set[str] = set()
    for distribution in metadata.distributions(path=[site]):
        if str(distribution.metadata["Name"]).lower() in packages:
            for file in distribution.files or ():
                found.add(os.path.normpath(str(distribution.locate_file(file))))
    return found


def _compile(contents: _Contents, scratch: str) -> None:
    """Add the compiled form of every module.

    Python does not compare it with the source: nodes unpack files with times of their own, often where it may not
    write. The source's path in it is the one from the environment's root. What compiling gives depends on the order of
    sets and on what else the process holds, so a process of its own does it, with fixed hashes.
    """
    sources = {name: path for name, path in sorted(contents.files.items()) if name.endswith(".py")}
    jobs = [(path, os.path.join(scratch, f"{number}.pyc"), name) for number, (name, path) in enumerate(sources.items())]
    progress = _Progress("compiling", len(jobs), "files")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _COMPILE],
        env=dict(os.environ, PYTHONHASHSEED="0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(jobs) + "\n")
        process.stdin.close()
        for number, _ in enumerate(process.stdout):
            progress.at(number)
    progress.close()
    if process.returncode:
        raise CaffeOnSparkError("pack: compiling the environment's modules failed")
    for _, target, name in jobs:
        if os.path.exists(target):
            folder, base = os.path.split(name)
            contents.files[f"{folder}/__pycache__/{base[:-3]}.{sys.implementation.cache_tag}.pyc"] = target


def _archive(contents: _Contents, out: BinaryIO) -> None:
    """Write the archive: sorted, with fixed times, owners and modes."""
    progress = _Progress("packing", contents.size, "MB", 1e6)
    done = 0
    zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=out, mtime=0)
    with zipped, tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, MANIFEST, io.BytesIO(_manifest()), len(_manifest()), 0o644)
        for name, path in sorted(contents.files.items()):
            if os.path.islink(path):
                link = tarfile.TarInfo(name)
                link.type, link.linkname, link.mtime, link.mode = tarfile.SYMTYPE, os.readlink(path), _TIME, 0o777
                tar.addfile(link)
                continue
            size = os.path.getsize(path)
            with open(path, "rb") as f:
                _add(tar, name, f, size, 0o755 if os.access(path, os.X_OK) else 0o644)
            done += size
            progress.at(done)
    progress.close()


def _add(tar: tarfile.TarFile, name: str, content: Any, size: int, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, _TIME
    tar.addfile(info, content)


def _manifest() -> bytes:
    about = {
        "library": library_digest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()


# ---- conda


def _conda_pack(prefix: str, part: str) -> None:
    try:
        conda_pack = importlib.import_module("conda_pack")
    except ImportError:
        raise ConfigError("pack: conda environments are packed by conda-pack: pip install conda-pack") from None
    inside = os.path.join(prefix, "lib", "python*", "site-packages", "caffeonspark", "__init__.py")
    if not glob.glob(inside):
        raise ConfigError(
            f"pack: the conda environment {prefix} does not hold this library: install it there first (pip install .)"
        )
    _log.info(f"packing {prefix} with conda-pack")
    try:
        conda_pack.pack(prefix=prefix, output=part, format="tar.gz", force=True, verbose=sys.stderr.isatty())
    except conda_pack.CondaPackException as e:
        raise CaffeOnSparkError(f"pack: conda-pack: {e}") from None


# ---- trying it


def _try(archive: str) -> None:
    """Start the archive's Python in another folder, with nothing of this environment around it."""
    scratch = tempfile.mkdtemp(prefix="caffeonspark-")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch)
        process = subprocess.run(
            [os.path.join(scratch, "bin", "python"), "-c", _CHECK, scratch],
            cwd=scratch,
            env={"PATH": "/usr/bin:/bin", "HOME": scratch, "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if process.returncode:
        lines = process.stdout.decode(errors="replace").strip().splitlines()
        raise CaffeOnSparkError(
            f"pack: the archive's Python does not start: {lines[-1] if lines else 'no reason given'}"
        )


# ---- what people see


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, what: str, total: int, unit: str, scale: float = 1.0) -> None:
        self._bar: Any = None
        self._scale = scale
        if sys.stderr.isatty():
            from tqdm import tqdm

            bar = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} " + unit
            self._bar = tqdm(desc=what, total=total / scale, leave=False, file=sys.stderr, bar_format=bar)
        else:
            _log.info(f"{what} {total / scale:.0f} {unit}")

    def at(self, done: int) -> None:
        if self._bar is not None:
            self._bar.n = done / self._scale
            self._bar.update(0)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
