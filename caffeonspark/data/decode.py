"""Image files to uint8 arrays the way Caffe's OpenCV gives them: BGR, channels first.

JPEG goes through simplejpeg (libjpeg-turbo, which OpenCV uses too), everything else and what simplejpeg
refuses (CMYK) through Pillow. ``ImageTop`` (``tops``) calls ``decode_image`` and ``resize`` for each record;
crop, mirror and scale come later (``transform``).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Callable, Iterator, Mapping, Optional, Tuple, Union

import numpy as np

from ..errors import CaffeOnSparkError, ConfigError
from .grey import SRGB_GAMMA, is_srgb, to_grey

__all__ = ["MAX_PIXELS", "CannotDecode", "decode_image", "resize"]

#: The most pixels that an image may have by default (``-maxPixels``).
MAX_PIXELS = 100_000_000

#: The formats of pixels that Pillow reads by itself; for others it starts programs, or calls other libraries.
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI", "SUN", "TGA", "TIFF", "WEBP")

#: Told (height, width), as they will be, before memory is taken for the pixels; may raise.
CheckSize = Callable[[int, int], None]

Bytes = Union[bytes, memoryview]


class CannotDecode(ValueError):
    """The bytes are not an image, or a damaged one; the message says what the decoder found."""


def _any_size(height: int, width: int) -> None:
    """Takes every image."""


def decode_image(
    data: Bytes,
    channels: int = 0,
    upright: bool = True,
    max_pixels: int = MAX_PIXELS,
    check_size: CheckSize = _any_size,
) -> np.ndarray:
    """Decode an image file.

    Parameters
    ----------
    data : the file's bytes
    channels : 1 for grey, 3 for colour, 4 for colour with alpha, 0 for what the file has
    upright : whether a JPEG is turned as its EXIF orientation says. OpenCV does so when it is asked for colour or
        grey, and does not when it is asked for what the file has.
    max_pixels : the most that the file's header may claim
    check_size : told what the header claims, before memory is taken for it; what it raises is raised here

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
    orientation = _orientation(data) if is_jpeg and upright else 1

    def check(height: int, width: int) -> None:
        check_size(*((width, height) if orientation >= 5 else (height, width)))
        if height * width > max_pixels:
            raise CannotDecode(f"its header says {height}x{width}, which is more than -maxPixels {max_pixels}")

    try:
        if is_jpeg and channels != 4:
            pixels = _decode_jpeg(data, channels, check)
        if pixels is None:
            pixels = _decode_other(data, channels, max_pixels, check)
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        return np.ascontiguousarray(_turned(pixels, orientation).transpose(2, 0, 1))
    except MemoryError:
        raise CannotDecode("there is not enough memory for its pixels; -maxPixels refuses such images sooner") from None


def _decode_jpeg(data: Bytes, channels: int, check: CheckSize) -> Optional[np.ndarray]:
    """(height, width, 3 or 1), or None for a JPEG that Pillow has to read."""
    try:
        import simplejpeg
    except ImportError:
        return None
    raw = bytes(data)
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(raw)
    except ValueError as e:
        raise CannotDecode(f"damaged JPEG ({e})") from None
    check(height, width)
    try:
        if colorspace in ("CMYK", "YCCK"):
            return None
        grey = channels == 1 or (channels == 0 and colorspace == "Gray")
        pixels: np.ndarray = simplejpeg.decode_jpeg(raw, "GRAY" if grey else "BGR")
    except ValueError as e:
        raise CannotDecode(f"damaged JPEG ({e})") from None
    return pixels


