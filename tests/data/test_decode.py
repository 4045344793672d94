"""Image files become what stock Caffe's OpenCV makes of them, within two levels; colour to grey is in test_grey.py."""

import io

import lmdb
import numpy as np
import pytest
from PIL import Image

from caffeonspark.api.config import Config
from caffeonspark.data.decode import CannotDecode, decode_image
from caffeonspark.data.records import BadRecords
from caffeonspark.nets.net import TEST
from caffeonspark.nets.schema import Datum
from caffeonspark.plans.net_source import NetSource
from tests.support.stock import caffe


def picture(mode="RGB"):
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((28, 20), Image.BICUBIC)
    if mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(np.arange(560, dtype=np.uint8).reshape(20, 28)))
    return image.convert(mode)


def saved(image, kind, orientation=None, **options):
    if orientation is not None:
        exif = Image.Exif()
        exif[0x112] = orientation
        options["exif"] = exif
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


FILES = {
    "plain.jpg": lambda: saved(picture(), "JPEG", quality=95),
    "subsampled.jpg": lambda: saved(picture(), "JPEG", quality=70, subsampling=2),
    "progressive.jpg": lambda: saved(picture(), "JPEG", progressive=True),
    "grey.jpg": lambda: saved(picture("L"), "JPEG"),
    "cmyk.jpg": lambda: saved(picture("CMYK"), "JPEG", quality=95),
    "plain.png": lambda: saved(picture(), "PNG"),
    "grey.png": lambda: saved(picture("L"), "PNG"),
    "palette.png": lambda: saved(picture("P"), "PNG"),
    "bilevel.png": lambda: saved(picture("1"), "PNG"),
    "alpha.png": lambda: saved(picture("RGBA"), "PNG"),
    "grey_alpha.png": lambda: saved(picture("LA"), "PNG"),
    "turned.png": lambda: saved(picture(), "PNG", orientation=6),
    "plain.bmp": lambda: saved(picture(), "BMP"),
    "plain.tif": lambda: saved(picture(), "TIFF"),
    "lossless.webp": lambda: saved(picture(), "WEBP", lossless=True),
    **{f"turned{k}.jpg": (lambda k=k: saved(picture(), "JPEG", quality=95, orientation=k)) for k in range(1, 9)},
}


def assert_close(mine, theirs):
    assert mine.shape == theirs.shape
    assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 2


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_image_data_layer(tmp_path, name, colour):
    data = FILES[name]()
    (tmp_path / name).write_bytes(data)
    (tmp_path / "list.txt").write_text(f"{tmp_path / name} 1\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" '
        f'image_data_param {{ source: "{tmp_path}/list.txt" batch_size: 1 is_color: {str(colour).lower()} }} }}'
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    assert_close(decode_image(data, 3 if colour else 1), net.blobs["data"].data[0])


@pytest.mark.parametrize("force", ["", "force_color: true", "force_gray: true"])
@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".webp")])  # stock Caffe aborts on those
def test_encoded_datums_of_a_data_layer(tmp_path, name, force):
    """Through the whole source: what the file has, or forced to colour or grey."""
    with lmdb.open(str(tmp_path / "lmdb"), map_size=1 << 20) as env, env.begin(write=True) as transaction:
        transaction.put(b"0", Datum(encoded=True, data=FILES[name](), label=3).SerializeToString())
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ {force} }} '
        f'data_param {{ source: "{tmp_path}/lmdb" batch_size: 1 backend: LMDB }} }}'
        'layer { name: "s" type: "Silence" bottom: "data" bottom: "label" }'
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    config = Config(None, conf=str(tmp_path / "solver.prototxt"))
    layer = NetSource(config, config.run_config.net(TEST)).plan.layers[0]
    (records,) = layer.reader.read(0, 1, 1, BadRecords("test"))
    blob = np.empty(layer.tops[0].blob_shape(1), np.float32)
    layer.tops[0].fill(records.columns[0], blob, np.zeros((1, 3)))
    assert_close(blob, net.blobs["data"].data)


def test_damaged_exif_does_not_matter():
    data = saved(picture(), "JPEG", orientation=6)
    at = data.index(b"Exif\0\0") + 6
    damaged = data[:at] + b"\xff" * 8 + data[at + 8 :]
    assert decode_image(damaged, 3).shape == (3, 20, 28)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0 nothing", b"GIF89a", b"plain text"])
def test_what_is_no_image(data):
    with pytest.raises(CannotDecode):
        decode_image(data)
