"""What is declared, what is in the distributions, and that both can be used where nothing else of the project is."""

import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import caffeonspark
from caffeonspark.cli import NEEDED
from tests.support.host import host_python, without_ours
from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What Debian's python3-caffe and conda's caffe bring along, built against the same libraries as Caffe.
FROM_CAFFE = {"scripts/environment/requirements.txt": {"protobuf", "h5py"}, "conda-env.yml": {"protobuf"}}
#: Extras that neither environment has: nothing here needs them.
ELSEWHERE = {"mlflow", "opencv", "conda", "docs"}
BIG = {"pyspark", "pandas", "pyarrow"}  # what -help must not need
PIP = "what a job needs is not installed in this Python: pip install pyspark pyarrow pandas"


def declared():
    """Everything the project or one of the environments' extras needs: {name: Requirement}."""
    lines = list(PROJECT["dependencies"])
    for extra in EXTRAS:
        lines += [] if extra in ELSEWHERE else EXTRAS[extra]
    found = [Requirement(line) for line in lines]
    return {requirement.name: requirement for requirement in found if requirement.name != "caffeonspark"}


def environment(name):
    """What a file of an environment asks for: {name: Requirement}."""
    text = (ROOT / name).read_text()
    if name.endswith(".yml"):  # conda's own packages, then pip's
        lines = re.findall(r"(?m)^ +- ([^:\n]+)$", text.partition("\ndependencies:")[2])
        lines = [re.sub(r"^([\w-]+)=([\d.]+)$", r"\1==\2", line) for line in lines]
    else:
        lines = re.findall(r"(?m)^[^#\n]+", text)
    found = [Requirement(line.replace("matplotlib-base", "matplotlib")) for line in lines]
    return {requirement.name: requirement for requirement in found}


