"""Records and frames that nobody honest sends."""

import os
import struct

from caffeonspark.comm import encryption
from tests.support import adversary

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def records(*contents):
    encryptor = encryption.Encryptor(KEY)
    return [encryptor.encrypt(content) for content in contents]


TAMPERED = {
    "flipped in the content": lambda r: [r[0], _flip(r[1], 20), r[2]],
    "flipped in the tag": lambda r: [r[0], _flip(r[1], -1), r[2]],
    "flipped in the length": lambda r: [r[0], _flip(r[1], 3), r[2]],
    "replayed": lambda r: [r[0], r[0], r[1]],
    "reordered": lambda r: [r[1], r[0]],
    "dropped": lambda r: [r[0], r[2]],
    "cut short": lambda r: [r[0], r[1][:-1], r[2]],
    "of another key": lambda r: [r[0], encryption.Encryptor(OTHER_KEY).encrypt(b"two" * 50)],
    "of the other direction": lambda r: [r[0], encryption.Encryptor(KEY[::-1]).encrypt(b"two" * 50)],
    "in clear": lambda r: [r[0], b"\0\0\0\x10" + bytes(32)],
    "without content": lambda r: [r[0], bytes(20)],
    "oversized": lambda r: [r[0], struct.pack("!I", encryption.RECORD + 1)],
    "huge": lambda r: [r[0], b"\xff\xff\xff\xff"],
    "two halves joined": lambda r: [r[0], r[1][:40] + r[2][40:]],
}


def _flip(data, at):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


BAD_FRAMES = {
    "garbage": os.urandom(64),
    "another magic": b"CoSX" + bytes(100),
    "an oversized body": adversary.FRAME.pack(b"CoSF", (4 << 20) + 1, 0),
    "an oversized payload": adversary.FRAME.pack(b"CoSF", 2, (1 << 20) + 1),
    "the largest sizes": adversary.FRAME.pack(b"CoSF", 0xFFFFFFFF, 0xFFFFFFFF),
    "no JSON": adversary.FRAME.pack(b"CoSF", 4, 0) + b"abcd",
    "no UTF-8": adversary.FRAME.pack(b"CoSF", 4, 0) + b'"\xff\xfe"',
    "no body": adversary.FRAME.pack(b"CoSF", 0, 0),
    "a number": adversary.FRAME.pack(b"CoSF", 1, 0) + b"1",
    "one element": adversary.FRAME.pack(b"CoSF", 9, 0) + b'["hello"]',
    "a kind that is no string": adversary.FRAME.pack(b"CoSF", 6, 0) + b"[1,{}]",
    "data that is no object": adversary.FRAME.pack(b"CoSF", 9, 0) + b'["a",[1]]',
    "deep JSON": adversary.FRAME.pack(b"CoSF", 1 << 20, 0) + b"[" * (1 << 20),
    "a number of a million digits": adversary.FRAME.pack(b"CoSF", 1 << 20, 0) + b"9" * (1 << 20),
    "a pickle": adversary.FRAME.pack(b"CoSF", 0, 40) + bytes(40),
}
