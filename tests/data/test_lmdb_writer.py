"""Writing LMDBs: what comes back, how large the files get, and what is refused."""

import os

import lmdb
import pytest

from caffeonspark.data.sources.datums import look_at, read_entries
from caffeonspark.data.sources.lmdb import write_entries
from caffeonspark.errors import DataError, StorageError


def entries_for(numbers, size=4000):
    return [(f"{number:08d}".encode(), bytes([number % 256]) * size) for number in numbers]


@pytest.mark.parametrize("numbers", [range(2500), range(2500, 0, -1), [5, 1, 3]])
def test_entries_come_back_in_the_order_of_their_keys(tmp_path, numbers):
    entries = entries_for(numbers)
    assert write_entries(str(tmp_path / "new"), iter(entries)) == len(entries)
    assert os.listdir(tmp_path / "new") == ["data.mdb"]
    assert look_at(str(tmp_path / "new")).entries == len(entries)
    found = [(key, value) for _, key, value in read_entries(str(tmp_path / "new"), 0, len(entries))]
    assert found == sorted(entries)


def test_a_sorted_database_is_as_small_as_one_that_is_appended_to(tmp_path):
    entries = entries_for(range(3000), 300)
    write_entries(str(tmp_path / "ours"), entries)
    with lmdb.open(str(tmp_path / "theirs"), map_size=1 << 24, lock=False) as env, env.begin(write=True) as transaction:
        for key, value in entries:
            transaction.put(key, value, append=True)
    sizes = [(tmp_path / name / "data.mdb").stat().st_size for name in ("ours", "theirs")]
    assert sizes[0] < 1.1 * sizes[1]


def test_it_grows_past_its_first_map(tmp_path, monkeypatch):
    opened = lmdb.open
    monkeypatch.setattr(lmdb, "open", lambda *args, map_size, **options: opened(*args, map_size=1 << 16, **options))
    assert write_entries(str(tmp_path / "new"), entries_for(range(2500))) == 2500
    monkeypatch.undo()
    assert look_at(str(tmp_path / "new")).entries == 2500


def test_no_entry_at_all(tmp_path):
    assert write_entries(str(tmp_path), []) == 0
    assert look_at(str(tmp_path)).entries == 0
    assert list(read_entries(str(tmp_path), 0, 1)) == []


@pytest.mark.parametrize("numbers", [[1, 2, 2], [2, 1, 2], [*range(1500), 3]])
def test_a_key_that_comes_twice(tmp_path, numbers):
    with pytest.raises(DataError, match=f"two rows have the id '{numbers[-1]:08d}'"):
        write_entries(str(tmp_path), entries_for(numbers, 10))


def test_what_lmdb_says_is_told_with_the_name(tmp_path):
    with pytest.raises(StorageError, match=r"hdfs:///out cannot be written: .*MDB_BAD_VALSIZE"):
        write_entries(str(tmp_path), [(b"k" * 512, b"")], "hdfs:///out")