def near(*requirements):
    """The versions these speak of, and those a little older and newer."""
    found = {Version("0.1"), Version("1000")}
    for specifier in (specifier for requirement in requirements for specifier in requirement.specifier):
        release = [*Version(specifier.version).release, 0][:2]
        for major, minor in ((release[0] + i, release[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            found |= {Version(f"{major}.{minor}"), Version(f"{major}.{minor}.5")} if min(major, minor) >= 0 else set()
    return found


# ---- one list of dependencies


def test_the_command_line_asks_for_what_is_declared():
    assert sorted(NEEDED.values()) == sorted(Requirement(line).name for line in PROJECT["dependencies"])


@pytest.mark.parametrize("name", FROM_CAFFE)
def test_environments_have_what_is_declared(name):
    asked = environment(name)
    assert len(asked) > 15
    assert set(declared()) - FROM_CAFFE[name] - {"tomli", "packaging"} <= set(asked)
    for requirement in declared().values():
        chosen = asked.get(requirement.name)
        if chosen is not None:
            for version in near(requirement, chosen):
                assert version not in chosen.specifier or version in requirement.specifier, (chosen, requirement)


@pytest.mark.parametrize("name", ["requirements.txt", "docs.txt", "pyspark-4.0.txt"])
def test_pins_are_exact(name):
    for requirement in environment(f"scripts/environment/{name}").values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="


def test_what_builds_the_site_is_what_is_declared():
    (declared,), pinned = map(Requirement, EXTRAS["docs"]), environment("scripts/environment/docs.txt")
    (specifier,) = pinned[declared.name].specifier
    assert specifier.version in declared.specifier


def test_this_environment_satisfies_what_is_declared():
    for requirement in declared().values():
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


def test_extras_are_those_that_messages_and_documents_name():
    named = set()
    texts = [path.read_text() for path in (ROOT / "caffeonspark").rglob("*.py")]
    texts += [
        path.read_text() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    ]
    for text in texts:
        for names in re.findall(r"caffeonspark\[([\w,]+)\]", text):
            named |= set(names.split(","))
    assert {"encrypt", "hdf5", "sequence"} <= named <= set(EXTRAS)


def test_the_tests_need_all_extras_of_the_environments():
    (ours,) = [Requirement(line) for line in EXTRAS["test"] if line.startswith("caffeonspark[")]
    assert ours.extras == set(EXTRAS) - ELSEWHERE - {"test"}


def test_version():
    assert re.search(r"(?m)^version: (.*)$", (ROOT / "CITATION.cff").read_text()).group(1) == caffeonspark.__version__
    assert PROJECT["dynamic"] == ["version", "license", "readme"]
    assert (
        f"## [{caffeonspark.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
        or "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    )


# ---- the distributions


def kept_files():
    """The files of the repository, or of the source distribution that these tests run from."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if (ROOT / ".git").exists() and listing.returncode == 0:
        return {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    with_info = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()}
    made = (
        r"(^|/)(__pycache__|build|[^/]*\.egg-info|\.[a-z]+_cache|\.hypothesis)/|^(PKG-INFO|setup\.cfg)$|^data/.*_lmdb/"
    )
    return {name for name in with_info if not re.search(made, name)}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(source distribution, wheel), built from a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp("distributions")
    for name in kept_files():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "copy" / name)
    build = f"from setuptools.build_meta import *; build_sdist({str(folder)!r}); build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder / "copy", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def test_the_source_distribution_is_complete(distributions):
    with tarfile.open(distributions[0]) as tar:
        members = {member.name.partition("/")[2]: member for member in tar.getmembers() if member.isfile()}
    kept = kept_files()
    assert kept <= set(members)
    assert {name for name in set(members) - kept if "egg-info/" not in name} == {"PKG-INFO", "setup.cfg"}
    for name in kept:
        assert bool(members[name].mode & 0o100) == os.access(ROOT / name, os.X_OK), name


def test_the_wheel_is_the_library_and_says_what_it_is(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (info,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(wheel.read(info))
        entry_points = wheel.read(info.replace("METADATA", "entry_points.txt")).decode()
        assert any(name.endswith("/LICENSE") for name in wheel.namelist())
        assert any(name.endswith("/NOTICE") for name in wheel.namelist())
    assert names == {name for name in kept_files() if name.startswith("caffeonspark/")}
    assert "caffeonspark/py.typed" in names
    assert metadata["Version"] == caffeonspark.__version__
    assert metadata["License"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    assert all(url.count("https://") == 1 for url in metadata.get_all("Project-URL"))
    assert "caffeonspark = caffeonspark.cli:main" in entry_points


def test_the_package_page_is_the_readme_and_links_to_nothing_that_is_not_there(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        (info,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_string(wheel.read(info).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    page, readme = metadata.get_payload(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) == len(readme.splitlines())
    links = re.findall(r"\]\(([^)]+)\)", readme)
    elsewhere = [target for target in links if target.startswith("https://")]
    assert re.findall(r"\]\(([^)]+)\)", page) == elsewhere
    assert len(links) > len(elsewhere) > 1
    for target in set(links) - set(elsewhere):
        assert f"`{target}`" in page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_in_an_empty_environment(distributions, tmp_path):
    subprocess.run([host_python(), "-m", "venv", tmp_path / "venv"], env=without_ours(), check=True)
    binaries = tmp_path / "venv" / "bin"
    env = without_ours(f"{binaries}:/usr/bin:/bin")
    small = [line for line in PROJECT["dependencies"] if Requirement(line).name not in BIG]
    for words in (["--no-deps", distributions[1]], small):
        install = [binaries / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *words]
        subprocess.run(install, env=env, cwd=tmp_path, check=True)

    def caffeonspark_says(*words):
        return subprocess.run(
            [binaries / "caffeonspark", *words], env=env, cwd=tmp_path, capture_output=True, text=True
        )

    told = caffeonspark_says("-help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "-clusterSize" in told.stdout
    (tmp_path / "net.prototxt").write_text('layer { name: "d" type: "DummyData" top: "d" }')
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    told = caffeonspark_says("LMDB2DataFrame", "-imageRoot", "lmdb", "-output", "frame")
    assert told.returncode == 1
    assert told.stderr == f"caffeonspark: {PIP}\n"
    told = caffeonspark_says("-train", "-conf", "solver.prototxt", "-model", "file:m.caffemodel")
    assert told.returncode == 1
    assert told.stderr.startswith(f"caffeonspark: {PIP}; ")
    assert re.fullmatch(r"caffeonspark: [^\n]*Caffe[^\n]*(conda|scripts/with-env)[^\n]*\n", told.stderr), told.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tests_run_from_the_source_distribution(distributions, tmp_path):
    with tarfile.open(distributions[0]) as tar:
        tar.extractall(tmp_path)
    (root,) = tmp_path.iterdir()
    # with the environment of its own scripts, and nothing of this checkout
    env = without_ours("/usr/local/bin:/usr/bin:/bin")
    done = subprocess.run(["make", "check", "test-fast"], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(re.findall(r"\d+ passed", done.stdout)) == 1
