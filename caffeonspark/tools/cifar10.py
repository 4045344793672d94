"""CIFAR-10 from the binary version's tarball."""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from typing import Dict, Tuple

import numpy as np

from ..errors import DataError, StorageError

__all__ = ["read_cifar10"]

FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the pixels


def read_cifar10(tarball: str, name: str = "") -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Images, (n, 3, 32, 32) uint8 RGB, and labels, (n,) uint8, of "train" and "test".

    ``name`` is what errors call the tarball, by default its path. Raises StorageError or DataError.
    """
    where = name or tarball
    wanted = {name for names in FILES.values() for name in names}
    files = {}
    try:
        with tarfile.open(tarball) as tar:
            for member in tar:
                base = posixpath.basename(member.name)
                if base in wanted and member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None  # it is a file
                    files[base] = np.frombuffer(content.read(), np.uint8)
    except (tarfile.TarError, EOFError, zlib.error) as e:
        raise DataError(f"{where}: no tarball, or a damaged one ({e})") from None
    except OSError as e:
        raise StorageError(f"{where}: {e.strerror or e}") from None
    found = {}
    for phase, parts in FILES.items():
        for part in parts:
            if part not in files:
                raise DataError(f"{where}: {part} is missing: the binary version of CIFAR-10 is needed")
            if not files[part].size or files[part].size % _RECORD:
                raise DataError(f"{where}: {part} has {files[part].size} bytes, not a multiple of {_RECORD}")
        records = np.concatenate([files[part] for part in parts]).reshape(-1, _RECORD)
        found[phase] = records[:, 1:].reshape(-1, *_SHAPE), records[:, 0]
    return found
