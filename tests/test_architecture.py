"""Imports point one way, and only one module knows pycaffe."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "caffeonspark"

# A module or package may import those before it.
ORDER = [
    "_version",
    "errors",
    "flags",
    "settings",
    "plugins",
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
    "tools",
    "deploy",
]
ALONE = {
    "comm": {"errors"},
    "data": {"errors", "plugins", "process", "storage", "nets", "formats"},
    "nets": {"errors", "storage"},
    "formats": {"errors", "nets", "storage"},
}


def imports(path):
    """(the unit a module belongs to, the module names it imports outside of TYPE_CHECKING, in full)."""
    relative = path.relative_to(PACKAGE).with_suffix("")
    package = ["caffeonspark", *relative.parts[:-1]]
    found = set()
    for node in outside_type_checking(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "caffeonspark" else {module}
    return relative.parts[0], found


def outside_type_checking(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from outside_type_checking(child)


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
    if any(name.split(".")[0] == "caffe" for name in names):
        assert path.relative_to(PACKAGE).as_posix().startswith("engines/caffe/")


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
