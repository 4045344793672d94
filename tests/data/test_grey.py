"""Colour images in a grey net have the pixels that stock Caffe's decoder gives them, every one of them."""

import io
import pathlib

import numpy as np
import pytest
import skimage
from PIL import Image, PngImagePlugin

from caffeonspark.data import decode
from caffeonspark.data.decode import decode_image
from caffeonspark.data.grey import is_srgb
from tests.support.stock import caffe

IMAGES = 6


def pictures():
    rng = np.random.default_rng(5)
    for _ in range(IMAGES):
        yield Image.fromarray(rng.integers(0, 256, (61, 53, 3)).astype(np.uint8))
    ramp = np.arange(256, dtype=np.uint8)
    yield Image.fromarray(np.stack([ramp[None, :] * np.uint8(1) | ramp[:, None] & np.uint8(0)] * 3, axis=2))


def saved(image, kind, chunks=(), **options):
    if chunks:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for name, content in chunks:
            options["pnginfo"].add(name, content)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gamma(value):
    return (b"gAMA", value.to_bytes(4, "big"))


SRGB = (b"sRGB", b"\0")
KINDS = {
    "jpg": lambda image: saved(image, "JPEG", quality=95),
    "subsampled.jpg": lambda image: saved(image, "JPEG", quality=70, subsampling=2),
    "progressive.jpg": lambda image: saved(image, "JPEG", progressive=True),
    "png": lambda image: saved(image, "PNG"),
    "palette.png": lambda image: saved(image.convert("P"), "PNG"),
    "alpha.png": lambda image: saved(image.convert("RGBA"), "PNG"),
    "grey.png": lambda image: saved(image.convert("L"), "PNG", [gamma(45455)]),
    "srgb.png": lambda image: saved(image, "PNG", [SRGB]),
    "both.png": lambda image: saved(image, "PNG", [SRGB, gamma(55556)]),
    **{
        f"gamma{value}.png": (lambda image, value=value: saved(image, "PNG", [gamma(value)]))
        for value in (0, 45455, 55556, 94999, 95001, 99999, 100000, 105000, 105263, 220000)
    },
    "bmp": lambda image: saved(image, "BMP"),
    "palette.bmp": lambda image: saved(image.convert("P"), "BMP"),
    "tif": lambda image: saved(image, "TIFF"),
    "ppm": lambda image: saved(image, "PPM"),
    "webp": lambda image: saved(image, "WEBP", lossless=True),
    "jp2": lambda image: saved(image, "JPEG2000"),
}


def stock_grey(files, folder, ending):
    """What an ImageData layer that is not is_color gives for each of the files."""
    names = [folder / f"{number}.{ending}" for number in range(len(files))]
    for name, content in zip(names, files):
        name.write_bytes(content)
    (folder / "list.txt").write_text("".join(f"{name} 0\n" for name in names))
    (folder / "net.prototxt").write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" '
        f'image_data_param {{ source: "{folder}/list.txt" batch_size: 1 is_color: false }} }}'
    )
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    for _ in files:
        net.forward()
        yield net.blobs["data"].data[0].copy()


@pytest.mark.parametrize("kind", KINDS)
def test_grey_is_stock_caffes_to_the_level(tmp_path, kind):
    files = [KINDS[kind](image) for image in pictures()]
    for content, theirs in zip(files, stock_grey(files, tmp_path, kind.rpartition(".")[2])):
        np.testing.assert_array_equal(decode_image(content, 1), theirs)


@pytest.mark.parametrize("kind", ["jpg", "subsampled.jpg", "progressive.jpg"])
def test_jpegs_without_simplejpeg(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(decode, "_decode_jpeg", lambda *args: None)
    test_grey_is_stock_caffes_to_the_level(tmp_path, kind)


PHOTOS = pathlib.Path(skimage.__file__).parent / "data"


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "color.png", "motorcycle_left.png", "ihc.png"])
def test_photographs(tmp_path, name):
    """With what programs write into their files: gamma, chromaticities, colour profiles."""
    content = (PHOTOS / name).read_bytes()
    with Image.open(io.BytesIO(content)) as photo:
        if name == "astronaut.png":
            assert is_srgb(photo.info["icc_profile"])
        small = photo.convert("RGB").resize((90, 70))
        profile = {"icc_profile": photo.info["icc_profile"]} if "icc_profile" in photo.info else {}
        files = [content, saved(small, "PNG", [gamma(60000)], **profile), saved(small, "PNG", [SRGB], **profile)]
    for file, theirs in zip(files, stock_grey(files, tmp_path, "png")):
        np.testing.assert_array_equal(decode_image(file, 1), theirs)
