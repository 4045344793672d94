"""Which source reads a data layer: by type, by name, by dotted path, or brought by an installed package."""

import sys
from unittest import mock

import pytest
from pyspark.sql import DataFrame

from caffeonspark.data.sources.dataframe import DataFrameSource
from caffeonspark.data.sources.datums import DatumSource
from caffeonspark.data.sources.hdf5 import HDF5Source
from caffeonspark.data.sources.image_list import ImageListSource
from caffeonspark.data.sources.images import ImageDataFrame
from caffeonspark.data.sources.registry import make_source
from caffeonspark.data.sources.sequence_file import SequenceFileSource
from caffeonspark.errors import ConfigError
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.prototxt import parse_net

#: Stands for a DataFrame, whose rows are not looked at before open().
FRAME = mock.create_autospec(DataFrame, instance=True, isStreaming=False)


def source_of(layer, frame=None):
    """The source of a layer; its blocks of parameters have a batch_size of 4."""
    text = f'layer {{ name: "data" top: "x" top: "label" {layer} }}'
    message = parse_net(text.encode(), "net.prototxt")
    net = Net(message, "net.prototxt", TRAIN)
    (found,) = net.data_layers()
    return make_source(None, net, found, frame)


MEMORY = 'type: "MemoryData" memory_data_param { batch_size: 4 }'
COS = 'type: "CoSData" cos_data_param { batch_size: 4 }'


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ('type: "Data" data_param { batch_size: 4 }', DatumSource),
        ('type: "ImageData" image_data_param { batch_size: 4 }', ImageListSource),
        ('type: "HDF5Data" hdf5_data_param { batch_size: 4 }', HDF5Source),
        (f'{MEMORY} source_class: "com.yahoo.ml.caffe.LMDB"', DatumSource),
        (f'{MEMORY} source_class: "SequenceFile"', SequenceFileSource),
        (f'{MEMORY} source_class: "com.yahoo.ml.caffe.SeqImageDataSource"', SequenceFileSource),
        (f'{MEMORY} source_class: "ImageDataFrame"', ImageDataFrame),
        (f'{MEMORY} source_class: "caffeonspark.data.sources.datums.DatumSource"', DatumSource),
        (f'{COS} source_class: "com.yahoo.ml.caffe.DataFrameSource"', DataFrameSource),
    ],
)
def test_sources_of_layers(layer, kind):
    source = source_of(layer)
    assert type(source) is kind
    assert source.batch_size == 4


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (COS, DataFrameSource),
        (f'{COS} source_class: "whatever"', DataFrameSource),
        (MEMORY, ImageDataFrame),
        ('type: "Data" data_param { batch_size: 4 }', ImageDataFrame),
        ('type: "ImageData" image_data_param { batch_size: 4 }', ImageDataFrame),
    ],
)
def test_a_given_dataframe_is_read_by_what_fits_the_layer(layer, kind):
    source = source_of(layer, FRAME)
    assert type(source) is kind
    assert source.given is FRAME
    assert source.description == "the given DataFrame"


@pytest.mark.parametrize(
    ("layer", "frame", "message"),
    [
        (MEMORY, None, r"layer 'data': source_class is missing: name the kind of data. Valid names: .*LMDB"),
        (f'{MEMORY} source_class: "LMBD"', None, r"source_class: 'LMBD' is unknown. Did you mean 'LMDB'\?"),
        (f'{MEMORY} source_class: "com.yahoo.ml.caffe.LMBD"', None, r"is unknown. Did you mean '.*LMDB'\?"),
        (f'{MEMORY} source_class: "DataFrameSource"', None, r"DataFrameSource goes with layer type CoSData"),
        (f'{COS} source_class: "json.JSONDecoder"', None, r"'JSONDecoder' is no subclass of"),
        (f'{COS} source_class: "no_such_module.Rows"', None, r"there is no module 'no_such_module'"),
        ('type: "WindowData"', None, r"layer 'data': .*type WindowData are not supported\. Cut the windows"),
        (
            'type: "AnnotatedData"',
            None,
            r"layer 'data': .*type AnnotatedData are not supported\. Use CoSData over a Data",
        ),
        (
            'type: "Strange"',
            None,
            r"layer 'data': .*type Strange are not supported\. Read its data with a source_class",
        ),
        ('type: "Dta"', None, r"data layers of type Dta are not supported. Did you mean 'Data'\?"),
        ('type: "HDF5Data" hdf5_data_param { batch_size: 4 }', FRAME, r"cannot stand for the data of a HDF5Data layer"),
        ('type: "Data" data_param { source: "x" }', None, r"batch_size must be at least 1"),
    ],
)
def test_layers_that_nothing_reads(layer, frame, message):
    with pytest.raises(ConfigError, match=message):
        source_of(layer, frame)


def test_layers_that_make_their_blobs_are_no_data_layers():
    text = "".join(f'layer {{ name: "{t}" type: "{t}" top: "{t}" }}' for t in ("DummyData", "Input", "Parameter"))
    net = Net(parse_net(text.encode(), "net.prototxt"), "net.prototxt", TRAIN)
    assert not net.data_layers()
    assert [layer.type for layer in net.made_layers()] == ["DummyData", "Input"]


SOURCE = """
from caffeonspark.data.sources.dataframe import DataFrameSource

class Clicks(DataFrameSource):
    layer_types = {"ClickData": "cos_data_param"}
"""


def test_an_installed_package_brings_a_source_on_a_layer_type_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "click_source.py").write_text(SOURCE)
    about = tmp_path / "clicks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: clicks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[caffeonspark.sources]\nClickData = click_source:Clicks\nbroken = click_source:Nothing\n"
    )
    layer = 'type: "ClickData" cos_data_param { batch_size: 4 }'
    with pytest.raises(ConfigError, match="data layers of type ClickData are not supported"):
        source_of(layer)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in (layer, f'{layer} source_class: "ClickData"', f'{layer} source_class: "click_source.Clicks"'):
        source = source_of(text)
        assert (type(source).__name__, source.batch_size) == ("Clicks", 4)
    assert source_of(layer, FRAME).given is FRAME
    with pytest.raises(ConfigError, match="source_class ClickData goes with layer type ClickData"):
        source_of(f'{COS} source_class: "ClickData"')
    with pytest.raises(ConfigError, match=r"click_source\.py has no class 'Nothing'"):
        source_of(f'{COS} source_class: "broken"')
    monkeypatch.delitem(sys.modules, "click_source")
