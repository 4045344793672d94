"""Records that cannot be used are skipped with their labels, counted, and too many of them stop the job."""

import io
import os
import signal

import numpy as np
import pytest
from PIL import Image

from caffeonspark import (
    ENCODED,
    BadRecord,
    BadRecords,
    CaffeEstimator,
    CaffeOnSpark,
    Config,
    DataError,
    DataSource,
    ImageTop,
    NumberTop,
    Records,
    pack_image,
)
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.pool import PooledBatches, drop_bad_images
from caffeonspark.data.records import BadRecordPolicy
from caffeonspark.data.store import RecordStore
from caffeonspark.data.transform import Transform
from caffeonspark.errors import InfrastructureError
from tests.support import stock
from tests.support.data_files import encode, write_lmdb
from tests.support.prototxts import PHASES, SCALE, SOLVER


def layer_text(kind="ENCODED_IMAGE", transform=SCALE):
    return (
        f'layer {{ name: "data" type: "CoSData" top: "data" top: "label" {PHASES} source_class: "DataFrameSource" '
        f'cos_data_param {{ batch_size: 16 top {{ name: "data" type: {kind} channels: 1 height: 12 width: 12 '
        f'{transform} }} top {{ name: "label" type: STRING sample_num_axes: 0 }} }} }}'
    )


def config_for(spark, folder, layer, layers=stock.LAYERS, iterations=12, **flags):
    (folder / "net.prototxt").write_text(layer + layers)
    (folder / "solver.prototxt").write_text(SOLVER.format(iterations=iterations))
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", quiet=True, **flags)


def rows_with_trouble(images, labels):
    """Rows of encoded images; every 40th cannot be used, each for another reason. (rows, good places)"""
    rows, good = [], []
    jpeg = encode(images[0], "JPEG")
    colour = io.BytesIO()
    Image.new("RGB", (9, 12)).save(colour, "PNG")
    trouble = [
        (b"", "1"),
        (None, "1"),
        (b"no image", "1"),
        (jpeg[: len(jpeg) // 2], "1"),
        (colour.getvalue(), "1"),
        (encode(images[0]), "dog"),
        (encode(images[0]), None),
        (encode(images[0]), "nan"),
        (encode(images[0]), "10"),
        (encode(images[0]), "-1"),
    ]
    for number, (image, label) in enumerate(zip(images, labels)):
        if number % 40 == 7 and trouble:
            rows.append((f"r{number}", *trouble.pop()))
        else:
            good.append(number)
            rows.append((f"r{number}", encode(image), str(label)))
    return [(a, None if b is None else bytearray(b), c) for a, b, c in rows], good


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.long
def test_training_skips_them_and_nothing_else(spark, tmp_path, small_images, ranks, capfd):
    images, labels = small_images
    rows, good = rows_with_trouble(images, labels)
    schema = "id string, data binary, label string"
    frame = spark.createDataFrame(rows, schema)
    clean = spark.createDataFrame([rows[number] for number in good], schema)
    config = config_for(spark, tmp_path, layer_text(), clusterSize=ranks, badRecords="skip", badRecordsMax=0.05)
    config.quiet = False
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    cos.train(data.getSource(config, True, frame))
    mine = stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(16))
    said = capfd.readouterr().err
    assert "skipped 10 of 600 records" in said
    for cause in ("3 undecodable image", "2 null value", "1 not a number", "1 not finite", "2 label out of range"):
        assert cause in said
    if ranks == 1:  # with more, other records would be at the ranks' borders
        cos.train(data.getSource(config, True, clean))
        for a, b in zip(mine, stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(16))):
            np.testing.assert_array_equal(a, b)

    config.features = "label,data"
    found = {row.SampleID: row.label[0] for row in cos.features(data.getSource(config, False, frame)).collect()}
    # without a loss in the pruned net, a label that is a number is as good as any
    expected = {f"r{number}": float(labels[number]) for number in good}
    outside = {name: value for name, value in found.items() if name not in expected}
    assert sorted(outside.values()) == [-1, 10]
    assert {name: value for name, value in found.items() if name in expected} == expected
    means = cos.test(data.getSource(config, False, frame))
    assert "skipped 10 of 600 records" in capfd.readouterr().err
    again = cos.test(data.getSource(config, False, clean))
    assert means["accuracy"] == pytest.approx(again["accuracy"], abs=1e-6)

    for run in (cos.train, cos.test):
        config.badRecordsMax = 0.01
        with pytest.raises(DataError, match=r"skipped 10 of 600 records.*more than -badRecordsMax 0\.01 allows"):
            run(data.getSource(config, run == cos.train, frame))
    config.badRecords = "fail"
    with pytest.raises(DataError, match="record 'r"):
        cos.train(data.getSource(config, True, frame))


