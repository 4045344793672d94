"""Ranks without Spark compute what ranks on Spark compute, to the bit."""

import subprocess
import sys

import pytest

from caffeonspark import CaffeOnSpark, Config, DataSource
from tests.support import stock
from tests.support.local_command import model, run, write_job
from tests.support.paths import ROOT

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's digits and net, with fewer iterations."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "data" / "make_digits.py"), "--to", str(folder), "--overwrite"]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("solver", "train_test"):
        text = (ROOT / "prototxt" / f"digits_lenet_{name}.prototxt").read_text()
        text = (
            text.replace("../data/", "")
            .replace("max_iter: 1000", "max_iter: 60")
            .replace("interval: 100", "interval: 20")
        )
        (folder / f"digits_lenet_{name}.prototxt").write_text(text.replace("snapshot: 500", "snapshot: 30"))
    return folder


def train_on_spark(spark, conf, folder, ranks):
    folder.mkdir()
    config = Config(spark, conf=str(conf), model=f"file:{folder}/model.caffemodel", clusterSize=ranks, quiet=True)
    data, cos = DataSource(spark), CaffeOnSpark(spark)
    cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    return cos.result


@pytest.mark.long
def test_four_ranks_are_four_executors_to_the_bit(spark, demo, tmp_path):
    conf = demo / "digits_lenet_solver.prototxt"
    result = train_on_spark(spark, conf, tmp_path / "spark", 4)
    folder = tmp_path / "local"
    folder.mkdir()
    done = run("local", "-np", "4", "-train", "-conf", str(conf), "-model", f"file:{folder}/model.caffemodel")
    assert model(folder) == model(tmp_path / "spark")
    for name in ("digits_lenet_iter_30.solverstate", "digits_lenet_iter_30.caffemodel"):
        mine, theirs = ((tmp_path / where / name).read_bytes() for where in ("local", "spark"))
        assert len(mine) == len(theirs)
    for test in result.tests:
        assert (
            f"iteration {test.iteration}: test on {test.rows} rows: accuracy {test.outputs['accuracy'][0]:.4f}"
            in done.stderr
        )


@pytest.mark.long
def test_rows_in_parquet_are_spread_as_on_spark(spark, tmp_path, small_images):
    """Three ranks, so that shares are uneven, of rows in several files."""
    images, labels = small_images
    rows = [(bytearray(image.tobytes()), int(label)) for image, label in zip(images[:100], labels[:100])]
    spark.createDataFrame(rows, "data binary, label int").repartition(3).write.parquet(f"file:{tmp_path}/rows")
    net = (
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "ImageDataFrame" '
        f"transform_param {{ scale: {stock.SCALE} }} "
        f'memory_data_param {{ source: "{tmp_path}/rows" batch_size: 7 channels: 1 height: 12 width: 12 }} }}\n'
        + stock.LAYERS
    )
    folder = tmp_path / "local"
    folder.mkdir()
    run("local", "-np", "3", *write_job(folder, None, "max_iter: 30", net=net))
    train_on_spark(spark, folder / "solver.prototxt", tmp_path / "spark", 3)
    assert model(folder) == model(tmp_path / "spark")
