"""Numbers in 16 bits: the upper half of a float32, rounded to nearest, ties to even.

It has float32's range and 8 bits of precision. What rounding took is kept and added the next time (error feedback), so
that over many sums nothing is lost: what was handed on is the sum of what came in, but for the last rounding.
"""

from __future__ import annotations

import sys
from typing import Sequence

import numpy as np

__all__ = ["decode", "round_with_feedback", "truncate"]

_BLOCK = 16 << 10  # values that are rounded at a time, so that they are in the processor's cache
_NAN = 0x7FC0
_HUGE = 2.0**127  # rounding makes values of nearly twice as much infinite
_UPPER = 1 if sys.byteorder == "little" else 0  # which half of 32 bits is the upper one


def truncate(values: np.ndarray, out: np.ndarray) -> None:
    """Float32 values in 16 bits (uint16), of values that have been rounded already."""
    out[...] = _upper(values)


def decode(encoded: np.ndarray, out: np.ndarray) -> None:
    """Float32 values from 16 bits."""
    bits = out.view(np.uint32)
    bits[...] = encoded
    bits <<= np.uint32(16)


def round_with_feedback(pieces: Sequence[np.ndarray], residual: np.ndarray, out: np.ndarray) -> None:
    """Round what pieces hold, with what was left of the last time added; the residual becomes what is left now.

    NaNs stay NaNs, and what is too large becomes infinite; nothing is left of these.

    Parameters
    ----------
    pieces : flat float32 arrays, not changed
    residual : float32, as long as all pieces together; changed
    out : uint16, as long
    """
    at = 0
    for piece in pieces:
        for low in range(0, piece.size, _BLOCK):
            part = piece[low : low + _BLOCK]
            here = slice(at + low, at + low + part.size)
            with np.errstate(invalid="ignore", over="ignore"):
                np.add(part, residual[here], out=residual[here])
                _round_block(residual[here], out[here])
        at += piece.size


def _round_block(left: np.ndarray, out: np.ndarray) -> None:
    """Round ``left``, of which what rounding takes stays."""
    regular = abs(float(left.sum())) < _HUGE
    rounded = _rounded(left)
    rounded &= np.uint32(0xFFFF0000)
    out[...] = _upper(rounded)
    if regular:
        np.subtract(left, rounded.view(np.float32), out=left)
        return
    out[np.isnan(left)] = _NAN
    known = rounded.view(np.float32)
    finite = np.isfinite(left) & np.isfinite(known)  # what is infinite, or no number, must not stay
    left[...] = np.where(finite, left, 0) - np.where(finite, known, 0)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Bits whose upper halves are the rounded values, but for NaNs."""
    bits = values.view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    return rounded


def _upper(bits: np.ndarray) -> np.ndarray:
    return bits.view(np.uint16)[_UPPER::2]
