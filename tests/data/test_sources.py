"""Every kind of source brings the same samples to the net."""

import io

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataError, DataSource
from caffeonspark.data.sources.sequence_file import parse_key, write_key
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.prototxts import PHASES, SCALE, SOLVER


def png(image):
    out = io.BytesIO()
    Image.fromarray(image[0]).save(out, "PNG")
    return out.getvalue()


def java_key(spark, *fields):
    """The bytes that Java's serialisation makes of a Scala tuple of these fields."""
    jvm = spark.sparkContext._jvm
    tuple_ = getattr(jvm.scala, f"Tuple{len(fields)}")(*fields)
    out = jvm.java.io.ByteArrayOutputStream()
    stream = jvm.java.io.ObjectOutputStream(out)
    stream.writeObject(tuple_)
    stream.close()
    return bytearray(out.toByteArray())


class Maker:
    """Writes the same images in every form, and the data layer that reads them."""

    def __init__(self, spark, folder, images, labels, batch):
        self.spark, self.folder, self.images, self.labels, self.batch = spark, folder, images, labels, batch
        self.channels, self.height, self.width = images.shape[1:]

    def names(self):
        return [f"{number:08d}" for number in range(len(self.images))]

    def memory(self, kind, source, more=""):
        return (
            f'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" {PHASES} {SCALE} '
            f'source_class: "{kind}" memory_data_param {{ source: "{source}" batch_size: {self.batch} '
            f"channels: {self.channels} height: {self.height} width: {self.width} {more} }} }}"
        )

    def stock(self, kind, param, more):
        return (
            f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" {PHASES} {SCALE} '
            f"{param} {{ batch_size: {self.batch} {more} }} }}"
        )

    def lmdb(self):
        write_lmdb(self.folder / "lmdb", self.images, self.labels)
        return self.stock("Data", "data_param", f'source: "{self.folder}/lmdb" backend: LMDB'), None

    def memory_lmdb(self):
        if not (self.folder / "lmdb").exists():
            self.lmdb()
        return self.memory("com.yahoo.ml.caffe.LMDB", f"file:{self.folder}/lmdb"), None

    def raw(self):
        return [image.transpose(1, 2, 0).tobytes() for image in self.images]

    def sequence(self, key, name, codec=None):
        rows = [(key(n), bytearray(p)) for n, p in enumerate(self.raw())]
        pairs = self.spark.sparkContext.parallelize(rows, 3)
        pairs.saveAsSequenceFile(f"file://{self.folder}/{name}", codec)
        return self.memory("com.yahoo.ml.caffe.SeqImageDataSource", f"file:{self.folder}/{name}"), None

    def sequence_java(self):
        def key(n):
            shape = (self.channels, self.height, self.width)
            return java_key(self.spark, f"{n:08d}", str(self.labels[n]), *[int(s) for s in shape], False)

        return self.sequence(key, "sequence_java")

    def sequence_text(self):
        def key(n):
            return write_key((f"{n:08d}", str(self.labels[n]), self.channels, self.height, self.width, False))

        return self.sequence(key, "sequence_text", "org.apache.hadoop.io.compress.SnappyCodec")

    def image_dataframe(self):
        table = pa.table({"id": self.names(), "label": [str(v) for v in self.labels], "pixels": self.raw()})
        (self.folder / "frame").mkdir()
        pyarrow.parquet.write_table(table, self.folder / "frame" / "part.parquet", row_group_size=50)
        more = (
            'dataframe_column_select: "id" dataframe_column_select: "label" dataframe_column_select: "pixels as data"'
        )
        return self.memory("com.yahoo.ml.caffe.ImageDataFrame", f"{self.folder}/frame", more), None

    def cos_layer(self, source=""):
        return (
            f'layer {{ name: "data" type: "CoSData" top: "data" top: "label" {PHASES} source_class: "DataFrameSource" '
            f'cos_data_param {{ source: "{source}" batch_size: {self.batch} '
            f'top {{ name: "pixels" type: RAW_IMAGE channels: {self.channels} height: {self.height} '
            f'width: {self.width} {SCALE} }} top {{ name: "label" type: STRING sample_num_axes: 0 }} }} }}'
        )

    def cos(self):
        if not (self.folder / "frame").exists():
            self.image_dataframe()
        return self.cos_layer(f"{self.folder}/frame"), None

    def hdf5(self):
        paths = []
        for number, part in enumerate(np.array_split(np.arange(len(self.images)), 3)):
            paths.append(self.folder / f"part{number}.h5")
            with h5py.File(paths[-1], "w") as f:
                f["data"] = self.images[part].astype(np.float32) * np.float32(stock.SCALE)
                f["label"] = self.labels[part].astype(np.float32)
        (self.folder / "h5.txt").write_text("".join(f"{path}\n" for path in paths))
        text = self.stock("HDF5Data", "hdf5_data_param", f'source: "{self.folder}/h5.txt"')
        return text.replace(SCALE, ""), None

    def image_data(self):
        (self.folder / "png").mkdir()
        lines = []
        for name, image, label in zip(self.names(), self.images, self.labels):
            (self.folder / "png" / f"{name}.png").write_bytes(png(image))
            lines.append(f"{name}.png {label}\n")
        (self.folder / "list.txt").write_text("".join(lines))
        more = f'source: "list.txt" root_folder: "{self.folder}/png/" is_color: false'
        return self.stock("ImageData", "image_data_param", more), None

    def in_memory(self):
        rows = list(zip(self.names(), [int(v) for v in self.labels], [bytearray(png(image)) for image in self.images]))
        frame = self.spark.createDataFrame(rows, "id string, label int, data binary")
        from pyspark.sql import functions as F

        return self.stock("Data", "data_param", ""), frame.withColumn("encoded", F.lit(True))


