"""Files of data sets, made small for tests."""

import contextlib
import io
import struct
import tarfile
import zlib

import lmdb
import numpy as np
from PIL import Image


def datums(images, labels, floats=False, encoded=None):
    """Keys and Datums as Caffe's tools write them; images are (n, channels, height, width)."""
    from caffeonspark.nets.schema import Datum

    for number, (image, label) in enumerate(zip(images, labels)):
        datum = Datum(label=int(label))
        if encoded is not None:
            datum.encoded, datum.data = True, encoded(image)
        else:
            datum.channels, datum.height, datum.width = image.shape
            if floats:
                datum.float_data.extend(float(v) for v in image.reshape(-1))
            else:
                datum.data = image.tobytes()
        yield b"%08d" % number, datum.SerializeToString()


def write_lmdb(path, images, labels, **options):
    """An LMDB of these ``datums``."""
    with lmdb.open(str(path), map_size=1 << 30) as env, env.begin(write=True) as transaction:
        for key, value in datums(images, labels, **options):
            transaction.put(key, value)
    return path


def write_leveldb(path, images, labels, buffer=1 << 16, **options):
    """A LevelDB of these ``datums``, with as many tables as a buffer of so many bytes gives, and a log."""
    import plyvel

    with contextlib.closing(plyvel.DB(str(path), create_if_missing=True, write_buffer_size=buffer)) as database:
        for key, value in datums(images, labels, **options):
            database.put(key, value)
    return path


def idx(array):
    """A file of MNIST's format."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def numbers(*shape):
    return np.random.default_rng(list(shape)).integers(0, 256, shape, np.uint8)


def cifar_tarball(path, per_file=20, leave_out=()):
    """A tarball like CIFAR-10's, with few images; the training images and labels."""
    records = numbers(6, per_file, 3073)
    records[:, :, 0] %= 10
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    with tarfile.open(path, "w:gz") as tar:
        for name, content in [("batches.meta.txt", b"airplane\n"), *zip(names, map(np.ndarray.tobytes, records))]:
            if name not in leave_out:
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    train = records[:5].reshape(-1, 3073)
    return train[:, 1:].reshape(-1, 3, 32, 32), train[:, 0]


def entries(path):
    """The keys and values of an LMDB."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return list(transaction.cursor())


def encode(image, kind="PNG", **options):
    """A grey (1, height, width) image as a file."""
    out = io.BytesIO()
    Image.fromarray(image[0]).save(out, kind, **options)
    return out.getvalue()


def png_claiming(height, width):
    """A small PNG whose header claims another size."""
    content = bytearray(encode(np.zeros((1, 8, 8), np.uint8)))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)
