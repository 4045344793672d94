"""SequenceFiles as Hadoop writes them, compressed in blocks, gzip included, with or without its native library."""

import gzip
import zlib

import pytest

from caffeonspark import Config, DataSource
from caffeonspark.data.sources.sequence_file import write_key


def vint(number):
    """A number as WritableUtils.writeVInt writes it."""
    if number < 128:
        return bytes([number])
    size = (number.bit_length() + 7) // 8
    return bytes([256 - 112 - size]) + number.to_bytes(size, "big")


def text(value):
    data = value.encode()
    return vint(len(data)) + data


def block_compressed(codec, compress, pairs):
    """A block-compressed SequenceFile of (Text, BytesWritable), in two blocks."""
    sync = bytes(range(16))
    out = b"SEQ\x06" + text("org.apache.hadoop.io.Text") + text("org.apache.hadoop.io.BytesWritable")
    out += b"\x01\x01" + text(codec) + bytes(4) + sync
    for block in (pairs[:7], pairs[7:]):
        keys = [text(key) for key, _ in block]
        values = [len(value).to_bytes(4, "big") + value for _, value in block]
        out += b"\xff\xff\xff\xff" + sync + vint(len(block))
        for parts in (keys, values):
            for buffer in (b"".join(vint(len(part)) for part in parts), b"".join(parts)):
                packed = compress(buffer)
                out += vint(len(packed)) + packed
    return out


@pytest.mark.parametrize(
    ("codec", "compress"), [("GzipCodec", gzip.compress), ("DefaultCodec", zlib.compress)], ids=["gzip", "default"]
)
def test_block_compression(spark, tmp_path, codec, compress):
    images = [bytes([number] * 12) for number in range(20)]
    pairs = [(write_key((f"r{number}", str(number % 3), 1, 3, 4, False)), image) for number, image in enumerate(images)]
    (tmp_path / "seq").mkdir()
    content = block_compressed(f"org.apache.hadoop.io.compress.{codec}", compress, pairs)
    (tmp_path / "seq" / "part-00000").write_bytes(content)
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "SequenceFile" '
        f'memory_data_param {{ source: "{tmp_path}/seq" batch_size: 4 channels: 1 height: 3 width: 4 }} }} '
        'layer { name: "s" type: "Silence" bottom: "data" bottom: "label" }'
    )
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    source = DataSource(spark).getSource(Config(spark, conf=str(tmp_path / "solver.prototxt")), True)
    rows = source.sources[0].load().collect()
    assert [(row.id, row.label, bytes(row.data)) for row in rows] == [
        (f"r{number}", str(number % 3), image) for number, image in enumerate(images)
    ]
    assert source.plan.layers[0].tops[0].shape == (1, 3, 4)