KINDS = [
    "lmdb",
    "memory_lmdb",
    "sequence_java",
    "sequence_text",
    "image_dataframe",
    "cos",
    "hdf5",
    "image_data",
    "in_memory",
]


def config_for(spark, folder, layer, layers, iterations, **flags):
    (folder / "net.prototxt").write_text(layer + layers)
    (folder / "solver.prototxt").write_text(SOLVER.format(iterations=iterations))
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", quiet=True, **flags)


def check_equal_weights(spark, folder, images, labels, batch, iterations, kinds, ranks):
    maker = Maker(spark, folder, images, labels, batch)
    net = stock.input_net(batch, images.shape[1:])
    expected = None
    for kind in kinds:
        layer, frame = getattr(maker, kind)()
        config = config_for(spark, folder, layer, stock.LAYERS, iterations, clusterSize=ranks)
        cos, data = CaffeOnSpark(spark), DataSource(spark)
        cos.train(data.getSource(config, True, frame))
        weights = stock.load_weights(folder / "m.caffemodel", net)
        expected = expected or weights
        for mine, theirs in zip(weights, expected):
            np.testing.assert_array_equal(mine, theirs, kind)
        if kind == "hdf5":
            continue  # HDF5 has no names of records
        config.features = "label"
        found = {row.SampleID: row.label[0] for row in cos.features(data.getSource(config, False, frame)).collect()}
        ids = [f"{name}.png" for name in maker.names()] if kind == "image_data" else maker.names()
        assert found == dict(zip(ids, labels.astype(float))), kind


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.long
def test_equal_weights_from_every_source(spark, tmp_path, small_images, ranks):
    check_equal_weights(spark, tmp_path, *small_images, 16, 12, KINDS, ranks)


@pytest.mark.slow
def test_equal_weights_from_ten_thousand_mnist_images(spark, tmp_path, mnist):
    images, labels = mnist["test"]
    check_equal_weights(spark, tmp_path, images[:, np.newaxis], labels, 64, 100, KINDS, 2)


