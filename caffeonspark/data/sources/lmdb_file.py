"""LMDB's files, read page by page.

LMDB itself maps its file into memory and believes what it finds there: a page beyond the end of a file that was cut is
a SIGBUS, a damaged one a failed assertion and SIGABRT, and either ends the process without an error that anybody could
report. Here every page comes by ``pread`` and is checked before it is used, so that a file may be cut, damaged, or
rewritten while it is read, and the worst is an error that says so. Nothing is locked and nothing next to the file is
touched.

The format is that of LMDB 0.9 on 64-bit little-endian machines (mdb.c: MDB_page, MDB_node, MDB_db, MDB_meta). It has
no checksums: bytes that changed inside a value look like any other value.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, NoReturn, Optional, Tuple

from ...errors import DataError

__all__ = ["Contents", "LMDBFile", "shown", "why_not_opened"]

_MAGIC = struct.Struct("<I").pack(0xBEEFC0DE)
_VERSION = 1
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_DB = struct.Struct("<IHHQQQQQ")  # size of a page, flags, depth, branch, leaf and overflow pages, entries, root
_META_END = struct.Struct("<QQ")  # last page, transaction
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower and upper bound of the free space
_OVERFLOW_PAGE = struct.Struct("<QHHI")  # number, padding, flags, how many pages follow, this one included
# low and high half of a size or page, flags (of a page: its highest part), size of the key
_NODE = struct.Struct("<HHHH")
_unpack_node = _NODE.unpack_from
_POINTER = struct.Struct("<Q")
_META_SIZE = _PAGE.size + _META.size + 2 * _DB.size + _META_END.size

_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_KINDS = 0x2F  # of these one; not whether a page was marked as dirty
_KIND = {_BRANCH: "branch", _LEAF: "leaf", _OVERFLOW: "overflow", _META_PAGE: "header"}
_IN_OVERFLOW, _DATABASE, _DUPLICATES = 0x01, 0x02, 0x04  # flags of a node in a leaf
_OTHER_ORDER = 0x02 | 0x08  # flags of a database: MDB_REVERSEKEY, MDB_INTEGERKEY
_SEVERAL_VALUES = 0x04  # MDB_DUPSORT, likewise
_ONE_VALUE = "write it with one value for each key"
_NO_PAGE = (1 << 64) - 1
_LAST_OFFSET = (1 << 63) - 1  # in any file
_LARGEST = (1 << 31) - 1  # bytes of a value, as of any protobuf message


@dataclass(frozen=True)
class Contents:
    """What a database held when it was looked at.

    Attributes
    ----------
    transaction : number of the last one that wrote it
    entries : how many there are
    first, last : their keys; b"" where there is none
    machine : which one that was seen on
    file : device and time of modification (ns) there; not the inode, which some network file systems invent
    """

    transaction: int
    entries: int
    first: bytes
    last: bytes
    machine: str
    file: Tuple[int, int]

    def difference(self, now: Contents, copied: bool = False) -> str:
        """Why ``now`` is not what was planned with, in words; "" if it is.

        Replicas that machines have made for themselves need the same entries only. On one machine the file has to be
        the same, and a copy (``copied``) has to be of the same transaction.
        """
        same_disk = not copied and (self.machine, self.file[0]) == (now.machine, now.file[0])
        if (copied or same_disk) and self.transaction != now.transaction:
            return (
                f"it was written to since the run was planned: its last transaction was {self.transaction} and is "
                f"{now.transaction}"
            )
        if same_disk and self.file != now.file:
            return "it was replaced since the run was planned"
        for what, mine, theirs in (
            ("number of entries", str(self.entries), str(now.entries)),
            ("first key", shown(self.first), shown(now.first)),
            ("last key", shown(self.last), shown(now.last)),
        ):
            if mine != theirs:
                return f"it is not what the run was planned with: the {what} was {mine} and is {theirs} here"
        return ""


class _Damage(Exception):
    """What is wrong, in words that follow "data.mdb"."""


class _Meta(NamedTuple):
    page_size: int
    flags: int
    depth: int
    entries: int
    root: int
    last_page: int
    transaction: int


#: A node of a leaf page: key, flags, bytes of the value, and what stands on the page: the value, or the page it is on.
_Node = Tuple[bytes, int, int, bytes]


class LMDBFile:
    """An LMDB as its newest transaction left it.

    Parameters
    ----------
    path : its folder, or its file
    name : what errors call it, by default its path

    Attributes
    ----------
    name : what it is and where, for errors

    Raises
    ------
    DataError
        Here and by every method: where it is no LMDB, is cut or damaged, or has changed since it was opened.
    """

    def __init__(self, path: str, name: str = "") -> None:
        self.name = f"LMDB {name or path}"
        self._path = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
        self._fd = self._open()
        self._modified = os.fstat(self._fd).st_mtime_ns
        try:
            self._meta = self._read_header()
            self._check_length()
        except _Damage as e:
            self.close()
            raise self._damaged(str(e)) from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe would be waited for
        except OSError as e:
            raise DataError(f"{self.name} cannot be opened: {why_not_opened(e)}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DataError(f"{self.name} cannot be opened: {self._path} is no regular file")
        return fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> LMDBFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- what it holds

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self._meta.entries

    def contents(self) -> Contents:
        """What is compared between those who read the same database."""
        first = self._key_at_end(0) if self.entries else b""
        last = self._key_at_end(-1) if self.entries else b""
        file = (os.fstat(self._fd).st_dev, self._modified)
        return Contents(self._meta.transaction, self.entries, first, last, _machine(), file)

    def difference(self, planned: Contents, copied: bool) -> str:
        """Why it is not what was planned with, in words; "" if it is. ``copied``: see ``Contents.difference``."""
        return planned.difference(self.contents(), copied)

    def check_unchanged(self) -> None:
        """Find out whether something has written to it since it was opened."""
        before = now = self._meta.transaction
        with contextlib.suppress(_Damage, DataError):
            now = self._read_header().transaction
        if now == before and os.fstat(self._fd).st_mtime_ns == self._modified:
            return
        how = "its file was overwritten" if now == before else f"its last transaction was {before} and is {now} now"
        raise DataError(
            f"{self.name} was written to while it was read: {how}. Start again when nothing writes to it any more, or "
            "use a copy"
        )

    def read(self, start: int, stop: int, step: int = 1) -> Iterator[Tuple[int, bytes, bytes]]:
        """(number, key, value) of the entries ``start``, ``start + step``, … below ``stop``, in their order."""
        if stop <= start:
            return
        try:
            yield from self._read(start, min(stop, self.entries), step)
        except (_Damage, DataError) as e:
            self.check_unchanged()  # pages that were used again look damaged
            raise self._damaged(str(e)) if isinstance(e, _Damage) else e from None
        self.check_unchanged()

    # ---- errors

    def _damaged(self, what: str) -> DataError:
        return DataError(
            f"{self.name} is damaged: {os.path.basename(self._path)} {what}. Copy it again, and compare the copy with "
            "the original (sha256sum)"
        )

    def _no_lmdb(self, what: str) -> NoReturn:
        raise DataError(f"{self.name} is no LMDB that can be read here: {os.path.basename(self._path)} {what}")

    # ---- pages

    def _pread(self, size: int, at: int) -> bytes:
        if at + size > _LAST_OFFSET:
            return b""
        try:
            data = os.pread(self._fd, size, at)
            while 0 < len(data) < size:  # Linux reads 2 GB at most at a time, network file systems less
                more = os.pread(self._fd, size - len(data), at + len(data))
                if not more:
                    break
                data += more
        except MemoryError:
            raise _Damage(f"has a value of {size} bytes, for which there is no memory") from None
        except OSError as e:
            raise DataError(f"{self.name} cannot be read: {e.strerror}") from None
        return data

    def _page_start(self, number: int, size: int) -> bytes:
        if not 2 <= number <= self._meta.last_page:
            raise _Damage(f"refers to page {number}, and its last one is {self._meta.last_page}")
        data = self._pread(size, number * self._meta.page_size)
        if len(data) < size:
            raise _Damage(f"ends before page {number} does")
        return data

    def _bounds(self, data: bytes, number: int, kind: int) -> Tuple[int, int]:
        """How many nodes a page has, and where the first one may begin."""
        found, _, flags, lower, upper = _PAGE.unpack_from(data)
        if found != number or flags & _KINDS != kind:
            raise _Damage(f"has no {_KIND[kind]} page where page {number} should be one")
        if not _PAGE.size < lower <= upper <= self._meta.page_size or lower % 2:
            raise _Damage(f"has a damaged page {number}")
        return (lower - _PAGE.size) // 2, upper

    def _branch(self, number: int) -> Tuple[List[bytes], List[int]]:
        """The keys of a branch page, of which the first has no meaning, and the pages below it."""
        page = self._page_start(number, self._meta.page_size)
        count, upper = self._bounds(page, number, _BRANCH)
        keys, pages, used = [], [], 0
        for at in struct.unpack_from(f"<{count}H", page, _PAGE.size):
            if not upper <= at <= len(page) - _NODE.size:
                raise _Damage(f"has a damaged page {number}")
            low, high, highest, size = _NODE.unpack_from(page, at)
            end = at + _NODE.size + size
            keys.append(page[at + _NODE.size : end])
            pages.append(low | high << 16 | highest << 32)
            used += _NODE.size + size + size % 2
        if used != len(page) - upper:  # nodes leave no gaps
            raise _Damage(f"has a damaged page {number}")
        return keys, pages

    def _leaf(self, number: int, low: bytes = b"", high: Optional[bytes] = None) -> List[_Node]:
        """The nodes of a leaf page, whose keys are in order: a page in another one's place is noticed."""
        page = self._page_start(number, self._meta.page_size)
        count, upper = self._bounds(page, number, _LEAF)
        size, used, last = len(page), 0, b""
        ordered = not self._meta.flags & _OTHER_ORDER
        nodes = []
        for at in struct.unpack_from(f"<{count}H", page, _PAGE.size):
            if not upper <= at <= size - 8:
                raise _Damage(f"has a damaged page {number}")
            length, high_half, flags, key_size = _unpack_node(page, at)
            begin = at + 8 + key_size
            key = page[at + 8 : begin]
            length |= high_half << 16
            end = begin + (8 if flags & _IN_OVERFLOW else length)
            if end > size or not key_size or flags > 7:
                raise _Damage(f"has a damaged page {number}")
            if ordered and key <= last:
                raise _Damage(f"has keys on page {number} that are not in order")
            used += end - at + (end - at & 1)
            nodes.append((key, flags, length, page[begin:end]))
            last = key
        if used != size - upper:  # nodes leave no gaps
            raise _Damage(f"has a damaged page {number}")
        if ordered and (nodes[0][0] < low or (high is not None and last >= high)):
            raise _Damage(f"has keys on page {number} that are not in order")
        return nodes

    def _value(self, node: _Node) -> bytes:
        key, flags, size, content = node
        if not flags:
            return content
        if flags & _DUPLICATES:
            raise DataError(
                f"{self.name} has several values for the key '{shown(key)}' (MDB_DUPSORT), which is not read: "
                f"{_ONE_VALUE}"
            )
        if flags & _DATABASE:
            raise DataError(
                f"{self.name} holds a database of its own under the name '{shown(key)}', which Caffe does not read: "
                "write the records into the main database"
            )
        first, last = self._overflow(node)
        data = self._page_start(first, _PAGE.size + size)
        found, _, kind, pages = _OVERFLOW_PAGE.unpack_from(data)
        if found != first or kind & _KINDS != _OVERFLOW or pages <= last - first:
            raise _Damage(f"has no overflow page for a value of {size} bytes where page {first} should be one")
        return data[_PAGE.size :]

    def _overflow(self, node: _Node) -> Tuple[int, int]:
        """The first and the last of the pages that a long value fills."""
        _, _, size, content = node
        (first,) = _POINTER.unpack(content)
        last = first + (_PAGE.size + size - 1) // self._meta.page_size
        if last > self._meta.last_page or size > _LARGEST:
            raise _Damage(f"has a value of {size} bytes from page {first}, and its last page is {self._meta.last_page}")
        return first, last

    # ---- the tree

    def _leaves(
        self, page: int, level: int = 1, low: bytes = b"", high: Optional[bytes] = None
    ) -> Iterator[Tuple[int, bytes, Optional[bytes]]]:
        """Each leaf page below ``page``, and the range of its keys: from ``low``, below ``high``."""
        if level == self._meta.depth:
            yield page, low, high
            return
        keys, pages = self._branch(page)
        for number, below in enumerate(pages):
            after = keys[number + 1] if number + 1 < len(keys) else high
            yield from self._leaves(below, level + 1, keys[number] if number else low, after)

    def _key_at_end(self, which: int) -> bytes:
        """The first (0) or last (-1) key."""
        try:
            page = self._meta.root
            for _ in range(self._meta.depth - 1):
                page = self._branch(page)[1][which]
            return self._leaf(page)[which][0]
        except _Damage as e:
            raise self._damaged(str(e)) from None

    def _read(self, start: int, stop: int, step: int) -> Iterator[Tuple[int, bytes, bytes]]:
        passed = 0  # entries before the leaf
        most = os.fstat(self._fd).st_size // self._meta.page_size
        for leaf, (number, low, high) in enumerate(self._leaves(self._meta.root) if self.entries else ()):
            if stop <= passed < self.entries:
                return
            if leaf > most:  # a few pages that name each other again and again make a tree without an end
                raise _Damage("has branch pages that lead to the same leaf pages")
            if passed < start:  # how many entries it has is enough where none of them is asked for
                count, _ = self._bounds(self._page_start(number, _PAGE.size), number, _LEAF)
                if passed + count <= start:
                    passed += count
                    continue
            nodes = self._leaf(number, low, high)
            if passed + len(nodes) > self.entries:
                raise _Damage(f"holds more than the {self.entries} entries that its header speaks of")
            while start < min(stop, passed + len(nodes)):
                node = nodes[start - passed]
                yield start, node[0], self._value(node)
                start += step
            passed += len(nodes)
        if passed < self.entries and self._meta.flags & _SEVERAL_VALUES:
            raise DataError(
                f"{self.name} has several values for some keys (MDB_DUPSORT), which is not read: {_ONE_VALUE}"
            )
        if passed < self.entries:
            raise _Damage(f"holds {passed} entries, and its header speaks of {self.entries}")

    # ---- the header

    def _read_header(self) -> _Meta:
        start = self._pread(_META_SIZE, 0)
        magic = start[_PAGE.size : _PAGE.size + 4]
        if magic != _MAGIC:
            self._explain_start(start)
        if len(start) < _META_SIZE:
            raise _Damage(f"ends after {len(start)} bytes")
        first = self._parse_meta(start, 0)
        both = [first, self._parse_meta(self._pread(_META_SIZE, first.page_size), 1)]
        # a transaction's header goes to the page of its number's last bit
        older, newest = sorted(both, key=lambda meta: meta.transaction)
        if newest.transaction and (
            newest.transaction != older.transaction + 1 or both[newest.transaction % 2] is not newest
        ):
            raise _Damage(
                f"has headers of transactions {first.transaction} and {both[1].transaction}, which do not follow each "
                "other"
            )
        return newest

    def _explain_start(self, start: bytes) -> NoReturn:
        if not start:
            self._no_lmdb("is empty")
        if start.startswith(b"version https://git-lfs"):
            self._no_lmdb("is a pointer of git-lfs: fetch the file itself (git lfs pull)")
        if start[12:16] == _MAGIC or start[12:16] == _MAGIC[::-1]:
            self._no_lmdb(
                "was written on a 32-bit machine: write it again on one like this (mdb_dump there, mdb_load here)"
            )
        if start[_PAGE.size : _PAGE.size + 4] == _MAGIC[::-1]:
            self._no_lmdb("was written on a big-endian machine: write it again here (mdb_dump there, mdb_load here)")
        if not start.strip(b"\0"):
            raise _Damage("begins with zeros")
        self._no_lmdb("does not begin as LMDB's files do")

    def _parse_meta(self, data: bytes, page: int) -> _Meta:
        if len(data) < _META_SIZE:
            raise _Damage("ends in its header")
        number, _, flags, _, _ = _PAGE.unpack_from(data)
        _, version, _, _ = _META.unpack_from(data, _PAGE.size)
        if number != page or not flags & _META_PAGE or data[_PAGE.size : _PAGE.size + 4] != _MAGIC:
            raise _Damage(f"has no header on page {page}")
        if version != _VERSION:
            self._no_lmdb(
                f"has version {version} of LMDB's format, and {_VERSION}, that of LMDB 0.9, is read: write it again "
                "(mdb_dump, then LMDB 0.9's mdb_load)"
            )
        at = _PAGE.size + _META.size
        page_size = _DB.unpack_from(data, at)[0]
        _, flags, depth, _, _, _, entries, root = _DB.unpack_from(data, at + _DB.size)
        last_page, transaction = _META_END.unpack_from(data, at + 2 * _DB.size)
        empty = root == _NO_PAGE
        if (
            page_size not in [1 << bits for bits in range(8, 16)]
            or (depth == 0) != empty
            or (entries == 0) != empty
            or (transaction == 0 and not empty)
            or depth > 32
            or last_page < 1
        ):
            raise _Damage(f"has a damaged header on page {page}")
        return _Meta(page_size, flags, depth, entries, root, last_page, transaction)

    def _check_length(self) -> None:
        """Find a file that was cut, or whose header cannot be true, before anything is read from it."""
        size, needed = os.fstat(self._fd).st_size, (self._meta.last_page + 1) * self._meta.page_size
        if self.entries > size:
            raise _Damage(f"has {size} bytes, and its header speaks of {self.entries} entries")
        if size >= needed:
            return
        # LMDB does not write the last pages where their transaction freed them again: what is used has to be there
        try:
            end = self._end_of_what_is_used()
        except _Damage:
            end = needed
        if size < end:
            raise _Damage(f"is cut: it has {size} bytes, and its header speaks of {needed}")

    def _end_of_what_is_used(self) -> int:
        """Where the last page that belongs to an entry ends, in bytes."""
        last = 1
        for page, low, high in self._leaves(self._meta.root) if self.entries else ():
            last = max(last, page)
            for node in self._leaf(page, low, high):
                if node[1] & _IN_OVERFLOW:
                    last = max(last, self._overflow(node)[1])
        return (last + 1) * self._meta.page_size


def why_not_opened(e: OSError) -> str:
    """Why a file that has to be on every machine cannot be opened here, in words."""
    if e.errno == errno.ENOENT:
        return "it has to be at this path on every machine, and here it is not"
    return str(e.strerror)


def shown(key: bytes) -> str:
    """A key as it is named in errors."""
    return key.decode("utf-8", "backslashreplace")


def _machine() -> str:
    """What tells this machine, as long as it is up, from others; containers on it share it."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return f.read().strip()
    except OSError:
        return socket.gethostname()
