"""No field of a data layer is passed over: it is read as stock Caffe reads it, or it is an error, or it is said that it
does nothing, there as here."""

import io

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from caffeonspark.data.sources import fields
from caffeonspark.data.sources.base import SourceConfig
from caffeonspark.data.sources.dataframe import DataFrameSource
from caffeonspark.data.sources.registry import make_source
from caffeonspark.errors import ConfigError
from caffeonspark.nets.forks import lay_over
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.proto_file import Messages, _parse, read_proto
from caffeonspark.nets.prototxt import Files, parse_net
from caffeonspark.nets.schema import Datum
from caffeonspark.process import run_in_child
from caffeonspark.storage import Storage
from tests.support.stock import caffe

FORK = """
syntax = "proto2"; package caffe;
message ResizeParameter { optional uint32 height = 1; }
message LayerParameter { optional ResizeParameter annotated_param = 5001; }
message TransformationParameter {
  optional ResizeParameter resize_param = 5001;
  repeated float std = 5002;
  optional bool flip_too = 5003 [default = false];
}
message DataParameter { optional bool shuffle = 5001 [default = false]; }
message ImageDataParameter { optional uint32 min_side = 5001; }
message HDF5DataParameter { optional uint32 more = 5001; }
message MemoryDataParameter { optional uint32 more = 5001; }
message CoSDataParameter { optional uint32 more = 5001; }
"""


@pytest.fixture(scope="module")
def fork():
    """The NetParameter of a Caffe fork with fields of its own."""
    stock, ours = (read_proto("caffeonspark.nets", name) for name in ("caffe.proto", "caffeonspark.proto"))
    return Messages(lay_over(lay_over(stock, ours), _parse(FORK, "fork.proto")))["NetParameter"]


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """The lines in the log."""
    fields._said.clear()
    lines = []
    monkeypatch.setattr(fields._log, "warning", lambda text, *args: lines.append(text % args))
    return lines


def source_of(layer, net_type=None, config=None):
    text = f'layer {{ name: "data" top: "x" top: "label" {layer} }}'
    message = parse_net(text.encode(), "n.prototxt") if net_type is None else text_format.Parse(text, net_type())
    net = Net(message, "n.prototxt", TRAIN)
    return make_source(config, net, net.data_layers()[0])


DATA = 'type: "Data" data_param {{ batch_size: 4 {} }}'
MEMORY = 'type: "MemoryData" source_class: "LMDB" memory_data_param {{ batch_size: 4 {} }}'
COS = 'type: "CoSData" source_class: "CoSData" cos_data_param {{ batch_size: 4 {} }}'


@pytest.mark.parametrize(
    ("layer", "field", "instead"),
    [
        (
            DATA.format("") + " transform_param { resize_param { height: 9 } }",
            "transform_param.resize_param",
            "-resize",
        ),
        (DATA.format("shuffle: true"), "data_param.shuffle", "-shuffle"),
        (DATA.format("") + " transform_param { std: 9 }", "transform_param.std", "source_class of your own"),
        (DATA.format("") + " annotated_param { }", "annotated_param", "source_class of your own"),
        ('type: "ImageData" image_data_param { min_side: 4 }', "image_data_param.min_side", "new_height"),
        ('type: "HDF5Data" hdf5_data_param { batch_size: 4 more: 1 }', "hdf5_data_param.more", "take it away"),
        (MEMORY.format("more: 1"), "memory_data_param.more", "take it away"),
        (COS.format("more: 1"), "cos_data_param.more", "take it away"),
        (
            COS.format('top { name: "x" transform_param { resize_param { } } }'),
            "transform_param.resize_param",
            "-resize",
        ),
    ],
)
def test_a_forks_field_is_an_error_that_names_it(fork, layer, field, instead):
    with pytest.raises(ConfigError, match=rf"^n\.prototxt: layer 'data': .*{field} is no field that ") as e:
        source_of(layer, fork)
    assert instead in e.value.message and "\n" not in e.value.message


@pytest.mark.parametrize(
    "layer", [DATA.format("shuffle: false"), DATA.format("") + " transform_param { flip_too: false }"]
)
def test_a_forks_field_at_its_default_does_nothing(fork, layer, said):
    source_of(layer, fork)
    assert not said


def test_without_the_fork_the_message_says_what_to_use():
    with pytest.raises(ConfigError, match=r"^n\.prototxt:1: .*TransformationParameter.*'resize_param'.*-resize"):
        source_of(DATA.format("") + " transform_param { resize_param { } }")
    with pytest.raises(ConfigError, match=r"DataParameter has no field 'shuffle' \(layer .*\): -shuffle"):
        source_of(DATA.format("shuffle: true"))


def test_a_source_of_ones_own_knows_its_fields(fork):
    assert isinstance(source_of(COS.format("more: 1").replace('"CoSData" cos', f'"{__name__}.Own" cos'), fork), Own)


class Own(DataFrameSource):
    pass


@pytest.mark.parametrize(
    ("layer", "field"),
    [
        (DATA.format("scale: 0.5"), "data_param.scale"),
        (DATA.format("rand_skip: 5"), "data_param.rand_skip"),
        (DATA.format("force_encoded_color: true"), "data_param.force_encoded_color"),
        ('type: "ImageData" image_data_param { crop_size: 4 }', "image_data_param.crop_size"),
        ('type: "ImageData" transform_param { force_gray: true }', "transform_param.force_gray"),
        (COS.format("") + " transform_param { scale: 2 }", "transform_param"),
        (DATA.format("") + " hdf5_data_param { batch_size: 4 }", "hdf5_data_param"),
    ],
)
def test_what_stock_caffe_ignores_is_said_once(layer, field, said):
    source_of(layer)
    source_of(layer)
    (line,) = said
    assert line.startswith(f"caffeonspark: n.prototxt: layer 'data': {field} does nothing in ")


