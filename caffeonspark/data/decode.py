"""Image files to uint8 arrays the way Caffe's OpenCV gives them: BGR, channels first.

JPEG goes through simplejpeg (libjpeg-turbo, which OpenCV uses too), everything else and what simplejpeg
refuses (CMYK) through Pillow.
"""

from __future__ import annotations

import io
from typing import Optional, Tuple, Union

import numpy as np

__all__ = ["CannotDecode", "decode_image", "resize"]

Bytes = Union[bytes, memoryview]


class CannotDecode(ValueError):
    """The bytes are not an image, or a damaged one; the message says what the decoder found."""


def decode_image(data: Bytes, channels: int = 0) -> np.ndarray:
    """Decode an image file.

    Parameters
    ----------
    data : the file's bytes
    channels : 1 for grey, 3 for colour, 0 for whatever the file has (grey, or colour without its alpha)

    Returns
    -------
    uint8 array, (channels, height, width); colour in BGR order

    Raises
    ------
    CannotDecode
    """
    if len(data) == 0:
        raise CannotDecode("it is empty")
    pixels = None
    if bytes(data[:2]) == b"\xff\xd8":
        pixels = _decode_jpeg(data, channels)
    if pixels is None:
        pixels = _decode_other(data, channels)
    if pixels.ndim == 2:
        return pixels[np.newaxis]
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
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            grey = channels == 1 or (channels == 0 and image.mode in ("1", "L", "I", "I;16", "F", "LA"))
            if image.mode in ("I", "I;16"):  # 16 bits a pixel: OpenCV keeps the upper 8
                wide = np.asarray(image).astype(np.uint32) >> 8
                pixels = wide.astype(np.uint8)
                return pixels if grey else np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
            decoded: np.ndarray = np.asarray(image.convert("L" if grey else "RGB"))
            return decoded if grey else decoded[:, :, ::-1]
    except UnidentifiedImageError:
        raise CannotDecode("it is in no image format that is known here") from None
    except Exception as e:  # Pillow raises many types for damaged files
        raise CannotDecode(f"damaged image ({e})") from None


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
