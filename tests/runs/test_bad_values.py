"""Values that stock Caffe would read outside its memory by, or compute garbage of, in training, validation and test."""

import h5py
import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, DataError, DataSource
from tests.support import stock
from tests.support.data_files import encode, png_claiming
from tests.support.prototxts import PHASES, SOLVER

NET = (
    f'layer {{ name: "d" type: "HDF5Data" top: "x" top: "y" {PHASES} '
    'hdf5_data_param { source: "list.txt" batch_size: 8 } }\n'
    'layer { name: "cut" type: "Slice" bottom: "y" top: "kind" top: "id" }\n'
    'layer { name: "row" type: "Embed" bottom: "id" top: "row" embed_param { input_dim: 5 num_output: 3 '
    'weight_filler { type: "xavier" } } }\n'
    'layer { name: "flat" type: "Flatten" bottom: "row" top: "flat" }\n'
    'layer { name: "both" type: "Concat" bottom: "x" bottom: "flat" top: "both" }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "both" top: "ip" inner_product_param { num_output: 4 '
    'weight_filler { type: "xavier" } } }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "kind" top: "loss" }\n'
)
BROKEN = {5: ("x", np.nan), 17: ("kind", 4), 30: ("id", 5000), 41: ("id", -1), 42: ("x", np.inf)}


def data(count):
    rng = np.random.default_rng(0)
    return rng.random((count, 3)), np.stack([rng.integers(0, 4, count), rng.integers(0, 5, count)], 1).astype(float)


def config_for(spark, folder, x, y, net=NET, **flags):
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "a.h5", "w") as f:
        f["x"], f["y"] = x, y
    (folder / "list.txt").write_text(f"{folder}/a.h5\n")
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER.format(iterations=10) + " test_interval: 5 test_iter: 3")
    model = f"file:{folder}/m.caffemodel"
    return Config(spark, conf=str(folder / "solver.prototxt"), model=model, quiet=True, badRecordsMax=0.2, **flags)


def test_they_are_named_or_skipped(spark, tmp_path):
    x, y = data(64)
    good = [number for number in range(64) if number not in BROKEN]
    clean = config_for(spark, tmp_path / "clean", x[good], y[good])
    for number, (what, value) in BROKEN.items():
        if what == "x":
            x[number, 1] = value
        else:
            y[number, int(what == "id")] = value
    config = config_for(spark, tmp_path / "broken", x, y)
    cos, sources = CaffeOnSpark(spark), DataSource(spark)
    with pytest.raises(DataError, match=r"a\.h5|list\.txt: record '5': top 'x' holds nan \(value 2 of 3\)"):
        cos.train(sources.getSource(config, True))
    cos.train(sources.getSource(clean, True))
    config.badRecords = "skip"
    test = sources.getSource(config, False)
    curve = cos.trainWithValidation(sources.getSource(config, True), test).collect()
    assert cos.result.rows == 59
    assert [row.rows for row in curve] == [22, 21, 23]  # 3 batches of 8 each, without those that are skipped
    (folder, other) = (tmp_path / "clean", tmp_path / "broken")
    weights = [
        stock.caffe.proto.caffe_pb2.NetParameter.FromString((f / "m.caffemodel").read_bytes()) for f in (folder, other)
    ]
    for mine, theirs in zip(*(message.layer for message in weights)):
        for a, b in zip(mine.blobs, theirs.blobs):
            np.testing.assert_array_equal(a.data, b.data)
    assert np.isfinite(cos.test(test)["loss"]).all()
    config.features = "ip"
    assert cos.features(test).count() == 60  # without the loss, any label will do
    config.badRecords = "fail"
    with pytest.raises(DataError, match=r"record '5': top 'x' holds nan"):
        cos.test(sources.getSource(config, False))


def test_what_arrives_is_checked_where_it_cannot_be_followed(spark, tmp_path):
    x, y = data(64)
    y[30, 1] = 5000
    between = 'layer { name: "p" type: "Power" bottom: "id" top: "p" }\n'
    net = NET.replace('layer { name: "row"', between + 'layer { name: "row"').replace(
        '"Embed" bottom: "id"', '"Embed" bottom: "p"'
    )
    config = config_for(spark, tmp_path / "a", x, y, net, badRecords="skip", clusterSize=2)
    cos, sources = CaffeOnSpark(spark), DataSource(spark)
    match = r"rank 0 of 2.* bottom 'p' holds 5000 \(value 7 of the batch's 8\); layer 'row' takes 0 to 4"
    with pytest.raises(DataError, match=match):
        cos.train(sources.getSource(config, True))
    y[30, 1] = 0
    cos.train(sources.getSource(config_for(spark, tmp_path / "a", x, y, net), True))
    y[30, 1] = 5000
    config = config_for(spark, tmp_path / "a", x, y, net)
    with pytest.raises(DataError, match=r"bottom 'p' holds 5000"):
        cos.test(sources.getSource(config, False))


def test_the_first_row_may_be_a_bomb(spark, tmp_path, small_images):
    rows = [("bomb", bytearray(png_claiming(40_000, 40_000)), 0), ("none", None, 1)]
    for number, (image, label) in enumerate(zip(*small_images)):
        rows.append((f"r{number}", bytearray(encode(image)), int(label)))
    frame = spark.createDataFrame(rows[:60], "id string, data binary, label int").coalesce(1)
    layer = (
        f'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" {PHASES} source_class: '
        '"com.yahoo.ml.caffe.ImageDataFrame" memory_data_param { batch_size: 16 channels: 1 height: 12 width: 12 '
        "image_encoded: true dataframe_format: 'parquet' } }\n"
    )
    (tmp_path / "net.prototxt").write_text(layer + stock.LAYERS)
    (tmp_path / "solver.prototxt").write_text(SOLVER.format(iterations=4))
    model = f"file:{tmp_path}/m.caffemodel"
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), model=model, quiet=True, badRecordsMax=0.1)
    cos, sources = CaffeOnSpark(spark), DataSource(spark)
    with pytest.raises(DataError, match=r"record 'bomb': .* header says 40000x40000, which is more than -maxPixels"):
        cos.train(sources.getSource(config, True, frame))
    config.badRecords = "skip"
    cos.train(sources.getSource(config, True, frame))
    assert cos.result.rows == 58
    config.features = "ip2"
    found = cos.features(sources.getSource(config, False, frame)).collect()
    assert sorted(row.SampleID for row in found) == sorted(row[0] for row in rows[2:60])
