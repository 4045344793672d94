"""Frames between ranks and the driver: a kind, JSON data, and raw bytes. Nothing is ever unpickled."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator

__all__ = ["PIECE", "Frame", "FrameBuffer"]

_HEAD = struct.Struct("!4sII")  # magic, bytes of JSON, bytes of payload
_MAGIC = b"CoSF"
_MAX_JSON = 4 << 20
#: Bytes of a file that travel in one frame.
PIECE = 1 << 20


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: str
    data: Dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def pack(self) -> bytes:
        body = json.dumps([self.kind, self.data]).encode()
        return _HEAD.pack(_MAGIC, len(body), len(self.payload)) + body + self.payload


class FrameBuffer:
    """Puts frames together from what arrives; raises ValueError when it is not frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes; the frames that are complete now."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            magic, size, extra = _HEAD.unpack_from(self._data)
            if magic != _MAGIC or size > _MAX_JSON or extra > PIECE:
                raise ValueError("not a frame")
            end = _HEAD.size + size + extra
            if len(self._data) < end:
                return
            kind, content = json.loads(bytes(self._data[_HEAD.size : _HEAD.size + size]))
            payload = bytes(self._data[_HEAD.size + size : end])
            del self._data[:end]
            yield Frame(str(kind), dict(content), payload)