def _decode_other(data: Bytes, channels: int, max_pixels: int, check: CheckSize) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as e:
        raise _no_pillow(e) from None
    try:
        with _opened(data) as image:
            if image.format not in _FORMATS:
                raise CannotDecode(f"it is {image.format}, and only images of pixels are decoded")
            check(image.height, image.width)
            Image.MAX_IMAGE_PIXELS = max_pixels  # of images inside images: Pillow refuses twice as many
            if channels == 1 and image.format in ("JPEG", "MPO"):
                image.draft("L", image.size)  # the file's own luminance
            image.load()
            if not channels:
                alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                channels = 4 if alpha else 1 if image.mode in ("1", "L", "I", "I;16", "F") else 3
            if image.mode in ("I", "I;16"):  # 16 bits a pixel: OpenCV keeps the upper 8
                wide = np.asarray(image).astype(np.uint32) >> 8
                pixels = wide.astype(np.uint8)
                return pixels if channels == 1 else np.repeat(pixels[:, :, np.newaxis], channels, axis=2)
            if channels == 1:
                if image.mode in ("1", "L", "LA", "F"):
                    return np.asarray(image.convert("L"))
                return to_grey(np.asarray(image.convert("RGB")), str(image.format), _gamma_of(image.info))
            decoded: np.ndarray = np.asarray(image.convert("RGB" if channels == 3 else "RGBA"))
            return decoded[:, :, [2, 1, 0, 3][:channels]]
    except (CannotDecode, CaffeOnSparkError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise CannotDecode("it is in no image format that is known here") from None
    except Exception as e:  # Pillow raises many types for damaged files
        raise CannotDecode(f"damaged image ({e})") from None


def _gamma_of(info: Mapping[str, Any]) -> Optional[int]:
    """The gamma that a PNG file says, times 100,000, or None. libpng takes sRGB's before the gAMA chunk's."""
    if "srgb" in info or is_srgb(info.get("icc_profile") or b""):
        return SRGB_GAMMA
    return round(float(info["gamma"]) * 100_000) if "gamma" in info else None


@contextlib.contextmanager
def _opened(data: Bytes) -> Iterator[Any]:
    """An image of Pillow's, of any size; only its header is read."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # what the caller takes is the caller's
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _orientation(data: Bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where it says none."""
    if b"Exif\0\0" not in bytes(data[:4096]):  # reading it takes longer than decoding a small image
        return 1
    try:
        with _opened(data) as image:
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


#: Bits of a weight's fraction in OpenCV's resizing of uint8 (INTER_RESIZE_COEF_BITS of its imgproc/src/resize.cpp).
_WEIGHT_BITS = 11


def resize(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resize (channels, height, width) to ``size`` = (height, width), as OpenCV's INTER_LINEAR: pixel centres aligned,
    borders repeated, no smoothing before shrinking; uint8 to the bit, with its weights of whole numbers."""
    if image.shape[1:] == tuple(size):
        return image
    rows = _taps(image.shape[1], size[0])
    columns = _taps(image.shape[2], size[1])
    if image.dtype == np.uint8:
        return _resized_bytes(image, rows, columns)
    low, high, weight = rows
    wide = image.astype(np.float32)
    tall = wide[:, low] + (wide[:, high] - wide[:, low]) * weight[:, np.newaxis]
    low, high, weight = columns
    result: np.ndarray = tall[:, :, low] + (tall[:, :, high] - tall[:, :, low]) * weight
    return result


_Taps = Tuple[np.ndarray, np.ndarray, np.ndarray]


def _resized_bytes(image: np.ndarray, rows: _Taps, columns: _Taps) -> np.ndarray:
    """OpenCV's own order: along the rows first, and the shifts of its second step."""
    low, high, weight = columns
    first, second = _whole(weight)
    wide = image[:, :, low] * first
    wide += image[:, :, high] * second
    wide >>= 4
    low, high, weight = rows
    first, second = _whole(weight[:, np.newaxis])
    tall = (wide[:, low] * first) >> 16
    tall += (wide[:, high] * second) >> 16
    tall += 2
    tall >>= 2
    result: np.ndarray = tall.astype(np.uint8)
    return result


def _whole(weight: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The weights of both positions as OpenCV has them: each rounded by itself."""
    one = np.float32(1 << _WEIGHT_BITS)
    return np.rint((np.float32(1) - weight) * one).astype(np.int32), np.rint(weight * one).astype(np.int32)


def _taps(old: int, new: int) -> _Taps:
    """For each new position: the two old positions around it and the weight of the second."""
    at = ((np.arange(new, dtype=np.float64) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    low = np.floor(at).astype(np.int64)
    weight = at - low.astype(np.float32)
    return np.clip(low, 0, old - 1), np.clip(low + 1, 0, old - 1), weight
