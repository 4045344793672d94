"""Bad input that only rank 3 of 4 has, the last it comes to: the same one line as anywhere, soon, and no model."""

import io
import json
import os
import re
import threading
import time

import lmdb
import numpy as np
import pytest
from PIL import Image

from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.errors import CaffeOnSparkError
from tests.support import processes, stock
from tests.support.data_files import write_lmdb
from tests.support.prototxts import PHASES, SCALE

RANKS, COUNT = 4, 400  # the last hundred are rank 3's, in batches of 8
LAST = f"r{COUNT - 1}"
ROUND = -(-(COUNT // RANKS) // 8) - 1  # the iteration that comes to the last of them, from 0
ITERATIONS = 40
SOLVER = (
    'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 1 '
    f"max_iter: {ITERATIONS} snapshot: 4 display: 1 test_interval: 0\n"
)


def png(image):
    out = io.BytesIO()
    Image.fromarray(image[0]).save(out, "PNG")
    return bytearray(out.getvalue())


def config_for(spark, folder, layer, bottom="data"):
    (folder / "net.prototxt").write_text(layer + stock.LAYERS.replace('bottom: "data"', f'bottom: "{bottom}"'))
    (folder / "solver.prototxt").write_text(SOLVER)
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", clusterSize=RANKS)


def cos_layer(kind, label="INT", transform=""):
    return (
        f'layer {{ name: "data" type: "CoSData" top: "data" top: "label" {PHASES} source_class: "DataFrameSource" '
        f'cos_data_param {{ batch_size: 8 top {{ name: "data" type: {kind} channels: 1 height: 12 width: 12 '
        f"{transform} }} "
        f'top {{ name: "label" type: {label} sample_num_axes: 0 }} }} }}'
    )


def fails(config, source, folder, pattern):
    """Training ends with one line within 30 s, leaves no model, and tells which iterations came before."""
    start = time.monotonic()
    with pytest.raises(CaffeOnSparkError) as raised:
        CaffeOnSpark(config.spark()).train(source)
    seconds = time.monotonic() - start
    message = raised.value.message
    print(f"{seconds:.1f} s: {message}")
    assert re.search(pattern, message), message
    assert not re.search(r"\n|Traceback|\*\*\* ", message), message
    assert not raised.value.retryable
    assert seconds < 30
    assert not (folder / "m.caffemodel").exists()
    with open(folder / "m.metrics.jsonl") as file:
        return [record["iteration"] for record in map(json.loads, file) if record["event"] == "iteration"]


def with_last(values, last):
    return [*values[: COUNT - 1], last]


ROWS = {
    "wrong-length array": (
        "data array<double>, label int",
        cos_layer("FLOAT_ARRAY"),
        lambda image: image.reshape(-1).astype(float).tolist(),
        lambda entry, label: (entry[:-1], label),
        f"rank 3.*record '{LAST}': column 'data' has 143 values; top 'data' takes 144",
    ),
    "value that is not finite": (
        "data array<double>, label int",
        cos_layer("FLOAT_ARRAY"),
        lambda image: image.reshape(-1).astype(float).tolist(),
        lambda entry, label: ([*entry[:-1], float("nan")], label),
        f"rank 3.*record '{LAST}': .*finite",
    ),
    "null": (
        "data binary, label int",
        cos_layer("RAW_IMAGE"),
        lambda image: bytearray(image.tobytes()),
        lambda entry, label: (None, label),
        f"rank 3.*record '{LAST}': .*null",
    ),
    "label that is no number": (
        "data binary, label string",
        cos_layer("RAW_IMAGE", "STRING"),
        lambda image: bytearray(image.tobytes()),
        lambda entry, label: (entry, "cat"),
        f"rank 3.*record '{LAST}': column 'label' is 'cat', no number",
    ),
    "label out of range": (
        "data binary, label int",
        cos_layer("RAW_IMAGE"),
        lambda image: bytearray(image.tobytes()),
        lambda entry, label: (entry, 10),
        f"rank 3.*record '{LAST}': .*label.*10",
    ),
}


@pytest.mark.parametrize("what", ROWS)
def test_rows(spark, tmp_path, small_images, what):
    columns, layer, entry, spoil, pattern = ROWS[what]
    kind = str if "label string" in columns else int
    rows = [(f"r{n}", entry(image), kind(label)) for n, (image, label) in enumerate(zip(*small_images))][:COUNT]
    name, last, label = rows[-1]
    rows[-1] = (name, *spoil(last, label))
    frame = spark.createDataFrame(rows, f"id string, {columns}")
    config = config_for(spark, tmp_path, layer)
    fails(config, DataSource(spark).getSource(config, True, frame), tmp_path, pattern)


@pytest.mark.long
def test_undecodable_image_in_the_middle_of_training(spark, tmp_path, small_images):
    rows = [(f"r{n}", png(image), int(label)) for n, (image, label) in enumerate(zip(*small_images))][:COUNT]
    rows[-1] = (LAST, rows[-1][1][:60], rows[-1][2])
    frame = spark.createDataFrame(rows, "id string, data binary, label int")
    config = config_for(spark, tmp_path, cos_layer("ENCODED_IMAGE", transform=SCALE))
    done = fails(
        config,
        DataSource(spark).getSource(config, True, frame),
        tmp_path,
        f"rank 3.*record '{LAST}': the image cannot be decoded",
    )
    assert done and ROUND - 2 <= max(done) < ROUND


def test_corrupt_datum(spark, tmp_path, small_images):
    write_lmdb(tmp_path / "lmdb", small_images[0][:COUNT], small_images[1][:COUNT])
    with lmdb.open(str(tmp_path / "lmdb")) as env, env.begin(write=True) as transaction:
        transaction.put(b"%08d" % (COUNT - 1), b"\xff\xff not a datum")
    config = config_for(spark, tmp_path, stock.lmdb_net(tmp_path / "lmdb", 8, layers=""))
    pattern = f"rank 3.*record '{COUNT - 1:08d}': the value is not a Datum"
    fails(config, DataSource(spark).getSource(config, True), tmp_path, pattern)


def test_loss_becomes_nan_in_the_middle_of_training(spark, tmp_path, small_images):
    """Of the last batch of rank 3, which holds a value that is finite and too large for the net."""
    images = [image.reshape(-1).astype(np.float64) / 256 for image in small_images[0][:COUNT]]
    images[-1] = images[-1] * 1e38
    rows = [(f"r{n}", image.tolist(), int(label)) for n, (image, label) in enumerate(zip(images, small_images[1]))]
    frame = spark.createDataFrame(rows, "id string, data array<double>, label int")
    config = config_for(spark, tmp_path, cos_layer("FLOAT_ARRAY"))
    pattern = rf"the loss became (nan|inf) at iteration ({ROUND}|{ROUND + 1})\b"
    done = fails(config, DataSource(spark).getSource(config, True, frame), tmp_path, pattern)
    assert done and max(done) >= ROUND - 2


HEAVY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 1024 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 1024 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
"""


def test_ranks_in_the_middle_of_a_pass_are_released_soon(spark, tmp_path, small_images):
    """Rank 3 cannot decode its last image; the others are in layers that take seconds by then."""
    rows = [(f"r{n:02d}", png(image), int(label)) for n, (image, label) in enumerate(zip(*small_images))][: RANKS * 8]
    rows[-1] = ("last", rows[-1][1][:60], rows[-1][2])
    frame = spark.createDataFrame(rows, "id string, data binary, label int")
    config = config_for(spark, tmp_path, cos_layer("ENCODED_IMAGE", transform=SCALE) + HEAVY, bottom="conv2")
    seen = {}  # rank's process: when it was last there
    over = threading.Event()

    def look():
        while not over.wait(0.02):
            here = processes.ranks(os.getpid())
            seen.update(dict.fromkeys(here, time.monotonic()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        fails(config, DataSource(spark).getSource(config, True, frame), tmp_path, "rank 3.*record 'last': the image")
    finally:
        over.set()
        looking.join()
    gone = sorted(seen.values())
    assert len(gone) == RANKS
    assert 0.5 < gone[-1] - gone[0] < 4  # they were at work, and stopped: within two seconds, where the machine is idle
