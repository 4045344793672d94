"""Datums that hold what they rarely do, next to stock Caffe's Data layer; and what is said of those that do not fit."""

import lmdb
import numpy as np
import pytest

from caffeonspark import Config, NetSource
from caffeonspark.data.records import BadRecord, BadRecords
from caffeonspark.data.sources.datums import datum_array, holds_floats
from caffeonspark.data.sources.images import image_entry
from caffeonspark.data.tops import NumberTop
from caffeonspark.nets.net import TEST
from caffeonspark.nets.schema import Datum
from tests.support import stock

BYTES = {"data": bytes(range(1, 13))}
FLOATS = {"float_data": [n / 8 for n in range(12)]}


def stock_values(path):
    net = stock.caffe.Net(str(path), stock.caffe.TEST)
    net.forward()
    return net.blobs["data"].data.copy()


def values(folder):
    (folder / "solver.prototxt").write_text('net: "net.prototxt" test_iter: 1 test_interval: 1 max_iter: 1')
    config = Config(None, conf=str(folder / "solver.prototxt"))
    (layer,) = NetSource(config, config.run_config.net(TEST)).plan.layers
    (records,) = layer.reader.read(0, 2, 1, BadRecords(layer.description, layer.bad))
    (top,) = layer.tops
    out = np.zeros((2, *top.shape), np.float32)
    top.fill(records.columns[0], out, np.zeros((2, 3)))
    return out


@pytest.mark.parametrize("transform", ["", "scale: 0.5 mean_value: 3", "crop_size: 2"])
@pytest.mark.parametrize("content", [BYTES, FLOATS, {**BYTES, **FLOATS}], ids=["bytes", "floats", "both"])
def test_what_caffe_reads(content, transform, tmp_path):
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as env, env.begin(write=True) as entries:
        for number in range(2):
            datum = Datum(channels=2, height=2, width=3, label=number, **content)
            entries.put(b"%d" % number, datum.SerializeToString())
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'layer {{ name: "d" type: "Data" top: "data" transform_param {{ {transform} }} '
        f'data_param {{ source: "{tmp_path}/db" backend: LMDB batch_size: 2 }} }}'
    )
    np.testing.assert_array_equal(values(tmp_path), stock_values(path))


def test_floats_count_where_there_are_no_bytes():
    size = {"channels": 2, "height": 2, "width": 3}
    assert [holds_floats(Datum(**one)) for one in (BYTES, FLOATS, {**BYTES, **FLOATS}, {})] == [
        False,
        True,
        False,
        False,
    ]
    assert datum_array(Datum(**size, **BYTES, **FLOATS), "r").dtype == np.uint8
    with pytest.raises(BadRecord, match="says 2x2x3 and holds 0 values"):
        datum_array(Datum(**size), "r")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((2, 2, 4), np.uint8), r"2x2x4 uint8 where the layer has 2x2x3 uint8; -resize would resize it$"),
        (np.zeros((1, 2, 3), np.uint8), r"1x2x3 uint8 where the layer has 2x2x3 uint8: all records have to be alike$"),
        (np.zeros((2, 2, 3), np.float32), r"2x2x3 float32 where the layer has .* uint8: all records have to be alike$"),
    ],
)
def test_resizing_is_named_where_it_helps(image, said):
    with pytest.raises(BadRecord, match=said):
        image_entry(NumberTop("data", (2, 2, 3), dtype="uint8"), "r", image, b"")