def test_sequence_file_keys(spark):
    assert parse_key(java_key(spark, "a b", "3")) == ("a b", "3", 0, 0, 0, True)
    assert parse_key(java_key(spark, "x", "7", 3, 20, 30, True)) == ("x", "7", 3, 20, 30, True)
    assert parse_key(write_key(("ä", "1", 1, 2, 3, False))) == ("ä", "1", 1, 2, 3, False)
    # a com.yahoo.ml.dl.caffe.Pair("id", "5"), as ObjectOutputStream writes it
    pair = (
        b"\xac\xed\x00\x05sr\x00\x1acom.yahoo.ml.dl.caffe.Pair\x00\x00\x00\x00\x00\x00\x00\x01\x02\x00\x02L\x00\x05firstt"
        b"\x00\x12Ljava/lang/Object;L\x00\x06secondq\x00~\x00\x01xpt\x00\x02idt\x00\x015"
    )
    assert parse_key(pair) == ("id", "5", 0, 0, 0, True)
    for damaged in (b"", pair[:30], b"\xac\xed\x00\x05", "[1, 2", "{}", b"\xff" * 8, java_key(spark, "a", "b", "c")):
        with pytest.raises(DataError):
            parse_key(damaged)


def test_spark_image_and_binary_file_formats(spark, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 3, 12, 12)).astype(np.uint8)
    for number, image in enumerate(images):
        folder = tmp_path / "tree" / f"label={number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    for kind, more in (("image", ""), ("binaryFile", "")):
        layer = (
            f'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" {PHASES} '
            f'source_class: "ImageDataFrame" memory_data_param {{ source: "{tmp_path}/tree" dataframe_format: "{kind}" '
            f"batch_size: 4 channels: 3 height: 12 width: 12 {more} }} }}"
        )
        silence = (
            'layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" } '
            'layer { name: "s" type: "Silence" bottom: "label" }'
        )
        config = config_for(spark, tmp_path, layer, silence, 1, features="flat,label")
        cos = CaffeOnSpark(spark)
        config.model = save_empty(tmp_path, silence)
        rows = cos.features(DataSource(spark).getSource(config, False)).collect()
        assert len(rows) == 6
        for row in rows:
            number = int(row.SampleID.rpartition("/")[2].partition(".")[0])
            np.testing.assert_array_equal(np.array(row.flat), images[number][::-1].reshape(-1))
            assert row.label == [number % 2]


def save_empty(folder, layers):
    """A model without parameters."""
    path = folder / "net_only.prototxt"
    path.write_text(stock.input_net(1, (3, 12, 12), layers))
    stock.caffe.Net(str(path), stock.caffe.TEST).save(str(folder / "empty.caffemodel"))
    return f"file:{folder}/empty.caffemodel"


TWO_LAYERS = """
layer {{ name: "images" type: "Data" top: "data" {phases} {scale}
  data_param {{ source: "{folder}/images_lmdb" batch_size: {batch} backend: LMDB }} }}
layer {{ name: "labels" type: "{kind}" top: "{top}" {phases} {param} }}
"""


@pytest.mark.parametrize("kind", ["lmdb", "hdf5", "frame"])
def test_two_data_layers_side_by_side(spark, tmp_path, small_images, kind):
    """Images and labels from sources of their own give what one source gives."""
    images, labels = small_images
    folder = tmp_path
    write_lmdb(folder / "images_lmdb", images, np.zeros(len(images)))
    write_lmdb(folder / "labels_lmdb", labels.reshape(-1, 1, 1, 1).astype(np.uint8), np.zeros(len(labels)))
    with h5py.File(folder / "labels.h5", "w") as f:
        f["label"] = labels.astype(np.float32)
    (folder / "labels.txt").write_text(f"{folder}/labels.h5\n")
    pyarrow.parquet.write_table(pa.table({"label": labels}), folder / "labels.parquet", row_group_size=100)
    param = {
        "lmdb": f'data_param {{ source: "{folder}/labels_lmdb" batch_size: 16 backend: LMDB }}',
        "hdf5": f'hdf5_data_param {{ source: "{folder}/labels.txt" batch_size: 16 }}',
        "frame": 'source_class: "DataFrameSource" cos_data_param { source: "labels.parquet" batch_size: 16 '
        'top { name: "label" type: INT sample_num_axes: 0 } }',
    }[kind]
    types = {"lmdb": "Data", "hdf5": "HDF5Data", "frame": "CoSData"}
    layer = TWO_LAYERS.format(
        phases=PHASES, scale=SCALE, folder=folder, batch=16, kind=types[kind], top="label", param=param
    )
    config = config_for(spark, folder, layer, stock.LAYERS, 10, clusterSize=3)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    cos.train(data.getSource(config, True))
    net = stock.input_net(16)
    mine = stock.load_weights(folder / "m.caffemodel", net)
    both = folder / "both"
    both.mkdir()
    one, _ = Maker(spark, both, images, labels, 16).lmdb()
    cos.train(data.getSource(config_for(spark, both, one, stock.LAYERS, 10, clusterSize=3), True))
    for a, b in zip(mine, stock.load_weights(both / "m.caffemodel", net)):
        np.testing.assert_array_equal(a, b)
    config.features = "label,data"
    found = {row.SampleID: row.label[0] for row in cos.features(data.getSource(config, False)).collect()}
    assert found == {f"{n:08d}": float(v) for n, v in enumerate(labels)}


