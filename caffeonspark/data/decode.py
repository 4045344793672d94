"""Image files to uint8 arrays the way Caffe's OpenCV gives them: BGR, channels first.

JPEG goes through simplejpeg (libjpeg-turbo, which OpenCV uses too), everything else and what simplejpeg
refuses (CMYK) through Pillow.
"""

from __future__ import annotations

import io
from typing import Optional, Tuple, Union

import numpy as np

from ..errors import ConfigError

__all__ = ["CannotDecode", "decode_image", "resize"]

Bytes = Union[bytes, memoryview]


class CannotDecode(ValueError):
    """The bytes are not an image, or a damaged one; the message says what the decoder found."""


def decode_image(data: Bytes, channels: int = 0, upright: bool = True) -> np.ndarray:
    """Decode an image file.

    Parameters
    ----------
    data : the file's bytes
    channels : 1 for grey, 3 for colour, 4 for colour with alpha, 0 for what the file has
    upright : whether a JPEG is turned as its EXIF orientation says. OpenCV does so when it is asked for colour or
        grey, and does not when it is asked for what the file has.

    Returns
    -------
    uint8 array, (channels, height, width); colour in BGR order

    Raises
    ------
    CannotDecode
    ConfigError
        Where Pillow is needed and is not installed.
    """
    if len(data) == 0:
        raise CannotDecode("it is empty")
    pixels = None
    is_jpeg = bytes(data[:2]) == b"\xff\xd8"
    if is_jpeg and channels != 4:
        pixels = _decode_jpeg(data, channels)
    if pixels is None:
        pixels = _decode_other(data, channels)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if is_jpeg and upright:
        pixels = _turned(pixels, _orientation(data))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _decode_jpeg(data: Bytes, channels: int) -> Optional[np.ndarray]:
    """(height, width, 3 or 1), or None for a JPEG that Pillow has to read."""
    try:
        import simplejpeg
    except ImportError:
        return None
    raw = bytes(data)
    try:
        _, _, colorspace, _ = simplejpeg.decode_jpeg_header(raw)
        if colorspace in ("CMYK", "YCCK"):
            return None
        grey = channels == 1 or (channels == 0 and colorspace == "Gray")
        pixels: np.ndarray = simplejpeg.decode_jpeg(raw, "GRAY" if grey else "BGR")
    except ValueError as e:
        raise CannotDecode(f"damaged JPEG ({e})") from None
    return pixels


def _decode_other(data: Bytes, channels: int) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError

        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if not channels:
                alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                channels = 4 if alpha else 1 if image.mode in ("1", "L", "I", "I;16", "F") else 3
            if image.mode in ("I", "I;16"):  # 16 bits a pixel: OpenCV keeps the upper 8
                wide = np.asarray(image).astype(np.uint32) >> 8
                pixels = wide.astype(np.uint8)
                return pixels if channels == 1 else np.repeat(pixels[:, :, np.newaxis], channels, axis=2)
            decoded: np.ndarray = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
            return decoded if channels == 1 else decoded[:, :, [2, 1, 0, 3][:channels]]
    except ImportError as e:
        raise _no_pillow(e) from None
    except UnidentifiedImageError:
        raise CannotDecode("it is in no image format that is known here") from None
    except Exception as e:  # Pillow raises many types for damaged files
        raise CannotDecode(f"damaged image ({e})") from None


def _orientation(data: Bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where it says none."""
    if b"Exif\0\0" not in bytes(data[:4096]):  # reading it takes longer than decoding a small image
        return 1
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except ImportError as e:
        raise _no_pillow(e) from None
    except Exception:  # damaged EXIF says nothing; the image itself was decoded
        return 1


def _no_pillow(error: ImportError) -> ConfigError:
    return ConfigError(f"images are decoded with Pillow, which cannot be imported here ({error}): pip install pillow")


_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(height, width, channels) as it is to be seen: flips first, then the exchange of rows and columns."""
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1] if orientation in (2, 3) else pixels[::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1] if orientation in (3, 4) else pixels[:, ::-1]
    return pixels.transpose(1, 0, 2) if orientation in (5, 6, 7, 8) else pixels


def resize(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resize (channels, height, width) to ``size`` = (height, width), bilinear as OpenCV's INTER_LINEAR:
    pixel centres aligned, borders repeated, no smoothing before shrinking."""
    if image.shape[1:] == tuple(size):
        return image
    rows = _taps(image.shape[1], size[0])
    columns = _taps(image.shape[2], size[1])
    low, high, weight = rows
    wide = image.astype(np.float32)
    tall = wide[:, low] + (wide[:, high] - wide[:, low]) * weight[:, np.newaxis]
    low, high, weight = columns
    result: np.ndarray = tall[:, :, low] + (tall[:, :, high] - tall[:, :, low]) * weight
    if image.dtype == np.uint8:
        result = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    return result


def _taps(old: int, new: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new position: the two old positions around it and the weight of the second."""
    at = (np.arange(new, dtype=np.float64) + 0.5) * (old / new) - 0.5
    low = np.floor(at).astype(np.int64)
    weight = (at - low).astype(np.float32)
    return np.clip(low, 0, old - 1), np.clip(low + 1, 0, old - 1), weight
