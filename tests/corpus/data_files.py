"""The data that the corpus' nets name, in one folder."""

import h5py
import numpy as np
from PIL import Image

from caffeonspark.nets.schema import BlobProto
from tests.support.data_files import encode, write_leveldb, write_lmdb

__all__ = ["BATCH", "COUNT", "make_data", "make_frames"]

BATCH, COUNT = 10, 120


def for_one_solver(count=COUNT, batch=BATCH, ranks=2):
    """The records in the order in which one solver, at the batch of all ranks, meets what the ranks meet together."""
    order = np.arange(count).reshape(ranks, -1, batch)
    return order.transpose(1, 0, 2).reshape(-1)


def make_data(folder):
    """Write all of it."""
    rng = np.random.default_rng(17)
    labels = rng.integers(0, 10, COUNT)
    grey = rng.integers(0, 256, (COUNT, 1, 12, 12)).astype(np.uint8)
    colour = rng.integers(0, 256, (COUNT, 3, 12, 12)).astype(np.uint8)
    whole = for_one_solver()
    write_lmdb(folder / "images_lmdb", grey, labels)
    write_lmdb(folder / "whole_lmdb", grey[whole], labels[whole])
    write_leveldb(folder / "images_leveldb", grey, labels)
    write_leveldb(folder / "whole_leveldb", grey[whole], labels[whole])
    write_leveldb(folder / "png_leveldb", grey, labels, encoded=encode)
    sizes = [image[:, : 6 + number % 5, number % 4 :] for number, image in enumerate(grey)]
    write_lmdb(folder / "sizes_lmdb", [np.ascontiguousarray(image) for image in sizes], labels)
    write_leveldb(folder / "png_sizes_leveldb", sizes, labels, encoded=encode)
    write_lmdb(folder / "colour_lmdb", colour, labels)
    write_lmdb(folder / "png_lmdb", grey, labels, encoded=encode)
    write_lmdb(folder / "float_lmdb", rng.normal(size=(COUNT, 2, 3, 3)), labels, floats=True)
    write_numbers(folder, "numbers", grey, labels, np.arange(COUNT))
    write_numbers(folder, "whole", grey, labels, whole)
    (folder / "two_files.txt").write_text("numbers.h5\nwhole.h5\n")
    write_pictures(folder, grey, colour, labels)
    write_blob(folder / "mean.binaryproto", rng.integers(0, 200, (1, 1, 12, 12)))
    write_blob(folder / "infogain.binaryproto", np.eye(10)[np.newaxis, np.newaxis] + rng.random((1, 1, 10, 10)) / 10)


def make_frames(spark, folder):
    """The same images, and two of the data sets, as DataFrames of one file each."""
    with h5py.File(folder / "numbers.h5", "r") as f:
        rows = [(x.tolist(), target.tolist()) for x, target in zip(f["x"][()], f["target"][()])]
        images = [((256 * image).astype(np.uint8).tobytes(), int(n)) for image, n in zip(f["data"][()], f["label"][()])]
    for name, content, columns in (("numbers", rows, ["x", "target"]), ("images", images, ["data", "label"])):
        spark.createDataFrame(content, columns).coalesce(1).write.parquet(f"file:{folder}/{name}.parquet")


def inputs(folder):
    """What fills the inputs of deploy nets, of 35 rows."""
    with h5py.File(folder / "numbers.h5", "r") as f:
        return {name: f[name][:35] for name in ("data", "x", "x2")}


def write_numbers(folder, name, grey, labels, order):
    """An HDF5 file of many data sets, and the list that names it."""
    rng = np.random.default_rng(18)
    sets = {
        "data": grey / 256,
        "label": labels,
        "label5": labels % 5,
        "grid": rng.integers(0, 4, (COUNT, 2, 2)),
        "x": rng.normal(size=(COUNT, 6)),
        "x2": rng.normal(size=(COUNT, 6)),
        "target": rng.normal(size=(COUNT, 5)),
        "probability": rng.random((COUNT, 5)),
        "binary": rng.integers(0, 2, (COUNT, 5)),
        "marked": rng.integers(-1, 2, (COUNT, 5)),
        "similar": rng.integers(0, 2, COUNT),
        "words": rng.integers(0, 7, (COUNT, 4)),
        "clip": np.arange(COUNT) % 5 > 0,
        "place": rng.integers(0, BATCH, COUNT),
        "kept": np.arange(COUNT) % 3 > 0,
    }
    with h5py.File(folder / f"{name}.h5", "w") as f:
        for key, values in sets.items():
            f[key] = values[order].astype(np.float32)
    (folder / f"{name}.txt").write_text(f"{name}.h5\n")


def write_pictures(folder, grey, colour, labels):
    """PNG files, and lists of them."""
    (folder / "pictures").mkdir()
    lists = {"grey.txt": [], "colour.txt": [], "bare.txt": [], "sizes.txt": []}
    for number, (one, other, label) in enumerate(zip(grey[:40], colour[:40], labels)):
        Image.fromarray(one[0]).save(folder / "pictures" / f"g{number}.png")
        Image.fromarray(other.transpose(1, 2, 0)).save(folder / "pictures" / f"c{number}.png")
        Image.fromarray(other.transpose(1, 2, 0)[: 6 + number % 5, number % 4 :]).save(
            folder / "pictures" / f"s{number}.png"
        )
        lists["sizes.txt"].append(f"pictures/s{number}.png {label}\n")
        lists["grey.txt"].append(f"pictures/g{number}.png {label}\n")
        lists["colour.txt"].append(f"pictures/c{number}.png {label}\n")
        lists["bare.txt"].append(f"c{number}.png {label}\n")
    for name, lines in lists.items():
        (folder / name).write_text("".join(lines))


def write_blob(path, values):
    blob = BlobProto()
    blob.num, blob.channels, blob.height, blob.width = values.shape
    blob.data.extend(float(value) for value in values.ravel())
    path.write_bytes(blob.SerializeToString())
