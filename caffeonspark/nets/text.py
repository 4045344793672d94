"""Texts as editors and old systems leave them: with a byte order mark, or with comments that are not UTF-8."""

from __future__ import annotations

import codecs
import re
from typing import List

__all__ = ["as_caffe_reads", "decoded", "is_readable", "lines_of", "printable", "why_unreadable", "without_mark"]

# a comment, or a string, in which a # begins none
_PIECES = re.compile(rb"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*""")
_CODE = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|#[^\n]*)""")
_MINUS = re.compile(r"-[ \t]+(?=[\d.]|inf|nan)", re.IGNORECASE)
_FLOAT = re.compile(r"(?<![\w.])((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)F\b")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")  # but for tabs and the ends of lines and pages
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def without_mark(content: bytes) -> bytes:
    """The content without the byte order mark of UTF-8 that some editors put before it."""
    return content[len(codecs.BOM_UTF8) :] if content.startswith(codecs.BOM_UTF8) else content


def is_readable(content: bytes) -> bool:
    """Whether the content is a prototxt's: UTF-8 without control characters, whatever is in its comments."""
    return not why_unreadable(content)


def why_unreadable(content: bytes) -> str:
    """What follows a file's name in the error about content that is no prototxt's; "" for one that may be."""
    if content.startswith(_UTF16):
        return ": it is UTF-16: save it as UTF-8"
    code = _PIECES.sub(_string, without_mark(content))
    if _CONTROL.search(code):
        return ": not a prototxt: it is not text"
    try:
        code.decode("utf-8")
    except UnicodeDecodeError as e:
        line = code.count(b"\n", 0, e.start) + 1
        return f":{line}: not UTF-8 (the byte 0x{code[e.start]:02x}), as all but comments has to be: save it as UTF-8"
    return ""


def _string(piece: re.Match[bytes]) -> bytes:
    return piece.group(1) or b""


def decoded(content: bytes) -> str:
    """The text of a prototxt that is readable; lines keep their numbers."""
    return without_mark(content).decode("utf-8", "replace")


def lines_of(content: bytes) -> List[str]:
    """The lines of a list of files. What Python takes for the end of one besides, such as U+2028, may be in a name, and
    so may bytes that are not UTF-8, which become surrogates as in ``os.fsdecode``."""
    return re.split(r"\r\n|\n|\r", without_mark(content).decode("utf-8", "surrogateescape"))


def as_caffe_reads(text: str) -> str:
    """The text with numbers as Python's protobuf reads them where only C++'s does: ``- 1`` and ``0.9F``. Lines stay."""
    pieces = _CODE.split(text)  # every second one is a string or a comment
    pieces[::2] = (_FLOAT.sub(r"\1f", _MINUS.sub("-", piece)) for piece in pieces[::2])
    return "".join(pieces)


def printable(text: str, most: int = 120) -> str:
    """A piece of a file for a message: on one line, with nothing that moves a cursor, and not too long."""
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    return clean if len(clean) <= most else clean[: most - 2] + " …"
