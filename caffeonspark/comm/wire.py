"""Frames between ranks and the driver: a kind, JSON data, and raw bytes. Nothing is ever unpickled."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Iterator, Optional, Union

from ..errors import TrainingError
from .checksum import Seeds, Stamper, Verifier
from .encryption import Decryptor, Encryptor, Keys

__all__ = ["PIECE", "Frame", "FrameBuffer", "FrameKind", "Wire"]

_HEAD = struct.Struct("!4sII")  # magic, bytes of JSON, bytes of payload
_MAGIC = b"CoSF"
_MAX_JSON = 4 << 20
#: Bytes of a file that travel in one frame.
PIECE = 1 << 20


class FrameKind(str, Enum):
    """What a frame says; the values are what travels, and equal to the members as keys too."""

    def __hash__(self) -> int:
        return str.__hash__(self)

    # from a rank
    HELLO = "hello"  # who and where it is, and what its processor and its BLAS can do
    HEARTBEAT = "heartbeat"  # it is at work
    READY = "ready"  # it has its records, and listens
    REFUSED = "refused"  # connections that it hung up on, by host
    ENGINE = "engine"  # its engine is loaded: versions, and how it computes
    PROGRESS = "progress"
    RANK_LOSSES = "rank losses"  # each rank's own, where their models differ
    VALIDATION = "test"
    SUSPECT = "suspect"  # the batch that it died of in the attempt before
    DONE = "done"
    FAILED = "failed"
    BYE = "bye"
    FILE = "<file"  # to the sidecar: a file to send
    # from a rank's sidecar
    DIED = "died"
    LOG = "log"  # also from the driver: send your log
    FILE_BEGIN = "<begin"
    FILE_PIECE = "<piece"
    FILE_END = "<end"
    # from the driver
    PEERS = "peers"  # where the other ranks listen, and the kernels of their BLAS
    STOP = "stop"  # after this iteration
    ABORT = "abort"
    # of the driver's own: a connection that broke; another process that claims to be a connected rank
    LOST = "lost"
    CLAIMED = "claimed"
    # files
    MODEL = "model"
    SNAPSHOT_WEIGHTS = "snapshot weights"
    SNAPSHOT_STATE = "snapshot state"
    SNAPSHOT_PART = "snapshot part"


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: str
    data: Dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def pack(self) -> bytes:
        body = json.dumps([self.kind, self.data]).encode()
        if len(body) > _MAX_JSON:
            raise TrainingError(
                f"what a rank has to say about '{self.kind}' takes {len(body) >> 20} MB, and {_MAX_JSON >> 20} MB is "
                "the most: does a TEST net have outputs of very many values?"
            )
        return _HEAD.pack(_MAGIC, len(body), len(self.payload)) + body + self.payload


def _whole_number(digits: str) -> int:
    if len(digits) > 20:  # Python takes minutes for a number of a million digits
        raise ValueError("a number too long")
    return int(digits)


_decoder = json.JSONDecoder(parse_int=_whole_number)


class FrameBuffer:
    """Puts frames together from what arrives; raises ValueError when it is not frames.

    Holds at most one frame and what came with its end.
    """

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
            body = bytes(self._data[_HEAD.size : _HEAD.size + size])
            payload = bytes(self._data[_HEAD.size + size : end])
            del self._data[:end]
            yield _frame(body, payload)


def _frame(body: bytes, payload: bytes) -> Frame:
    try:
        content = _decoder.decode(body.decode())
    except RecursionError:
        raise ValueError("a frame too deep") from None
    if not (isinstance(content, list) and len(content) == 2):
        raise ValueError("a frame without kind and data")
    kind, data = content
    if not (isinstance(kind, str) and isinstance(data, dict)):
        raise ValueError("a frame without kind and data")
    return Frame(kind, data, payload)


class Wire:
    """One end of a connection over a network: frames to bytes and back, encrypted where the connection has keys, with
    checksums where it has seeds."""

    def __init__(self, keys: Optional[Keys], seeds: Optional[Seeds] = None) -> None:
        self._encryptor: Optional[Encryptor] = None
        self._stamper: Optional[Stamper] = None
        self._reader: Union[Decryptor, Verifier, None] = None
        if keys is not None:
            self._encryptor, self._reader = Encryptor(keys.send), Decryptor(keys.receive)
        elif seeds is not None:
            self._stamper, self._reader = Stamper(seeds.send), Verifier(seeds.receive)
        self._buffer = FrameBuffer()

    def pack(self, frame: Frame) -> bytes:
        """The bytes to send, in the order of the calls."""
        return self.protect(frame.pack())

    def protect(self, data: bytes) -> bytes:
        """What travels for these bytes."""
        if self._encryptor is not None:
            return self._encryptor.encrypt(data)
        return data if self._stamper is None else self._stamper.stamp(data)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes; raises ValueError when the other end did not send them."""
        for content in [data] if self._reader is None else self._reader.feed(data):
            yield from self._buffer.feed(content)
