"""Texts as editors and old systems leave them: with a byte order mark, or with comments that are not UTF-8."""

from __future__ import annotations

import codecs
import re

__all__ = ["decoded", "is_readable", "without_mark"]

# a comment, or a string, in which a # begins none
_PIECES = re.compile(rb"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*""")


def without_mark(content: bytes) -> bytes:
    """The content without the byte order mark of UTF-8 that some editors put before it."""
    return content[len(codecs.BOM_UTF8) :] if content.startswith(codecs.BOM_UTF8) else content


def is_readable(content: bytes) -> bool:
    """Whether the content is a prototxt's: UTF-8, whatever is in its comments."""
    try:
        _PIECES.sub(_string, without_mark(content)).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _string(piece: re.Match[bytes]) -> bytes:
    return piece.group(1) or b""


def decoded(content: bytes) -> str:
    """The text of a prototxt that is readable; lines keep their numbers."""
    return without_mark(content).decode("utf-8", "replace")
