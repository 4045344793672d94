"""Numbers in 16 bits: the upper half of a float32, rounded to nearest, ties to even.

It has float32's range and 8 bits of precision. What rounding took is kept and added the next time (error feedback), so
that over many sums nothing is lost: what was handed on is the sum of what came in, but for the last rounding.
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

__all__ = ["decode", "encode", "round_with_feedback", "truncate"]


def encode(values: np.ndarray, out: np.ndarray) -> None:
    """Float32 values in 16 bits (uint16), rounded. NaNs stay NaNs, and what is too large becomes infinite."""
    bits = values.view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    out[...] = rounded
    if math.isnan(float(values.sum())):  # infinities of both signs, too; then nothing is changed
        out[np.isnan(values)] = 0x7FC0


def truncate(values: np.ndarray, out: np.ndarray) -> None:
    """The same of values that have been rounded already."""
    np.right_shift(values.view(np.uint32), np.uint32(16), out=out, casting="unsafe")


def decode(encoded: np.ndarray, out: np.ndarray) -> None:
    """Float32 values from 16 bits."""
    bits = out.view(np.uint32)
    bits[...] = encoded
    bits <<= np.uint32(16)


def round_with_feedback(pieces: Sequence[np.ndarray], residual: np.ndarray, out: np.ndarray) -> None:
    """Round what pieces hold, with what was left of the last time added; the residual becomes what is left now.

    Parameters
    ----------
    pieces : flat float32 arrays, not changed
    residual : float32, as long as all pieces together; changed
    out : uint16, as long
    """
    at = 0
    for piece in pieces:
        left, rounded = residual[at : at + piece.size], out[at : at + piece.size]
        np.add(piece, left, out=left)
        encode(left, rounded)
        value = np.empty_like(left)
        decode(rounded, value)
        with np.errstate(invalid="ignore"):  # infinity less itself
            np.subtract(left, value, out=left)
        _drop_what_is_no_number(left)
        at += piece.size


def _drop_what_is_no_number(left: np.ndarray) -> None:
    """A gradient that is infinite, or none, must not stay in the residual for ever."""
    if not math.isfinite(float(left.sum())):
        left[~np.isfinite(left)] = 0
