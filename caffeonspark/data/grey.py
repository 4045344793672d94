"""Colour to grey as OpenCV's decoders do it, which Caffe uses: each image format has a rule of its own.

JPEG files are not converted: libjpeg hands out their own luminance.
"""

from __future__ import annotations

import zlib
from typing import Optional, Tuple

import numpy as np

__all__ = ["SRGB_GAMMA", "is_srgb", "to_grey"]

#: What libpng takes for a file with an sRGB chunk, times 100,000.
SRGB_GAMMA = 45455

#: Length, Adler-32 and CRC-32 of the colour profiles that libpng 1.6 takes for sRGB (png.c).
_SRGB_PROFILES = {
    (3048, 0x0A3FD9F6, 0x3B8772B9),
    (3052, 0x4909E5E1, 0x427EBB21),
    (60988, 0xFD2144A1, 0x306FD8AE),
    (60960, 0x209C35D2, 0xBBEF7812),
    (3024, 0xA054D762, 0x5D5129CE),
    (3144, 0xF784F3FB, 0x182EA552),  # Hewlett-Packard's, which many programs embed
    (3144, 0x0398F3FC, 0xF29E526D),
}

_ONE, _NEAR = 100_000, 5_000  # libpng's fixed point, and what it takes for the same


def is_srgb(profile: bytes) -> bool:
    """Whether libpng knows an ICC profile as sRGB."""
    return (len(profile), zlib.adler32(profile), zlib.crc32(profile)) in _SRGB_PROFILES


def to_grey(pixels: np.ndarray, kind: str, gamma: Optional[int] = None) -> np.ndarray:
    """Grey pixels, (height, width) uint8.

    Parameters
    ----------
    pixels : (height, width, 3) uint8, RGB
    kind : the file's format, as Pillow names it
    gamma : of a PNG file that says one, times 100,000
    """
    if kind == "PNG":
        return _of_png(pixels, gamma)
    if kind in ("WEBP", "JPEG2000"):  # cv::cvtColor
        return _weighted(pixels, (9798, 19235, 3735), 15, 1 << 14)
    return _weighted(pixels, (4899, 9617, 1868), 14, 1 << 13)  # icvCvt_BGR2Gray_8u_C3C1R


def _weighted(pixels: np.ndarray, weights: Tuple[int, int, int], bits: int, half: int) -> np.ndarray:
    total = np.full(pixels.shape[:2], half, np.int32)
    for channel, weight in enumerate(weights):
        total += pixels[:, :, channel].astype(np.int32) * weight
    return (total >> bits).astype(np.uint8)


def _of_png(pixels: np.ndarray, gamma: Optional[int]) -> np.ndarray:
    """libpng's ``png_do_rgb_to_gray`` with OpenCV's weights, cut off and not rounded; a file that says its gamma is
    converted in linear light. Grey pixels stay as they are."""
    weights = (9797, 19234, 3737)
    reciprocal = int(np.floor(1e10 / gamma + 0.5)) if gamma else _ONE
    if gamma and (_counts(gamma) or _counts(reciprocal)):
        back = _table(int(np.floor(1e10 / reciprocal + 0.5)))
        grey = back[_weighted(_table(reciprocal)[pixels], weights, 15, 1 << 14)]
    else:
        grey = _weighted(pixels, weights, 15, 0)
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    return np.where((red == green) & (red == blue), red, grey)


def _counts(gamma: int) -> bool:
    return abs(gamma - _ONE) > _NEAR


def _table(gamma: int) -> np.ndarray:
    """libpng's ``png_build_8bit_table``."""
    values = np.arange(256, dtype=np.uint8)
    if not _counts(gamma):
        return values
    table: np.ndarray = np.floor(255.0 * np.power(values / 255.0, gamma / _ONE) + 0.5).astype(np.uint8)
    return table
