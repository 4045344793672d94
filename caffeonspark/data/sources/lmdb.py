"""Writing LMDBs; ``lmdb_file`` reads them."""

from __future__ import annotations

import itertools
import os
from typing import Iterable, List, Tuple

import lmdb

from ...errors import DataError, StorageError

__all__ = ["MAX_KEY", "write_entries"]

#: The longest key, in bytes: LMDB's MDB_MAXKEYSIZE.
MAX_KEY = 511

_TRANSACTION = 1000  # entries


def write_entries(folder: str, entries: Iterable[Tuple[bytes, bytes]], name: str = "") -> int:
    """Write an LMDB of (key, value) entries into a folder that is empty or not there yet; how many there are.

    An LMDB is in the order of its keys; it is smallest when they come in that order.

    Parameters
    ----------
    folder : local; where something fails, a part of the database stays there
    entries : keys have 1 to MAX_KEY bytes
    name : what errors call it, by default its folder

    Raises
    ------
    DataError
        If a key comes twice.
    StorageError
        If the database cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    rest = iter(entries)
    count, last = 0, b""
    try:
        # without lock=False, an empty lock file would stay next to the data
        with lmdb.open(folder, map_size=1 << 30, mode=0o644, lock=False, sync=False) as env:
            while True:
                some = list(itertools.islice(rest, _TRANSACTION))
                if not some:
                    env.sync(True)
                    return count
                _put(env, some, last)
                count += len(some)
                last = max(last, *(key for key, _ in some))
    except lmdb.Error as e:
        raise StorageError(f"{name or folder} cannot be written: {e}") from None


def _put(env: lmdb.Environment, entries: List[Tuple[bytes, bytes]], last: bytes) -> None:
    """Put entries into a database whose last key is ``last``; it grows as it must."""
    while True:
        highest = last
        try:
            with env.begin(write=True) as transaction:
                for key, value in entries:
                    # appending fills the pages; otherwise LMDB leaves half of each free
                    if not transaction.put(key, value, append=key > highest, overwrite=False):
                        raise DataError(
                            f"two rows have the id '{key.decode(errors='replace')}', which is the LMDB's key"
                        )
                    highest = max(highest, key)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
