"""The transformations give stock Caffe's values, bit for bit: each case runs the stock Data layer too."""

import itertools
import tempfile

import lmdb
import numpy as np
import pytest

from caffeonspark.api.config import Config
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.records import BadRecords
from caffeonspark.data.store import RecordStore
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.nets.schema import BlobProto
from caffeonspark.plans.net_source import NetSource
from tests.support.data_files import write_lmdb
from tests.support.stock import caffe

COUNT = 3


def mean_file(path, mean):
    blob = BlobProto(num=1, channels=mean.shape[0], height=mean.shape[1], width=mean.shape[2])
    blob.data.extend(float(v) for v in mean.reshape(-1))
    path.write_bytes(blob.SerializeToString())


def random_case(rng, folder):
    """A random data layer over an LMDB of random images: its text and the images."""
    channels = int(rng.choice([1, 3]))
    height, width = (int(n) for n in rng.integers(6, 14, 2))
    floats = bool(rng.random() < 0.3)
    images = rng.integers(0, 256, (COUNT, channels, height, width)).astype(np.uint8)
    if floats:
        images = images.astype(np.float32) / 7 - 3
    write_lmdb(folder / "lmdb", images, range(COUNT), floats=floats)
    param = ""
    if rng.random() < 0.7:
        param += f" scale: {rng.choice([0.00390625, 0.017, 2.5])}"
    means = rng.random()
    if means < 0.35:
        mean_file(folder / "mean.binaryproto", rng.uniform(0, 255, images.shape[1:]).astype(np.float32))
        param += f' mean_file: "{folder}/mean.binaryproto"'
    elif means < 0.75:
        for value in rng.uniform(0, 255, int(rng.choice([1, channels]))):
            param += f" mean_value: {value:.4f}"
    if rng.random() < 0.6:
        param += f" crop_size: {rng.integers(3, min(height, width) + 1)}"
    if rng.random() < 0.5:
        param += " mirror: true"
    return param, images


def layer_text(folder, param):
    return (
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f"transform_param {{ {param} }} "
        f'data_param {{ source: "{folder}/lmdb" batch_size: {COUNT} backend: LMDB }} }}\n'
        'layer { name: "silence" type: "Silence" bottom: "data" bottom: "label" }\n'
    )


def stock_batch(folder, text, phase):
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write(text)
        f.flush()
        net = caffe.Net(f.name, caffe.TRAIN if phase == TRAIN else caffe.TEST)
    net.forward()
    return net.blobs["data"].data.copy(), net.blobs["label"].data.copy()


