"""Write CIFAR-10 as LMDBs with the mean of the training images, from the binary version's tarball."""

from __future__ import annotations

import os
import posixpath
import sys
import tarfile
import tempfile
import zlib
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from caffeonspark.errors import ConfigError, DataError, StorageError
from caffeonspark.tools import datasets

FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
OUTPUTS = ["cifar10_train_lmdb", "cifar10_test_lmdb", "mean.binaryproto"]
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the pixels


def read_cifar10(tarball: str) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Images, (n, 3, 32, 32) uint8 RGB, and labels, (n,) uint8, of "train" and "test"."""
    wanted = {name for names in FILES.values() for name in names}
    files = {}
    try:
        with tarfile.open(tarball) as tar:
            for member in tar:
                name = posixpath.basename(member.name)
                if name in wanted and member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None  # it is a file
                    files[name] = np.frombuffer(content.read(), np.uint8)
    except (tarfile.TarError, EOFError, zlib.error) as e:
        raise DataError(f"{tarball}: no tarball, or a damaged one ({e})") from None
    except OSError as e:
        raise StorageError(f"{tarball}: {e.strerror or e}") from None
    found = {}
    for name, parts in FILES.items():
        for part in parts:
            if part not in files:
                raise DataError(f"{tarball}: {part} is missing: the binary version of CIFAR-10 is needed")
            if not files[part].size or files[part].size % _RECORD:
                raise DataError(f"{tarball}: {part} has {files[part].size} bytes, not a multiple of {_RECORD}")
        records = np.concatenate([files[part] for part in parts]).reshape(-1, _RECORD)
        found[name] = records[:, 1:].reshape(-1, *_SHAPE), records[:, 0]
    return found


def make_cifar10(tarball: str, to: str, overwrite: bool = False) -> None:
    """Write ``cifar10_train_lmdb``, ``cifar10_test_lmdb`` and ``mean.binaryproto`` into the folder ``to``."""
    with datasets.new_outputs(to, OUTPUTS, overwrite) as part:
        found = read_cifar10(tarball)
        for name, (images, labels) in found.items():
            datasets.write_lmdb(os.path.join(part, f"cifar10_{name}_lmdb"), images, labels, digits=5)
        datasets.write_mean(os.path.join(part, "mean.binaryproto"), found["train"][0])


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = datasets.ArgumentParser(__doc__ or "", to=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--from", dest="source", metavar="FILE", help="cifar-10-binary.tar.gz")
    parser.add_argument("--url", help="the address to fetch it from")
    args = parser.parse_args(argv)
    if (args.source is None) == (args.url is None):
        raise ConfigError("give --from with the path of cifar-10-binary.tar.gz, or --url with its address")
    datasets.check_free(args.to, OUTPUTS, args.overwrite)
    with tempfile.TemporaryDirectory() as scratch:
        tarball = args.source if args.url is None else datasets.download(args.url, scratch)
        make_cifar10(tarball, args.to, args.overwrite)


if __name__ == "__main__":
    sys.exit(datasets.run_script(main))