@pytest.mark.parametrize(
    "layer",
    [
        DATA.format("backend: LMDB prefetch: 9 rand_skip: 0 scale: 1 mirror: false"),
        'type: "ImageData" image_data_param { shuffle: true rand_skip: 1 is_color: false root_folder: "/" }',
        MEMORY.format('share_in_parallel: false channels: 1 height: 2 width: 3 source: "x" image_encoded: true'),
        DATA.format("") + " include { phase: TRAIN } transform_param { force_gray: true mean_value: 1 mirror: true }",
        COS.format('shuffle: true top { name: "x" type: RAW_IMAGE out_height: 4 transform_param { scale: 3 } }'),
    ],
)
def test_what_is_read_says_nothing(layer, said):
    source_of(layer)
    assert not said


# ---- beside stock Caffe


def png(level):
    out = io.BytesIO()
    Image.fromarray(np.full((8, 9), level, np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An LMDB of encoded grey Datums, and a list of images; labels and levels count up."""
    folder = tmp_path_factory.mktemp("places")
    with lmdb.open(str(folder / "db")) as db, db.begin(write=True) as t:
        for number in range(8):
            t.put(b"%04d" % number, Datum(encoded=True, data=png(number), label=number).SerializeToString())
    lines = []
    for number in range(8):
        (folder / f"{number}.png").write_bytes(png(number))
        lines.append(f"{folder}/{number}.png {number}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder


def stock(layer, folder, batches=4):
    """What the layer gives in stock Caffe: the whole blobs of some batches; None where Caffe ends the process."""
    (folder / "net.prototxt").write_text(f'layer {{ name: "data" top: "x" top: "label" {layer} }}')

    def run(send):
        net = caffe.Net(str(folder / "net.prototxt"), caffe.TRAIN)
        for _ in range(batches):
            net.forward()
            send(net.blobs["x"].data.tobytes() + net.blobs["label"].data.tobytes())

    output, _, status = run_in_child(run, 60)
    return None if status else output


def ours(layer, batches=4, size=2):
    storage = Storage()
    source = source_of(layer, config=SourceConfig(Files(storage.read, storage.exists), storage))
    source.open()
    records = list(source.reader().read(0, source.count(), 1, None))
    out = b""
    for batch in range(batches):
        chosen = [(batch * size + k) % source.count() for k in range(size)]
        for number, top in enumerate(source.tops):
            column = [entry for one in records for entry in one.columns[number]]
            blob = np.zeros((size, *top.shape), np.float32)
            picked = [column[k] for k in chosen]
            top.fill(picked if top.fixed is None else np.array(picked), blob, np.zeros((size, 3)))
            out += blob.tobytes()
    return out


LAYERS = {
    "plain": 'type: "Data" data_param {{ source: "{0}/db" backend: LMDB batch_size: 2 }}',
    "prefetch": 'type: "Data" data_param {{ source: "{0}/db" backend: LMDB batch_size: 2 prefetch: 7 }}',
    "rand_skip": 'type: "Data" data_param {{ source: "{0}/db" backend: LMDB batch_size: 2 rand_skip: 5 }}',
    "colour": 'type: "Data" data_param {{ source: "{0}/db" backend: LMDB batch_size: 2 force_encoded_color: true }}',
    "list": 'type: "ImageData" image_data_param {{ source: "{0}/list.txt" batch_size: 2 }}',
    "list_grey": 'type: "ImageData" image_data_param {{ source: "{0}/list.txt" batch_size: 2 is_color: false }}',
    "list_skip": 'type: "ImageData" image_data_param {{ source: "{0}/list.txt" batch_size: 2 rand_skip: 1 }}',
    "list_forced": 'type: "ImageData" image_data_param {{ source: "{0}/list.txt" batch_size: 2 }} '
    "transform_param {{ force_gray: true }}",
    "list_size": 'type: "ImageData" image_data_param {{ source: "{0}/list.txt" batch_size: 2 '
    "new_height: 4 new_width: 5 }}",
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_stock_caffe_does_with_it(places, tmp_path, name):
    layer = LAYERS[name].format(places)
    theirs = stock(layer, tmp_path)
    assert theirs and ours(layer) == theirs


def test_both_colour_and_grey_are_refused_where_stock_caffe_refuses(places, tmp_path):
    layer = LAYERS["plain"].format(places) + " transform_param { force_color: true force_gray: true }"
    assert stock(layer, tmp_path) is None
    with pytest.raises(ConfigError, match="force_color or force_gray, not both"):
        ours(layer)


def test_the_loss_weight_of_a_data_layer_goes_to_its_blobs(places):
    net = Net(
        parse_net(
            b'layer { name: "data" type: "Data" top: "x" top: "y" loss_weight: 0 loss_weight: 2 '
            b"data_param { batch_size: 4 } }",
            "n.prototxt",
        ),
        "n.prototxt",
        TRAIN,
    )
    inputs = net.with_inputs([[("x", (4, 3)), ("y", (4,))]]).layer
    assert [list(layer.loss_weight) for layer in inputs] == [[0], [2]]


def test_rand_skip_begins_later_and_goes_round(places, tmp_path):
    layer = LAYERS["list_skip"].format(places).replace("rand_skip: 1", "rand_skip: 6")

    def labels(output):
        blob = 3 * 8 * 9 * 2
        return [x for k in range(4) for x in np.frombuffer(output, np.float32)[k * (blob + 2) :][blob : blob + 2]]

    for found in (labels(stock(layer, tmp_path)), labels(ours(layer))):
        assert found[0] < 6
        assert found == [(found[0] + k) % 8 for k in range(8)]
    assert ours(layer) == ours(layer)