def test_different_sources_for_the_two_phases(spark, tmp_path, small_images):
    maker = Maker(spark, tmp_path, *small_images, 16)
    train, _ = maker.lmdb()
    test, _ = maker.cos()
    layer = train.replace("include { phase: TEST }", "") + test.replace("include { phase: TRAIN }", "")
    config = config_for(spark, tmp_path, layer, stock.LAYERS, 10, clusterSize=2)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    assert [row.iteration for row in curve] == [0, 10]
    assert [row.rows for row in curve] == [600, 600]
    assert curve[-1].accuracy == pytest.approx(cos.test(data.getSource(config, False))["accuracy"])


@pytest.mark.parametrize(("kind", "name"), [("CoSData", "Squares"), ("Squares", "SquaresLayer")])
def test_a_users_own_class(spark, tmp_path, kind, name):
    layer = (
        f'layer {{ name: "data" type: "{kind}" top: "x" top: "label" {PHASES} '
        f'source_class: "tests.support.own_source.{name}" cos_data_param {{ batch_size: 4 '
        'top { name: "x" type: FLOAT_ARRAY channels: 3 sample_num_axes: 1 } '
        'top { name: "label" type: INT sample_num_axes: 0 } } }'
    )
    net = 'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } } \
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
    config = config_for(spark, tmp_path, layer, net, 5, clusterSize=2)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    assert cos.train(data.getSource(config, True)).iteration == 5
    config.features = "x"
    rows = cos.features(data.getSource(config, False)).collect()
    assert sorted(row.x for row in rows) == [[float(n), float(n * n), 0.0] for n in range(20)]
    config = config_for(spark, tmp_path, layer.replace(f"own_source.{name}", "own_source.Nowhere"), net, 5)
    with pytest.raises(ConfigError, match=r"own_source:Nowhere: .*own_source.py has no class 'Nowhere'"):
        data.getSource(config, True)


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (
            'type: "ImageData" image_data_param { source: "list.txt" root_folder: "viewfs://disk/root/tmp/" ',
            "root_folder",
        ),
        ('type: "HDF5Data" hdf5_data_param { source: "h5.txt" ', "file"),
    ],
)
def test_files_that_executors_open_are_local(spark, tmp_path, layer, what):
    (tmp_path / "list.txt").write_text("a.png 1\n")
    (tmp_path / "a.h5").write_text("")
    (tmp_path / "h5.txt").write_text(f"viewfs://disk/root{tmp_path}/a.h5\n")
    text = f'layer {{ name: "data" top: "data" top: "label" {PHASES} {layer} batch_size: 4 }} }}'
    config = config_for(spark, tmp_path, text, stock.LAYERS, 1)
    with pytest.raises(ConfigError, match=rf"{what} viewfs://disk/root/tmp.* at the same local path on every node"):
        _ = DataSource(spark).getSource(config, True).plan
