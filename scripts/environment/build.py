#!/usr/bin/env python3
"""Make the environment that scripts/with-env runs commands in, and print its path.

It holds Debian 11's pycaffe with its own Python 3.9, and the PyPI packages of requirements.txt, in one
relocatable folder of the user's cache: no root, and nothing of the host's packages is touched. apt verifies
the archive's signature and every package's checksum. The folder's name is a hash of the files that define
it, it is built under a temporary name and renamed when complete, and a lock keeps two builders apart, so
a folder that is there is whole.

Only the standard library is used, and nothing newer than Python 3.6.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-bullseye-stable.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-bullseye-stable.gpg",
)
ALTERNATIVES = (
    "Other ways to an environment with Caffe: 'conda env create -f conda-env.yml && conda activate caffeonspark' "
    "(then scripts/with-env uses it), or copy {cache} from a machine of the same kind where it was built."
)
# Programs of the environment that people call by name, and how each is started. Python's own scripts carry an
# absolute first line, which would tie the folder to its place.
MODULES = {"caffeonspark": "caffeonspark.cli", "mypy": "mypy", "pip": "pip", "pytest": "pytest"}


class CannotBuild(Exception):
    """The environment cannot be made here; the message says why and what to do instead."""


def cache_folder() -> str:
    chosen = os.environ.get("CAFFEONSPARK_CACHE")
    if chosen:
        return os.path.abspath(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "caffeonspark")


def definition_key(*files: str) -> str:
    """A name for what these files and this machine's architecture define."""
    digest = hashlib.sha256(platform.machine().encode())
    for name in sorted((*files, "build.py")):
        with open(os.path.join(HERE, name), "rb") as f:
            digest.update(name.encode() + b"\0" + f.read() + b"\0")
    return digest.hexdigest()[:16]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Progress:
    """One line that says how far a step is: rewritten on a terminal, printed now and then elsewhere."""

    def __init__(self, what: str, folder: str, total_mb: Optional[float] = None) -> None:
        self.what, self.folder, self.total_mb = what, folder, total_mb
        self.terminal = sys.stderr.isatty()
        self.start = time.time()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _line(self) -> str:
        size = folder_size(self.folder) / 1e6
        of = f" of {self.total_mb:.0f}" if self.total_mb else ""
        return f"{self.what}: {size:.0f}{of} MB, {time.time() - self.start:.0f} s"

    def _run(self) -> None:
        while not self.done.wait(0.5 if self.terminal else 10):
            sys.stderr.write(("\r\033[K" if self.terminal else "") + self._line() + ("" if self.terminal else "\n"))
            sys.stderr.flush()

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.done.set()
        self.thread.join()
        say(("\r\033[K" if self.terminal else "") + self._line())


def folder_size(folder: str) -> int:
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def run(command: List[str], what: str, env: Optional[Dict[str, str]] = None) -> str:
    """Run a command and return what it printed; its last lines are the error when it fails."""
    process = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    output = process.stdout.decode(errors="replace")
    if process.returncode:
        tail = "\n  ".join(output.strip().splitlines()[-6:])
        raise CannotBuild("{} failed ({}):\n  {}".format(what, " ".join(map(shlex.quote, command[:3])), tail))
    return output


# ---- Debian packages, without root and without the host's apt state


def debian_mirror() -> str:
    mirror = os.environ.get("CAFFEONSPARK_DEBIAN_MIRROR")
    if mirror:
        return mirror
    listing = run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(REPO_URI)"], "Reading apt's sources")
    host = ""
    with contextlib.suppress(OSError), open("/etc/os-release") as f:
        host = f.read()
    if "ID=debian" in host:
        for line in listing.splitlines():
            site, _, rest = line.partition(" ")
            release = rest.split(" ")[0]
            if "-" not in release and "/" not in release and site.rstrip("/").endswith("debian"):
                return site
    raise CannotBuild(
        "This machine's apt names no Debian mirror to take Debian 11's Caffe from. "
        "Set CAFFEONSPARK_DEBIAN_MIRROR to the address of one."
    )


def check_host(minimum_glibc: str) -> None:
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        if not shutil.which(tool):
            raise CannotBuild(f"This machine has no {tool}: it is not Debian or made from it.")
    libc, version = platform.libc_ver()
    if libc != "glibc" or [int(x) for x in version.split(".")] < [int(x) for x in minimum_glibc.split(".")]:
        raise CannotBuild(f"Caffe's packages need glibc {minimum_glibc} or newer; this machine has {libc} {version}.")


