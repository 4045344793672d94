"""Files of data sets, made small for tests."""

import io
import struct
import tarfile
import zlib

import lmdb
import numpy as np
from PIL import Image


def write_lmdb(path, images, labels, floats=False, encoded=None):
    """An LMDB of Datums as Caffe's tools write it; images are (n, channels, height, width)."""
    from caffeonspark.nets.schema import Datum

    with lmdb.open(str(path), map_size=1 << 30) as env, env.begin(write=True) as transaction:
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
            transaction.put(b"%08d" % number, datum.SerializeToString())
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
