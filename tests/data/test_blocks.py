"""A rank's records block by block, each of them once in a pass."""

import numpy as np
import pytest

from caffeonspark import NumberTop
from caffeonspark.data.batches import BatchRandom, Blocks
from caffeonspark.data.records import Records
from caffeonspark.data.store import RecordStore


def blocks_of(folder, count, size, time_major=False):
    store = RecordStore([NumberTop("x", (2,), time_major=time_major), NumberTop("y", ())], str(folder))
    values = np.arange(count, dtype=np.float32)
    store.append(Records([str(n) for n in range(count)], [np.stack([values, values], 1), values], np.arange(count)))
    store.finish()
    return Blocks(store, size, BatchRandom(1, 0, 0), "the data")


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9])
def test_each_record_is_in_a_pass_once(tmp_path, count):
    blocks = blocks_of(tmp_path, count, 4)
    assert sum(blocks.sizes) == count
    for _ in range(2):  # passes
        seen = []
        for size in blocks.sizes:
            shapes = blocks.shapes()
            assert shapes == {"x": (size, 2), "y": (size,)}
            arrays = [np.full(shapes[name], -1, np.float32) for name in ("x", "y")]
            blocks.load(arrays)
            np.testing.assert_array_equal(arrays[0][:, 0], arrays[1])
            seen += arrays[1].tolist()
        assert seen == list(range(count))


def test_a_rank_without_records_has_no_blocks(tmp_path):
    assert blocks_of(tmp_path, 0, 4).sizes == []


def test_the_batch_may_be_the_second_axis(tmp_path):
    blocks = blocks_of(tmp_path, 5, 4, time_major=True)
    blocks.used = 1
    assert blocks.shapes() == {"x": (2, 1), "y": (1,)}