@contextlib.contextmanager
def private_apt(suite: str, scratch: str) -> Iterator[Dict[str, str]]:
    """An apt with its own state, cache and single source; yields the environment that makes apt use it."""
    keyring = next((k for k in KEYRINGS if os.path.exists(k)), None)
    if keyring is None:
        raise CannotBuild("The package debian-archive-keyring, which apt checks signatures with, is not installed.")
    for folder in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        os.makedirs(os.path.join(scratch, folder))
    open(os.path.join(scratch, "state", "status"), "w").close()
    with open(os.path.join(scratch, "etc", "sources.list"), "w") as f:
        f.write(f"deb [signed-by={keyring}] {debian_mirror()} {suite} main\n")
    # The machine's way to the network (proxies, certificates, credentials) stays its own.
    acquire = run(["apt-config", "dump", "Acquire"], "Reading apt's configuration")
    config = os.path.join(scratch, "apt.conf")
    with open(config, "w") as f:
        f.write(acquire)
        settings = {
            "Dir::State": scratch + "/state",
            "Dir::State::status": scratch + "/state/status",
            "Dir::Cache": scratch + "/cache",
            "Dir::Etc": scratch + "/etc",
            "Dir::Etc::netrc": "/etc/apt/auth.conf",
            "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        for name, value in settings.items():
            f.write(f'{name} "{value}";\n')
    yield dict(os.environ, APT_CONFIG=config, LC_ALL="C")


def install_debian(packages: List[str], leave_out: List[str], suite: str, prefix: str, scratch: str) -> None:
    with private_apt(suite, scratch) as env:
        archives = os.path.join(scratch, "cache", "archives")
        say(f"Debian {suite}: reading the package lists")
        run(["apt-get", "update", "-q", "--error-on=any"], "Reading Debian's package lists", env)
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
        plan = run([*command, "--print-uris", *packages], "Choosing Debian packages", env)
        sizes = [int(line.split()[2]) for line in plan.splitlines() if line.startswith("'")]
        with Progress("Debian packages, downloading", archives, sum(sizes) / 1e6):
            run([*command, "--download-only", *packages], "Downloading Debian packages", env)
        with Progress("Debian packages, unpacking", prefix):
            for deb in sorted(glob.glob(os.path.join(archives, "*.deb"))):
                if os.path.basename(deb).split("_")[0] not in leave_out:
                    run(["dpkg-deb", "-x", deb, prefix], "Unpacking " + os.path.basename(deb))
    make_links_relative(prefix)
    for unneeded in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var", "usr/share/proj"):
        shutil.rmtree(os.path.join(prefix, unneeded), ignore_errors=True)


def make_links_relative(prefix: str) -> None:
    """Debian's absolute links (/etc/…) point out of the folder: make those that can point inside it."""
    for folder, folders, files in os.walk(prefix):
        for name in folders + files:
            link = os.path.join(folder, name)
            if os.path.islink(link) and os.path.isabs(os.readlink(link)):
                inside = os.path.join(prefix, os.readlink(link).lstrip("/"))
                if os.path.lexists(inside):
                    os.unlink(link)
                    os.symlink(os.path.relpath(inside, folder), link)


# ---- the environment's own programs


def write_program(path: str, text: str) -> None:
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def write_programs(prefix: str) -> None:
    binaries = os.path.join(prefix, "bin")  # Debian's own bin is usr/bin; /bin held base programs only
    shutil.rmtree(binaries, ignore_errors=True)
    os.makedirs(binaries)
    triplet = os.path.basename(os.path.dirname(glob.glob(prefix + "/usr/lib/*-linux-gnu*/libcaffe.so.1*")[0]))
    libraries = [
        f"usr/lib/{triplet}/openblas-pthread",
        "usr/lib/" + triplet,
        "lib/" + triplet,
        "usr/lib",  # libgdal
        f"usr/lib/{triplet}/hdf5/serial",
    ]
    path = ":".join("$env/" + folder for folder in libraries)
    head = '#!/usr/bin/env bash\nenv="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)"\n'
    python = (
        head
        + 'export CAFFEONSPARK_LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}" CAFFEONSPARK_PYTHON="$env/bin/python"\n'
        + f'export LD_LIBRARY_PATH="{path}" PYTHONNOUSERSITE=1\n'
        + 'exec "$env/usr/bin/python3.9" "$@"\n'
    )
    write_program(os.path.join(binaries, "python"), python)
    for name in ("python3", "python3.9"):
        os.symlink("python", os.path.join(binaries, name))
    for name, module in MODULES.items():
        write_program(os.path.join(binaries, name), head + f'exec "$env/bin/python" -m {module} "$@"\n')
    for tool in glob.glob(prefix + "/usr/bin/*"):
        name = os.path.basename(tool)
        if name == "caffe" or name.startswith(("convert_", "compute_image_mean")):
            line = f'LD_LIBRARY_PATH="{path}" exec "$env/usr/bin/{name}" "$@"\n'
            write_program(os.path.join(binaries, name), head + line)
    shutil.copy(os.path.join(prefix, "usr/local/bin/ruff"), os.path.join(binaries, "ruff"))
    site = "usr/local/lib/python3.9/dist-packages"
    for name in ("spark-submit", "pyspark", "spark-class", "spark-shell", "spark-sql"):
        line = f'export SPARK_HOME="${{SPARK_HOME:-$env/{site}/pyspark}}"\n'
        line += 'export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$env/bin/python}"\n'
        write_program(os.path.join(binaries, name), head + line + f'exec "$SPARK_HOME/bin/{name}" "$@"\n')
    customize = os.path.join(prefix, "usr/lib/python3.9/sitecustomize.py")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(customize)
    shutil.copy(os.path.join(HERE, "sitecustomize.py"), customize)


def install_python_packages(prefix: str) -> None:
    python = os.path.join(prefix, "bin", "python")
    wheels = glob.glob(os.path.join(prefix, "usr/share/python-wheels/*.whl"))
    env = dict(os.environ, PYTHONPATH=":".join(wheels), PIP_ROOT_USER_ACTION="ignore")
    options = ["--ignore-installed", "--no-deps", "--no-warn-script-location", "--disable-pip-version-check", "-q"]
    pip = [python, "-m", "pip", "install", *options]
    site = os.path.join(prefix, "usr/local")
    with Progress("Python packages, installing", site):
        run([*pip, "pip==24.3.1"], "Installing pip", env)  # Debian 11's own does not know newer wheels' tags
        env.pop("PYTHONPATH")
        requirements = os.path.join(HERE, "requirements.txt")
        run([*pip, "--only-binary", ":all:", "--no-binary", "pyspark", "-r", requirements], "Installing from PyPI", env)


def build_caffe(prefix: str, scratch: str, definition: Dict) -> None:
    check_host(definition["minimum_glibc"])
    packages = definition["caffe"]
    install_debian(packages["install"], packages["leave_out"], definition["suite"], prefix, scratch)
    os.makedirs(os.path.join(prefix, "usr/local/bin"), exist_ok=True)
    open(os.path.join(prefix, "usr/local/bin/ruff"), "a").close()  # written by pip below
    write_programs(prefix)
    install_python_packages(prefix)
    write_programs(prefix)
    check = "import caffe, pyspark, pyarrow, pandas, lmdb, scipy.sparse; caffe.layer_type_list()"
    run([os.path.join(prefix, "bin/python"), "-c", check], "Importing Caffe from the new environment")


def build_java(prefix: str, scratch: str, definition: Dict) -> None:
    check_host(definition["minimum_glibc"])
    packages = definition["java"]
    install_debian(packages["install"], packages["leave_out"], definition["suite"], prefix, scratch)
    home = glob.glob(os.path.join(prefix, "usr/lib/jvm/java-17-*"))[0]
    os.symlink(os.path.relpath(home, prefix), os.path.join(prefix, "home"))
    run([os.path.join(home, "bin/java"), "-version"], "Starting Java from the new environment")


# ---- the cache


def provide(name: str, build: Callable[[str, str], None]) -> str:
    """The path of the complete folder called `name`, built now if it is not there.

    `build` is given the folder to fill and one for scratch files.
    """
    cache = cache_folder()
    final = os.path.join(cache, name)
    if os.path.isdir(final):
        return final
    try:
        os.makedirs(cache, exist_ok=True)
        lock = open(os.path.join(cache, name + ".lock"), "w")
    except OSError as e:
        raise CannotBuild(f"Cannot write to the cache folder {cache}: {e.strerror}. Set CAFFEONSPARK_CACHE.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"Waiting for another process that is building {final}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(final):
            return final
        for left_over in glob.glob(final + ".part-*"):  # of a builder that was killed: we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        work = tempfile.mkdtemp(prefix=name + ".part-", dir=cache)
        try:
            say(f"Building {final} (once per user)")
            prefix, scratch = os.path.join(work, "env"), os.path.join(work, "scratch")
            os.makedirs(prefix)
            os.makedirs(scratch)
            build(prefix, scratch)
            os.rename(prefix, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def java_is_usable() -> bool:
    """Whether the Java that Spark would start is one that Spark 3.5 runs on (8, 11 or 17)."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not java or not os.path.exists(java):
        return False
    process = subprocess.run([java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    version = process.stdout.decode(errors="replace").partition('"')[2].partition('"')[0]
    major = version.split(".")[1] if version.startswith("1.") else version.split(".")[0]
    return major in ("8", "11", "17")


def main() -> int:
    with open(os.path.join(HERE, "debian.json")) as f:
        definition = json.load(f)
    what = "the environment"
    try:
        key = definition_key("debian.json", "requirements.txt", "sitecustomize.py")
        env = provide("env-" + key, lambda prefix, scratch: build_caffe(prefix, scratch, definition))
        what = "Java"
        java = ""
        if not java_is_usable():
            key = definition_key("debian.json")
            java = provide("java-" + key, lambda prefix, scratch: build_java(prefix, scratch, definition))
    except CannotBuild as e:
        say(f"caffeonspark: cannot make {what}: {e}")
        say(ALTERNATIVES.format(cache=cache_folder()))
        return 1
    except KeyboardInterrupt:
        say("caffeonspark: interrupted; nothing half-built is left")
        return 130
    print(env)
    print(os.path.join(java, "home") if java else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