def source_for(folder, text, phase):
    (folder / "net.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    config = Config(None, conf=str(folder / "solver.prototxt"))
    net = config.nets.train if phase == TRAIN else config.nets.tests[0]
    source = NetSource(config, net)
    return source.plan.layers[0]


def load_store(layer, folder):
    store = RecordStore(layer.tops, str(folder))
    for records in layer.reader.read(0, layer.count, 1, BadRecords("test")):
        store.append(records)
    store.finish()
    return store


class ForcedDraws(BatchRandom):
    """BatchRandom that give every sample the same numbers."""

    forced = (0.0, 0.0, 0.0)

    def transforms(self, batch, count):
        return np.tile(self.forced, (count, 1))


def our_batch(layer, folder, draw=(0.0, 0.0, 0.0)):
    draws = ForcedDraws(0, 0, 0)
    object.__setattr__(draws, "forced", draw)
    store = load_store(layer, folder)
    batches = Batches(store, COUNT, draws, shuffle=False, name="test")
    blobs = [np.full(top.blob_shape(COUNT), np.nan, np.float32) for top in layer.tops]
    batches.load(blobs)
    store.close()
    return blobs


@pytest.mark.parametrize("seed", range(200))
def test_equal_to_the_stock_layer(tmp_path, seed):
    rng = np.random.default_rng(seed)
    param, images = random_case(rng, tmp_path)
    phase = TRAIN if seed % 2 else TEST
    text = layer_text(tmp_path, param)
    data, labels = stock_batch(tmp_path, text, phase)
    layer = source_for(tmp_path, text, phase)
    room = [size - shape + 1 for size, shape in zip(images.shape[2:], data.shape[2:])]
    mirrors = (0.0, 0.9) if "mirror" in param else (0.0,)
    if phase == TRAIN and "crop" in param:
        draws = itertools.product((np.arange(room[0]) + 0.5) / room[0], (np.arange(room[1]) + 0.5) / room[1], mirrors)
    else:
        draws = itertools.product((0.0,), (0.0,), mirrors)
    ours = [our_batch(layer, tmp_path, draw) for draw in draws]
    np.testing.assert_array_equal(ours[0][1], labels)
    for sample in range(COUNT):
        matches = [batch for batch in ours if np.array_equal(batch[0][sample], data[sample])]
        assert matches, f"no crop and mirror of ours gives the stock layer's sample {sample} ({param})"


def test_every_offset_and_mirror_is_drawn(tmp_path):
    """Crop offsets and mirrors are uniform, and a function of seed, rank and batch."""
    images = np.arange(8 * 8, dtype=np.uint8).reshape(1, 1, 8, 8)
    write_lmdb(tmp_path / "lmdb", images, [0])
    layer = source_for(tmp_path, layer_text(tmp_path, "crop_size: 6 mirror: true"), TRAIN)

    def corners(seed, rank):
        store = load_store(layer, tmp_path)
        batches = Batches(store, COUNT, BatchRandom(seed, rank, 0), shuffle=False, name="test")
        blobs = [np.empty(top.blob_shape(COUNT), np.float32) for top in layer.tops]
        found = []
        for _ in range(300):
            batches.load(blobs)
            found += [(int(image[0, 0, 0]), bool(image[0, 0, 0] > image[0, 0, 1])) for image in blobs[0]]
        store.close()
        return found

    first = corners(1, 0)
    assert first == corners(1, 0)
    assert first != corners(2, 0)
    assert first != corners(1, 1)
    counts = {corner: first.count(corner) for corner in set(first)}
    assert len(counts) == 18  # 3 x 3 offsets, mirrored or not
    assert min(counts.values()) > 900 / 18 / 2


def test_encoded_datums_are_decoded_as_caffe_does(tmp_path):
    """PNG exactly; JPEG within 2 grey levels of Caffe's OpenCV."""
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(-3, 4, (COUNT, 3, 20, 24)), axis=3)
    images = np.clip(smooth + 120, 0, 255).astype(np.uint8)

    def encoder(kind, mode):
        def encode(image):
            out = io.BytesIO()
            pixels = image.transpose(1, 2, 0)
            Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0]).save(out, kind, quality=90)
            return out.getvalue()

        return encode

    for kind, mode, tolerance in (("PNG", "RGB", 0), ("PNG", "L", 0), ("JPEG", "RGB", 2), ("JPEG", "L", 2)):
        for force in ("", "force_color: true", "force_gray: true"):
            folder = tmp_path / f"{kind}{mode}{force[:8]}"
            folder.mkdir()
            write_lmdb(folder / "lmdb", images, range(COUNT), encoded=encoder(kind, mode))
            text = layer_text(folder, force)
            data, _ = stock_batch(folder, text, TEST)
            ours = our_batch(source_for(folder, text, TEST), folder)[0]
            assert ours.shape == data.shape
            assert np.abs(ours - data).max() <= tolerance


def test_reading_leaves_the_database_alone(tmp_path):
    """No lock file appears, and a read-only folder is no obstacle."""
    write_lmdb(tmp_path / "lmdb", np.zeros((5, 1, 3, 3), np.uint8), range(5))
    (tmp_path / "lmdb" / "lock.mdb").unlink()
    (tmp_path / "lmdb" / "data.mdb").chmod(0o444)
    (tmp_path / "lmdb").chmod(0o555)
    layer = source_for(tmp_path, layer_text(tmp_path, ""), TEST)
    assert len(load_store(layer, tmp_path)) == 5
    assert [path.name for path in (tmp_path / "lmdb").iterdir()] == ["data.mdb"]
    (tmp_path / "lmdb").chmod(0o755)


def test_a_single_file_lmdb(tmp_path):
    with lmdb.open(str(tmp_path / "one.mdb"), subdir=False, map_size=1 << 20) as env, env.begin(write=True) as t:
        from caffeonspark.nets.schema import Datum

        t.put(b"k", Datum(channels=1, height=1, width=2, data=b"\x01\x02", label=4).SerializeToString())
    text = layer_text(tmp_path, "").replace(f"{tmp_path}/lmdb", f"{tmp_path}/one.mdb")
    blobs = our_batch(source_for(tmp_path, text, TEST), tmp_path)
    assert blobs[0].reshape(-1).tolist() == [1, 2] * COUNT
    assert blobs[1].tolist() == [4] * COUNT
