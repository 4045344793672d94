"""Imports point one way; pycaffe, PySpark and the JVM behind it are known where the plan says and nowhere else."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "caffeonspark"

# A module or package may import those before it.
ORDER = [
    "_version",
    "errors",
    "causes",
    "log",
    "flags",
    "plugins",
    "settings",
    "process",
    "storage",
    "comm",
    "nets",
    "formats",
    "data",
    "plans",
    "engines",
    "sync",
    "spark",
    "report",
    "ranks",
    "launchers",
    "runs",
    "inference",
    "api",
    "compat",
    "ml",
    "estimator",  # the name that saved models know
    "tools",
    "deploy",
    "cli",
    "__main__",
]
ALONE = {
    "comm": {"errors", "process"},
    "data": {"errors", "causes", "plugins", "process", "storage", "nets", "formats"},
    "nets": {"errors", "storage"},
    "formats": {"errors", "nets", "storage"},
}


JVM = {"_jvm", "_jsc", "_jdf", "_jconf", "_gateway"}  # PySpark's ways to it
KNOW_PYSPARK = (
    "spark/",
    "launchers/spark_barrier.py",
    "data/sources/",
    "plans/net_source.py",  # the type of a DataFrame that stands for a source's
    "plans/scoring.py",
    "inference/",
    "api/",
    "compat/",
    "ml/",
    "estimator.py",
    "tools/",
    "deploy/",
)


def imports(path):
    """(the unit a module belongs to, the module names it imports, for typing too, in full)."""
    relative = path.relative_to(PACKAGE).with_suffix("")
    package = ["caffeonspark", *relative.parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "caffeonspark" else {module}
    unit = "__main__" if relative.as_posix() == "deploy/caffeonspark_main" else relative.parts[0]  # a program
    return unit, found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    unit, names = imports(path)
    assert unit in ORDER, "a new module or package: give it a place in the order"
    ours = {name.split(".")[1] for name in names if name.startswith("caffeonspark.")} - {unit}
    later = {other for other in ours if ORDER.index(other) > ORDER.index(unit)}
    assert not later
    if unit in ALONE:
        assert ours <= ALONE[unit]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_its_engine_knows_caffe(path):
    """Not for typing either."""
    known = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            known |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            known |= {"caffe"} & {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    assert "caffe" not in known or path.relative_to(PACKAGE).parts[:2] == ("engines", "caffe")


def test_nothing_in_the_library_unpickles():
    banned = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not banned & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "np.load", "numpy.load", "yaml.load"), path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_spark_is_known_where_it_has_to_be(path):
    """Imports for typing count too."""
    place = path.relative_to(PACKAGE).as_posix()
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert place == "spark/jvm.py" or not names & JVM
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert place.startswith(KNOW_PYSPARK) or not any(name.split(".")[0] == "pyspark" for name in modules)


def imported_modules(path):
    """The modules of the library that a module imports, for typing too: by their paths."""
    package = ["caffeonspark", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    places = [PACKAGE.joinpath(*name.split(".")[1:]) for name in found if name.split(".")[0] == "caffeonspark"]
    return {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file in MODULES}


def test_no_modules_import_each_other():
    """In no circle, however long."""
    left = {path: imported_modules(path) - {path} for path in MODULES}
    while left:
        done = [path for path, needs in left.items() if not needs & left.keys()]
        assert done, sorted(str(path.relative_to(PACKAGE)) for path in left)
        for path in done:
            del left[path]