def test_a_model_gives_null_for_rows_it_skips(spark, tmp_path, small_images):
    images, labels = small_images
    rows, good = rows_with_trouble(images, labels)
    frame = spark.createDataFrame(rows, "id string, data binary, label string")
    clean = frame.filter(frame.id.isin([f"r{number}" for number in good]))
    config_for(spark, tmp_path, layer_text(), iterations=2)
    conf = str(tmp_path / "solver.prototxt")
    model = CaffeEstimator(conf=conf, quiet=True, badRecords="skip", badRecordsMax=0.1).fit(clean)
    found = {row.id: row.ip2 for row in model.transform(frame).collect()}
    assert len(found) == 600
    empty = {name for name, value in found.items() if value is None}
    assert empty <= {f"r{number}" for number in range(600) if number not in good}
    assert len(empty) == 5
    direct = {row.id: row.ip2 for row in model.transform(clean).collect()}
    for name, value in direct.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_layers_that_belong_together_skip_together(spark, tmp_path, small_images):
    """Images and labels in LMDBs of their own: a damaged image takes its label with it."""
    images, labels = small_images
    write_lmdb(tmp_path / "labels", labels.reshape(-1, 1, 1, 1).astype(np.uint8), np.zeros(len(labels)))
    good = [n for n in range(600) if n not in (13, 300, 599)]

    def write(name, chosen, damage):
        def encoded(image):
            number = damaged.pop(0)
            return encode(image)[:50] if number in damage else encode(image)

        damaged = list(chosen)
        write_lmdb(tmp_path / name, images[chosen], np.zeros(len(chosen)), encoded=encoded)

    write("images", list(range(600)), {13, 300, 599})
    write("good", good, set())
    write_lmdb(tmp_path / "good_labels", labels[good].reshape(-1, 1, 1, 1).astype(np.uint8), np.zeros(len(good)))
    models = []
    for pictures, classes in (("images", "labels"), ("good", "good_labels")):
        layer = "".join(
            f'layer {{ name: "{top}s" type: "Data" top: "{top}" {PHASES} {SCALE if top == "data" else ""} '
            f'data_param {{ source: "{tmp_path}/{name}" batch_size: 16 backend: LMDB }} }}\n'
            for top, name in (("data", pictures), ("label", classes))
        )
        flat = 'layer { name: "flat" type: "Flatten" bottom: "label" top: "flat" flatten_param { axis: 0 } }\n'
        layers = flat + stock.LAYERS.replace('bottom: "label"', 'bottom: "flat"')
        config = config_for(spark, tmp_path, layer, layers, badRecords="skip", features="flat,data")
        cos, data = CaffeOnSpark(spark), DataSource(spark)
        cos.train(data.getSource(config, True))
        models.append(stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(16)))
        rows = cos.features(data.getSource(config, False)).collect()
        found = {row.SampleID: (row.flat[0], np.array(row.data)) for row in rows}
        assert len(found) == 597
        for position, number in enumerate(good):
            label, pixels = found[f"{number:08d}" if pictures == "images" else f"{position:08d}"]
            assert label == labels[number]
            np.testing.assert_allclose(pixels, images[number].reshape(-1) * stock.SCALE)
    for a, b in zip(*models):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ranks", [1, 2])
