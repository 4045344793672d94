"""The tools: what goes through them comes out the same, and equals what Caffe's own tools write."""

import gzip
import io
import os
import shutil
import subprocess

import lmdb
import numpy as np
import pytest
from PIL import Image

from caffeonspark import CaffeOnSpark, CaffeOnSparkError, Config, ConfigError, DataError, DataSource, run_tool
from caffeonspark.nets.schema import BlobProto, Datum
from caffeonspark.tools.rows import read_label_file
from tests.support import stock
from tests.support.data_files import cifar_tarball, entries, idx, write_leveldb, write_lmdb


@pytest.fixture
def run(spark, capfd):
    """run(tool, flags…): what it printed on standard output and error."""

    def run(name, **flags):
        capfd.readouterr()
        run_tool(name, Config(spark), flags)
        return capfd.readouterr()

    return run


def test_the_lines_of_a_label_file(tmp_path):
    """End where they do for everybody else, and have labels that everybody reads."""
    (tmp_path / "labels.txt").write_bytes("a\u2028b c.png 3\r\nd\x1ce.png -1".encode())
    assert read_label_file(Config(None), str(tmp_path / "labels.txt"), 2) == [
        ["a\u2028b c.png", "3"],
        ["d\x1ce.png", "-1"],
    ]
    (tmp_path / "labels.txt").write_text("a.png \u0663\n")
    with pytest.raises(ConfigError, match=r"labels\.txt:1: a line is 'filename label', the label a whole number"):
        read_label_file(Config(None), str(tmp_path / "labels.txt"), 2)


