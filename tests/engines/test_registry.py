"""Engines by name, and what is said of a name that leads nowhere."""

import sys

import pytest

from caffeonspark.engines.base import Engine
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.registry import engine_named
from caffeonspark.errors import ConfigError


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder on Python's path whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


OWN = """
from caffeonspark.engines.caffe import CaffeEngine
class OwnEngine(CaffeEngine):
    pass
class Other:
    pass
"""


def test_caffe_is_built_in_and_the_default():
    from caffeonspark.settings import FLAGS

    assert type(engine_named(FLAGS["engine"].default)) is CaffeEngine


def test_a_class_of_ones_own(modules):
    (modules / "own_engine.py").write_text(OWN)
    engine = engine_named("own_engine:OwnEngine")
    assert isinstance(engine, Engine)
    assert type(engine).__name__ == "OwnEngine"


def test_an_installed_package_brings_an_engine(modules):
    (modules / "own_engine.py").write_text(OWN)
    info = modules / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[caffeonspark.engines]\nown = own_engine:OwnEngine\n")
    assert type(engine_named("own")).__name__ == "OwnEngine"
    with pytest.raises(ConfigError, match=r"-engine: 'onw' is unknown\. Did you mean 'own'\?"):
        engine_named("onw")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cafe", r"-engine: 'cafe' is unknown\. Did you mean 'caffe'\?"),
        ("tensor", r"-engine: 'tensor' is unknown\. Valid names: caffe\. One of your own is given as MODULE:CLASS"),
        ("nowhere:Engine", r"-engine nowhere:Engine: there is no module 'nowhere': .* --py-files"),
        ("nowhere.deep:Engine", r"there is no module 'nowhere'"),
        (":Engine", r"-engine :Engine: give it as MODULE:CLASS"),
        ("own_engine:OwnEngin", r"own_engine\.py has no class 'OwnEngin'\. Did you mean 'OwnEngine'\?"),
        ("own_engine:", r"has no class ''\. Valid names: CaffeEngine, OwnEngine\."),
        ("own_engine:Other", r"'Other' is no subclass of caffeonspark\.engines\.base\.Engine"),
        ("needy:Engine", r"-engine needy:Engine: needy cannot be imported: No module named 'not_installed'"),
    ],
)
def test_wrong_names_say_what_is_right(modules, name, message):
    (modules / "own_engine.py").write_text(OWN)
    (modules / "needy.py").write_text("import not_installed\n")
    with pytest.raises(ConfigError, match=message):
        engine_named(name)
