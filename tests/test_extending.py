"""What docs/extending.md says: classes that an installed package brings, found by the names it gives them."""

import re
import sys

import numpy as np
import pytest

from caffeonspark import (
    ENCODED,
    RAW_BYTES,
    RAW_FLOATS,
    ConfigError,
    Engine,
    ImageTop,
    Source,
    SourceConfig,
    Strategy,
    pack_image,
)
from caffeonspark.data.sources.registry import make_source
from caffeonspark.engines.registry import engine_named
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.prototxt import Files, parse_net
from caffeonspark.settings import Settings
from caffeonspark.storage import Storage
from caffeonspark.sync.registry import strategy_for
from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODULE = """
from caffeonspark import DataFrameSource
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.sync.all_reduce import AllReduce

class Clicks(DataFrameSource):
    layer_types = {"CoSData": "cos_data_param", "Clicks": "cos_data_param"}

class MyEngine(CaffeEngine):
    pass

class Gossip(AllReduce):
    pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """``my_package``, installed with the entry points that the page shows; their groups."""
    (code,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    groups = tomllib.loads(code)["project"]["entry-points"]
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{n} = {value}\n" for n, value in names.items()) for group, names in groups.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "my_package.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield set(groups)
    sys.modules.pop("my_package", None)


def source_of(layer):
    text = f'layer {{ name: "data" top: "x" {layer} cos_data_param {{ batch_size: 4 }} }}'
    net = Net(parse_net(text.encode(), "net.prototxt"), "net.prototxt", TRAIN)
    storage = Storage()
    return make_source(SourceConfig(Files(storage.read, storage.exists), storage), net, net.data_layers()[0])


def test_an_installed_package_brings_each_kind(package):
    assert package == {"caffeonspark.sources", "caffeonspark.engines", "caffeonspark.strategies"}
    for layer in ('type: "CoSData" source_class: "Clicks"', 'type: "Clicks"'):
        source = source_of(layer)
        assert isinstance(source, Source)
        assert (type(source).__module__, type(source).__name__) == ("my_package", "Clicks")
    with pytest.raises(ConfigError, match=r"'Click' is unknown\. Did you mean 'Clicks'"):
        source_of('type: "CoSData" source_class: "Click"')
    engine = engine_named("mine")
    assert isinstance(engine, Engine)
    assert (type(engine).__module__, type(engine).__name__) == ("my_package", "MyEngine")
    with pytest.raises(ConfigError, match=r"'mein' is unknown\. Did you mean 'mine'"):
        engine_named("mein")
    strategy = strategy_for(Settings(sync="gossip"))
    assert issubclass(strategy, Strategy)
    assert (strategy.__module__, strategy.__name__) == ("my_package", "Gossip")
    with pytest.raises(ConfigError, match=r"-sync: 'gosip' is unknown\. .*gossip"):
        strategy_for(Settings(sync="gosip"))


def test_what_a_reader_of_images_hands_on(package):
    """``pack_image`` entries, for an ImageTop."""
    pixels = np.arange(18).reshape(3, 2, 3)
    top = ImageTop("data", (3, 2, 3))
    for kind, dtype in ((RAW_BYTES, np.uint8), (RAW_FLOATS, np.float32)):
        image = top.pixels(pack_image(kind, (3, 2, 3), pixels.astype(dtype).tobytes()))
        assert image.dtype == dtype
        assert (image == pixels).all()
    png = (ROOT / "docs" / "images" / "curve.png").read_bytes()
    height, width = np.frombuffer(png[16:24], ">i4")[::-1]
    whole = ImageTop("data", (3, int(height), int(width)), channels=3)
    assert whole.pixels(pack_image(ENCODED, (0, 0, 0), png)).shape == whole.shape