def png(pixels):
    """(height, width, 3) RGB as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def datums(path):
    return [(key.decode(), Datum.FromString(value)) for key, value in entries(path)]


def pictures(count, seed=0, shape=(3, 9, 7)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["raw", "encoded", "float"])
def test_an_lmdb_goes_through_a_dataframe_and_back(run, spark, tmp_path, kind):
    images, labels = pictures(50), np.arange(50) % 7
    options = {
        "raw": {},
        "encoded": {"encoded": lambda image: png(image.transpose(1, 2, 0))},
        "float": {"floats": True},
    }
    source = images / np.float32(7) if kind == "float" else images
    write_lmdb(tmp_path / "lmdb", source, labels, **options[kind])
    run("LMDB2DataFrame", imageRoot=tmp_path / "lmdb", output=tmp_path / "frame", lmdb_partitions=3)
    assert len(list((tmp_path / "frame").glob("*.parquet"))) == 3
    frame = spark.read.parquet(str(tmp_path / "frame"))
    last = {"raw": "data", "encoded": "data", "float": "floats"}[kind]
    assert frame.columns == ["id", "label", "channels", "height", "width", "encoded", last]
    run("DataFrame2LMDB", imageRoot=tmp_path / "frame", output=tmp_path / "again")
    assert datums(tmp_path / "again") == datums(tmp_path / "lmdb")
    assert os.listdir(tmp_path / "again") == ["data.mdb"]


def test_a_leveldb_is_read_as_an_lmdb(run, tmp_path):
    write_leveldb(tmp_path / "level", pictures(50), np.arange(50) % 7)
    write_lmdb(tmp_path / "lmdb", pictures(50), np.arange(50) % 7)
    run("LMDB2DataFrame", imageRoot=tmp_path / "level", output=tmp_path / "frame", lmdb_partitions=3)
    run("DataFrame2LMDB", imageRoot=tmp_path / "frame", output=tmp_path / "again")
    assert datums(tmp_path / "again") == datums(tmp_path / "lmdb")
    for kind in ("lmdb", "level"):
        run("ComputeImageMean", input=tmp_path / kind, inputFormat="leveldb", output=tmp_path / f"{kind}.binaryproto")
    assert (tmp_path / "level.binaryproto").read_bytes() == (tmp_path / "lmdb.binaryproto").read_bytes()


@pytest.mark.parametrize("codec", ["none", "default", "snappy"])
@pytest.mark.long
def test_every_form_trains_the_same_net(run, spark, tmp_path, small_images, codec):
    """LMDB, its SequenceFiles and its DataFrame of several files."""
    images, labels = small_images
    write_lmdb(tmp_path / "lmdb", images, labels)
    run("LMDB2Sequence", input=tmp_path / "lmdb", output=f"file:{tmp_path}/sequence", lmdb_partitions=3, codec=codec)
    run("LMDB2DataFrame", input=tmp_path / "lmdb", output=f"file:{tmp_path}/frame", lmdb_partitions=3)
    weights = []
    for source_class, name in (("LMDB", "lmdb"), ("SeqImageDataSource", "sequence"), ("ImageDataFrame", "frame")):
        layer = (
            'layer { name: "data" type: "MemoryData" top: "data" top: "label" '
            f'source_class: "com.yahoo.ml.caffe.{source_class}" transform_param {{ scale: {stock.SCALE} }} '
            f'memory_data_param {{ source: "file:{tmp_path}/{name}" batch_size: 16 '
            "channels: 1 height: 12 width: 12 } }"
        )
        (tmp_path / "net.prototxt").write_text(layer + stock.LAYERS)
        (tmp_path / "solver.prototxt").write_text(
            'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 8'
        )
        conf = str(tmp_path / "solver.prototxt")
        config = Config(spark, conf=conf, model=f"file:{tmp_path}/m.caffemodel", clusterSize=2, quiet=True)
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
        weights.append(stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(16)))
    for other in weights[1:]:
        for mine, theirs in zip(weights[0], other):
            np.testing.assert_array_equal(mine, theirs)


def image_files(folder, names):
    """Image files of these names; what is in them."""
    content = {}
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content[name] = png(pictures(1, number)[0].transpose(1, 2, 0))
        path.write_bytes(content[name])
    return content


NAMES = ["b.png", "a b.png", "sub/c*[1].png", "ä%20.png", "z.png"]


def test_image_files_that_a_list_names(run, spark, tmp_path):
    content = image_files(tmp_path / "images", [*NAMES, "unlisted.png"])
    (tmp_path / "two.txt").write_text(
        "".join(f"{name} {number}\n" for number, name in enumerate(NAMES)) + "b.png 9\n\n"
    )
    (tmp_path / "three.txt").write_text("".join(f"{name} {number} id{number}\n" for number, name in enumerate(NAMES)))
    images = f"file:{tmp_path}/images"
    run("Binary2Sequence", imageRoot=images, labelFile=tmp_path / "two.txt", output=tmp_path / "seq", clusterSize=2)
    layer = (
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "SequenceFile" '
        f'memory_data_param {{ source: "{tmp_path}/seq" batch_size: 4 channels: 3 height: 9 width: 7 }} }}'
    )
    silence = 'layer { name: "s" type: "Silence" bottom: "data" bottom: "label" }'
    (tmp_path / "net.prototxt").write_text(layer + silence)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    source = DataSource(spark).getSource(Config(spark, conf=str(tmp_path / "solver.prototxt")), True)
    rows = source.sources[0].load().collect()
    assert [(row.id, row.label, bytes(row.data)) for row in rows] == [
        (name, label, content[name]) for name, label in zip([*NAMES, "b.png"], "012349")
    ]
    assert {(row.channels, row.height, row.width, row.encoded) for row in rows} == {(0, 0, 0, True)}

    run("Binary2DataFrame", imageRoot=images, labelFile=tmp_path / "three.txt", output=tmp_path / "frame")
    frame = spark.read.parquet(str(tmp_path / "frame"))
    assert dict(frame.dtypes) == {"SampleID": "string", "label": "int", "data": "binary", "encoded": "boolean"}
    assert [(r.SampleID, r.label, bytes(r.data)) for r in frame.collect()] == [
        (f"id{number}", number, content[name]) for number, name in enumerate(NAMES)
    ]


def test_folders_named_for_classes(run, spark, tmp_path):
    names = ["dog/1.png", "cat/x.PNG", "cat/deep/y.png", "emu/3.png"]
    content = image_files(tmp_path / "images", [*names, "stray.png"])
    (tmp_path / "images" / "cat" / "notes.txt").write_text("no image")
    said = run("ImageFolder2DataFrame", imageRoot=tmp_path / "images", output=tmp_path / "frame", outputFormat="json")
    assert said.out == "label 0: cat, 2 images\nlabel 1: dog, 1 images\nlabel 2: emu, 1 images\n"
    rows = spark.read.json(str(tmp_path / "frame")).collect()
    found = [(row["id"], row["label"], row["class"]) for row in rows]
    assert found == [
        ("cat/deep/y.png", 0, "cat"),
        ("cat/x.PNG", 0, "cat"),
        ("dog/1.png", 1, "dog"),
        ("emu/3.png", 2, "emu"),
    ]

    numbered = ["10/a.png", "2/b.png"]
    image_files(tmp_path / "numbers", numbered)
    run("ImageFolder2DataFrame", imageRoot=tmp_path / "numbers", output=tmp_path / "other")
    rows = spark.read.parquet(str(tmp_path / "other")).collect()
    assert sorted((row["label"], row["class"]) for row in rows) == [(2, "2"), (10, "10")]
    assert all(bytes(row["data"]) == png(pictures(1, numbered.index(row["id"]))[0].transpose(1, 2, 0)) for row in rows)
    assert content  # written, and read above


def test_idx_and_cifar(run, tmp_path):
    images, labels = pictures(30, shape=(28, 28)), np.arange(30, dtype=np.uint8) % 10
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "labels").write_bytes(idx(labels))
    run("Idx2LMDB", images=tmp_path / "images.gz", labels=tmp_path / "labels", output=tmp_path / "mnist")
    found = datums(tmp_path / "mnist")
    assert [key for key, _ in found] == [f"{number:08d}" for number in range(30)]
    assert all(datum.data == image.tobytes() for (_, datum), image in zip(found, images))
    assert [datum.label for _, datum in found] == labels.tolist()
    with pytest.raises(DataError, match=r"labels: no IDX file of unsigned bytes"):
        (tmp_path / "labels").write_bytes(b"nonsense")
        run("Idx2LMDB", images=tmp_path / "images.gz", labels=tmp_path / "labels", output=tmp_path / "x")

    pixels, classes = cifar_tarball(tmp_path / "cifar.tar.gz")
    run("Cifar2LMDB", input=tmp_path / "cifar.tar.gz", output=tmp_path / "cifar")
    found = datums(tmp_path / "cifar" / "cifar10_train_lmdb")
    assert [datum.data for _, datum in found] == [image.tobytes() for image in pixels]
    assert [datum.label for _, datum in found] == classes.tolist()
    assert len(datums(tmp_path / "cifar" / "cifar10_test_lmdb")) == 20


@pytest.mark.parametrize("kind", ["raw", "encoded"])
def test_mean_equals_compute_image_mean(run, tmp_path, kind):
    if shutil.which("compute_image_mean") is None:
        pytest.skip("Caffe's compute_image_mean is not installed")
    encoded = (lambda image: png(image.transpose(1, 2, 0))) if kind == "encoded" else None
    write_lmdb(tmp_path / "lmdb", pictures(101), range(101), encoded=encoded)
    if kind == "encoded":  # compute_image_mean asks an encoded Datum for its size
        with lmdb.open(str(tmp_path / "lmdb")) as env, env.begin(write=True) as transaction:
            for key, value in list(transaction.cursor()):
                datum = Datum.FromString(value)
                datum.channels, datum.height, datum.width = 3, 9, 7
                transaction.put(key, datum.SerializeToString())
    command = ["compute_image_mean", "-backend=lmdb", tmp_path / "lmdb", tmp_path / "theirs"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = BlobProto.FromString((tmp_path / "theirs").read_bytes())
    run("ComputeImageMean", input=tmp_path / "lmdb", output=tmp_path / "mine", lmdb_partitions=4)
    assert BlobProto.FromString((tmp_path / "mine").read_bytes()) == theirs
    run("LMDB2Sequence", input=tmp_path / "lmdb", output=tmp_path / "sequence")
    run("LMDB2DataFrame", input=tmp_path / "lmdb", output=tmp_path / "frame")
    for name, form in (("sequence", "sequence"), ("frame", "parquet")):
        run("ComputeImageMean", input=tmp_path / name, inputFormat=form, output=tmp_path / "mine", overwrite=True)
        assert BlobProto.FromString((tmp_path / "mine").read_bytes()) == theirs


def test_on_a_hadoop_file_system(run, tmp_path):
    write_lmdb(tmp_path / "tools_lmdb", pictures(20), range(20))
    far = f"viewfs://disk/root{tmp_path}"
    run("LMDB2DataFrame", input=f"{far}/tools_lmdb", output=f"{far}/frame")
    run("DataFrame2LMDB", input=f"{far}/frame", output=f"{far}/again_lmdb")
    assert datums(tmp_path / "again_lmdb") == datums(tmp_path / "tools_lmdb")
    run("ComputeImageMean", input=f"{far}/again_lmdb", output=f"{far}/mean.binaryproto")
    mean = np.array(BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes()).data, np.float32)
    np.testing.assert_array_equal(mean, pictures(20).sum(axis=0).astype(np.float32).reshape(-1) / np.float32(20))
    assert not list(tmp_path.glob(".*.part"))


def test_nothing_is_overwritten_or_left_half_written(run, tmp_path):
    write_lmdb(tmp_path / "lmdb", pictures(10), range(10))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("")
    for name, source in (("LMDB2DataFrame", "lmdb"), ("LMDB2Sequence", "lmdb"), ("ComputeImageMean", "lmdb")):
        with pytest.raises(ConfigError, match=r"there exists already: -overwrite replaces it"):
            run(name, input=tmp_path / source, output=tmp_path / "there")
    assert (tmp_path / "there" / "mine").exists()
    with lmdb.open(str(tmp_path / "lmdb")) as env, env.begin(write=True) as transaction:
        transaction.put(b"00000004", b"\xff\xff")
    for name in ("LMDB2DataFrame", "LMDB2Sequence"):
        with pytest.raises(CaffeOnSparkError, match=r"LMDB .*lmdb: record '00000004': the value is not a Datum"):
            run(name, input=tmp_path / "lmdb", output=tmp_path / "there", overwrite=True)
    assert os.listdir(tmp_path / "there") == ["mine"]
    assert sorted(os.listdir(tmp_path)) == ["lmdb", "there"]


def test_gzip_needs_hadoops_native_library(run, tmp_path):
    write_lmdb(tmp_path / "lmdb", pictures(3), range(3))
    with pytest.raises(ConfigError, match=r"-codec gzip: .*native library.*use -codec default"):
        run("LMDB2Sequence", input=tmp_path / "lmdb", output=tmp_path / "out", codec="gzip")


def test_lists_and_folders_that_cannot_be_used(run, tmp_path):
    image_files(tmp_path / "images", ["a.png"])
    lists = {
        "empty.txt": "",
        "short.txt": "a.png 1\nb.png\n",
        "word.txt": "a.png cat\n",
        "missing.txt": "a.png 1\nb.png 2\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)

    def fails(name, message):
        with pytest.raises(ConfigError, match=message):
            run("Binary2Sequence", imageRoot=tmp_path / "images", labelFile=tmp_path / name, output=tmp_path / "out")

    fails("nowhere.txt", r"the label file \(-labelFile\) .*nowhere.txt does not exist")
    fails("empty.txt", r"empty.txt is empty")
    fails("short.txt", r"short.txt:2: a line is 'filename label', the label a whole number, not 'b.png'")
    fails("word.txt", r"word.txt:1: a line is 'filename label', the label a whole number, not 'a.png cat'")
    fails("missing.txt", r"-imageRoot .*images: .*b\.png")
    with pytest.raises(ConfigError, match=r"-imageRoot .*nowhere is no folder"):
        run("ImageFolder2DataFrame", imageRoot=tmp_path / "nowhere", output=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"holds no folders with images"):
        run("ImageFolder2DataFrame", imageRoot=tmp_path / "images", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "1", bytearray(6)), ("a", "2", bytearray(6))], r"two rows have the id 'a'"),
        ([("a", "cat", bytearray(6))], r"row 'a': label 'cat' is no whole number"),
        ([("a", "1", bytearray(5))], r"row 'a': the raw image has 5 values, where channels x height x width is 1x2x3"),
        ([("a", "1", None)], r"row 'a': the image is null"),
        ([("x" * 600, "1", bytearray(6))], r"an LMDB's keys have 1 to 511 bytes, not 600"),
    ],
)
def test_rows_that_make_no_datum(run, spark, tmp_path, rows, message):
    frame = spark.createDataFrame(rows, "id string, label string, data binary")
    frame.selectExpr("*", "1 AS channels", "2 AS height", "3 AS width").write.parquet(str(tmp_path / "frame"))
    with pytest.raises(DataError, match=message):
        run("DataFrame2LMDB", input=tmp_path / "frame", output=tmp_path / "lmdb")
    assert not (tmp_path / "lmdb").exists()
