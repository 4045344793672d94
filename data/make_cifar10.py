"""Write CIFAR-10 as LMDBs with the mean of the training images, from the binary version's tarball."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Optional, Sequence

from dataset_paths import cifar10_folder

from caffeonspark.errors import ConfigError
from caffeonspark.tools import datasets
from caffeonspark.tools.cifar10 import read_cifar10

OUTPUTS = ["cifar10_train_lmdb", "cifar10_test_lmdb", "mean.binaryproto"]


def make_cifar10(tarball: str, to: str, overwrite: bool = False) -> None:
    """Write ``cifar10_train_lmdb``, ``cifar10_test_lmdb`` and ``mean.binaryproto`` into the folder ``to``."""
    with datasets.new_outputs(to, OUTPUTS, overwrite) as part:
        found = read_cifar10(tarball)
        for name, (images, labels) in found.items():
            datasets.write_lmdb(os.path.join(part, f"cifar10_{name}_lmdb"), images, labels, digits=5)
        datasets.write_mean(os.path.join(part, "mean.binaryproto"), found["train"][0])


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = datasets.ArgumentParser(__doc__ or "", to=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="cifar-10-binary.tar.gz; default: in CAFFEONSPARK_CIFAR10"
    )
    parser.add_argument("--url", help="the address to fetch it from")
    args = parser.parse_args(argv)
    tarball = cifar10_folder() / "cifar-10-binary.tar.gz"
    if args.source is None and args.url is None and tarball.exists():
        args.source = str(tarball)
    if (args.source is None) == (args.url is None):
        raise ConfigError(
            "give --from with the path of cifar-10-binary.tar.gz (or set CAFFEONSPARK_CIFAR10, its folder), or --url "
            "with its address"
        )
    datasets.check_free(args.to, OUTPUTS, args.overwrite)
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source if args.url is None else datasets.download(args.url, scratch)
        make_cifar10(source, args.to, args.overwrite)


if __name__ == "__main__":
    sys.exit(datasets.run_script(main))