def test_decoders_do_not_change_the_batches(spark, tmp_path, small_images, ranks):
    """With random crops, mirrors, shuffling and iter_size."""
    images, labels = small_images
    rows = [(f"r{n}", bytearray(encode(image)), str(label)) for n, (image, label) in enumerate(zip(images, labels))]
    frame = spark.createDataFrame(rows, "id string, data binary, label string")
    transform = f"transform_param {{ scale: {stock.SCALE} crop_size: 9 mirror: true }} out_height: 9 out_width: 9"
    models = []
    for decoders in (0, 1, 3):
        config = config_for(
            spark, tmp_path, layer_text(transform=transform), clusterSize=ranks, decoders=decoders, shuffle=True
        )
        text = (tmp_path / "solver.prototxt").read_text()
        (tmp_path / "solver.prototxt").write_text(text + " iter_size: 2")
        config.conf = config.conf
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True, frame))
        models.append(stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(16, (1, 9, 9))))
    for other in models[1:]:
        for a, b in zip(models[0], other):
            np.testing.assert_array_equal(a, b)


# ---- the pool by itself


def image_store(folder, entries):
    tops = [ImageTop("data", (1, 6, 6), transform=Transform(crop=6, train=True, mirror=True)), NumberTop("label", ())]
    store = RecordStore(tops, str(folder))
    count = len(entries)
    store.append(
        Records([str(n) for n in range(count)], [entries, np.arange(count, dtype=np.float32)], np.arange(count))
    )
    store.finish()
    return store


def good_entries(count):
    rng = np.random.default_rng(0)
    return [
        pack_image(ENCODED, (0, 0, 0), encode(rng.integers(0, 256, (1, 8, 8)).astype(np.uint8))) for _ in range(count)
    ]


def blobs_for(size):
    return [np.empty((size, 1, 6, 6), np.float32), np.empty(size, np.float32)]


def test_pool_makes_the_same_batches_from_any_start(tmp_path):
    store = image_store(tmp_path, good_entries(11))
    plain = Batches(store, 4, BatchRandom(5, 0, 0), shuffle=True, name="test")
    expected = []
    for _ in range(12):
        blobs = blobs_for(4)
        plain.load(blobs)
        expected.append(blobs)
    for start in (0, 3):
        pool = PooledBatches(Batches(store, 4, BatchRandom(5, 0, 0), shuffle=True, name="test"), 2)
        pool.used = start
        for number in range(start, 12):
            blobs = blobs_for(4)
            pool.load(blobs)
            for mine, theirs in zip(blobs, expected[number]):
                np.testing.assert_array_equal(mine, theirs)
        children = [helper._child for helper in pool._helpers]
        pool.close()
        for child in children:
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)


def test_pool_passes_errors_on_and_notices_a_dead_helper(tmp_path):
    entries = good_entries(8)
    entries[6] = entries[6][:40]
    store = image_store(tmp_path, entries)
    pool = PooledBatches(Batches(store, 4, BatchRandom(5, 0, 0), shuffle=False, name="the source"), 2)
    pool.load(blobs_for(4))
    with pytest.raises(DataError, match="the source: record '6': the image cannot be decoded"):
        pool.load(blobs_for(4))
    pool.close()
    pool = PooledBatches(Batches(store, 4, BatchRandom(5, 0, 0), shuffle=False, name="the source"), 1)
    os.kill(pool._helpers[0]._child, signal.SIGKILL)
    with pytest.raises(InfrastructureError, match="a decoder process ended"):
        pool.load(blobs_for(4))
    pool.close()


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_bad_images_are_found_before_training(tmp_path, helpers):
    entries = good_entries(10)
    entries[2], entries[9] = pack_image(ENCODED, (0, 0, 0), b""), entries[9][:30]
    store = image_store(tmp_path, entries)
    bad = BadRecords("the source", BadRecordPolicy(skip=True, maximum=0.5))
    drop_bad_images(store, bad, helpers)
    assert bad.counts == {"undecodable image": 2}
    assert [int(v) for v in store.read(np.arange(8))[1]] == [0, 1, 3, 4, 5, 6, 7, 8]
    assert "'2'" in bad.examples[0]
    bad.check(len(store))
    with pytest.raises(DataError):
        BadRecords("x").report(BadRecord("7", "cause", "detail"))
