"""LMDB's files as we read them: the same as through LMDB, and errors where LMDB ends the process."""

import errno
import os
import random
import shutil
import struct
from dataclasses import replace

import lmdb
import numpy as np
import pytest

from caffeonspark.data.records import BadRecords
from caffeonspark.data.sources.datums import look_at, open_database, read_entries
from caffeonspark.data.sources.fetched import Fetched
from caffeonspark.data.sources.lmdb_file import LMDBFile
from caffeonspark.errors import DataError
from caffeonspark.nets.schema import Datum
from tests.support import damage
from tests.support.damage import PAGE
from tests.support.data_files import entries, write_lmdb


def images(count, size=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, size, size)).astype(np.uint8)


BAD = BadRecords("the LMDB")


@pytest.fixture()
def small(tmp_path):
    """60 raw images in an LMDB of a few leaf pages below one branch page."""
    folder = write_lmdb(tmp_path / "lmdb", images(400), [n % 10 for n in range(400)])
    (folder / "lock.mdb").unlink()
    return folder


def everything(folder):
    with LMDBFile(str(folder)) as database:
        return [(key, value) for _, key, value in database.read(0, database.entries)]


# ---- the same as LMDB


def change(chance, transaction, largest):
    """A few hundred random changes, as LMDBs of a long life have behind them."""
    for _ in range(chance.randint(1, 300)):
        key = b"%06d" % chance.randint(0, 500) if chance.random() < 0.9 else os.urandom(chance.randint(1, 511))
        if chance.random() < 0.6:
            transaction.put(key, os.urandom(chance.randint(0, largest)))
        elif chance.random() < 0.9:
            transaction.delete(key)
        else:
            cursor = transaction.cursor()
            found = cursor.set_range(key)
            for _ in range(chance.randint(1, 200)):
                found = found and cursor.delete()


@pytest.mark.parametrize("largest", [10, 1000, 1900, 2100, 40_000])
@pytest.mark.parametrize("writemap", [False, True])
def test_whatever_was_done_to_it_we_read_what_lmdb_reads(tmp_path, largest, writemap):
    chance = random.Random(largest)
    folder = str(tmp_path / "lmdb")
    with lmdb.open(folder, map_size=1 << 28, lock=False, sync=False, writemap=writemap) as env:
        for _ in range(12):
            with env.begin(write=True) as transaction:
                change(chance, transaction, largest)
            env.sync(True)
            with env.begin() as transaction:
                wanted = list(transaction.cursor())
            assert everything(folder) == wanted
            start, stop, step = chance.randint(0, 300), chance.randint(0, 600), chance.randint(1, 5)
            part = [(number, *wanted[number]) for number in range(start, min(stop, len(wanted)), step)]
            assert list(read_entries(folder, start, stop, step)) == part
            contents = look_at(folder)
            assert (contents.transaction, contents.entries) == (env.info()["last_txnid"], len(wanted))
            assert (contents.first, contents.last) == (wanted[0][0], wanted[-1][0])


def test_a_healthy_file_may_be_shorter_than_its_header_says(tmp_path):
    """Pages that were taken at the end and given back in one transaction are counted and never written."""
    folder, chance = str(tmp_path / "lmdb"), random.Random(5)
    shorter = 0
    with lmdb.open(folder, map_size=1 << 28, lock=False) as env:
        for _ in range(60):
            with env.begin(write=True) as transaction:
                change(chance, transaction, 40_000)
            shorter += os.path.getsize(f"{folder}/data.mdb") < (env.info()["last_pgno"] + 1) * PAGE
            assert everything(folder) == entries(folder)
    assert shorter


@pytest.mark.parametrize("compact", [False, True])
def test_copies_that_lmdb_made(tmp_path, small, compact):
    with lmdb.open(str(small), lock=False) as env, env.begin(write=True) as transaction:
        transaction.delete(b"%08d" % 7)
    (tmp_path / "copy").mkdir()
    with lmdb.open(str(small), lock=False) as env:
        env.copy(str(tmp_path / "copy"), compact=compact)
    assert everything(tmp_path / "copy") == entries(small)


def with_main_database(folder, items, **flags):
    """An LMDB whose main database has flags, which C's mdb_dbi_open gives it: a named one is made the main one."""
    with lmdb.open(str(folder), map_size=1 << 24, max_dbs=1) as env:
        db = env.open_db(b"named", **flags)
        with env.begin(write=True, db=db) as transaction:
            for key, value in items:
                transaction.put(key, value)
        with env.begin() as transaction:
            record = bytes(transaction.get(b"named"))
        page = env.info()["last_txnid"] % 2
    with open(folder / "data.mdb", "r+b") as f:
        f.seek(page * PAGE + 16 + 72)
        f.write(record)
    return folder


@pytest.mark.parametrize("kind", ["integerkey", "reverse_key"])
def test_keys_in_another_order(tmp_path, kind):
    keys = [struct.pack("=I", n * 300) if kind == "integerkey" else b"%d" % n for n in range(500)]
    folder = with_main_database(tmp_path / "lmdb", [(key, b"v" * 50) for key in keys], **{kind: True})
    found = everything(folder)
    assert found == entries(folder)
    assert sorted(found) != found


def test_its_file_alone(small):
    (small / "data.mdb").rename(small / "images")
    assert len(everything(small / "images")) == 400


def test_nothing_beside_it_is_touched(small):
    small.chmod(0o555)
    try:
        everything(small)
        assert os.listdir(small) == ["data.mdb"]
    finally:
        small.chmod(0o755)


# ---- what is no LMDB


def header(data, **fields):
    """An LMDB's file with other numbers at the start of its first header."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, 16, fields.get("magic", 0xBEEFC0DE))
    struct.pack_into("<I", changed, 20, fields.get("version", 1))
    return bytes(changed)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0\nsize 4096\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda data: b"", "data.mdb is empty"),
        (lambda data: LFS, "data.mdb is a pointer of git-lfs: fetch the file itself"),
        (lambda data: b"<html><body>404 Not Found</body></html>" * 9, "data.mdb does not begin as LMDB's files do"),
        (lambda data: b"short", "data.mdb does not begin as LMDB's files do"),
        (lambda data: bytes(len(data)), "is damaged: data.mdb begins with zeros. Copy it again"),
        (lambda data: data[:12] + data[16:], "data.mdb was written on a 32-bit machine"),
        (lambda data: header(data, magic=0xDEC0EFBE), "data.mdb was written on a big-endian machine"),
        (lambda data: header(data, version=2), "data.mdb has version 2 of LMDB's format, and 1"),
        (lambda data: header(data, version=999), "data.mdb has version 999 of LMDB's format"),
    ],
)
def test_files_that_are_no_lmdb(small, content, says):
    file = small / "data.mdb"
    file.write_bytes(content(file.read_bytes()))
    found = damage.through_the_library(small)
    assert found["who"] == "driver"
    assert found["error"].startswith(f"net.prototxt: layer 'data': LMDB {small} is ")
    assert says in found["error"]


def test_what_cannot_be_opened(tmp_path, small, monkeypatch):
    with pytest.raises(DataError, match=f"LMDB {tmp_path}/no cannot be opened: it has to be at this path on every"):
        LMDBFile(f"{tmp_path}/no")
    os.mkfifo(tmp_path / "pipe")  # opened the usual way, it would be waited for
    with pytest.raises(DataError, match=r"pipe cannot be opened: .*/pipe is no regular file"):
        LMDBFile(f"{tmp_path}/pipe")
    (tmp_path / "folder" / "data.mdb").mkdir(parents=True)
    with pytest.raises(DataError, match=r"folder cannot be opened: .*/data.mdb is no regular file"):
        LMDBFile(f"{tmp_path}/folder")
    database = LMDBFile(str(small))
    monkeypatch.setattr(os, "pread", lambda *args: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DataError, match=r"lmdb cannot be read: Input/output error"):  # through a map: SIGBUS
        list(database.read(0, 1))
    database.close()


@pytest.mark.parametrize("doubled", [0, 90])
@pytest.mark.parametrize(
    "values", [1, 5, 2000]
)  # of the key: as any other, on the leaf page, and in a tree of their own
def test_several_values_for_a_key(tmp_path, doubled, values):
    datum = Datum(channels=1, height=1, width=1, data=b"a").SerializeToString()
    items = [(b"%08d" % number, datum) for number in range(100)]
    items += [(b"%08d" % doubled, b"%05d" % value) for value in range(values - 1)]
    folder = with_main_database(tmp_path / "lmdb", items, dupsort=True)
    assert len(entries(folder)) == len(items)
    found = damage.through_the_library(folder, ranks=3)
    if values == 1:
        assert len(found["found"]) == 100
    else:
        assert f"LMDB {folder} has several values for" in found["error"]
        assert "MDB_DUPSORT" in found["error"]


def test_databases_with_names_of_their_own(tmp_path):
    folder = tmp_path / "lmdb"
    with lmdb.open(str(folder), map_size=1 << 24, max_dbs=2) as env, env.begin(write=True) as transaction:
        transaction.put(b"0", b"x", db=env.open_db(b"train", transaction))
    found = damage.through_the_library(folder)
    assert found["who"] == "driver"
    assert "holds a database of its own under the name 'train', which Caffe does not read" in found["error"]


def test_values_that_are_no_datums(tmp_path):
    for value, says in (
        (b"\xff" * 30, "record '00000003': the value is not a Datum"),
        (
            Datum(channels=3, height=40_000, width=40_000, data=b"x" * 36).SerializeToString(),
            "3x40000x40000 and holds 36",
        ),
        (Datum(channels=1, height=6, width=7, data=b"x" * 36).SerializeToString(), "says 1x6x7 and holds 36 values"),
    ):
        folder = write_lmdb(tmp_path / f"lmdb{len(value)}", images(9), range(9))
        with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
            transaction.put(b"%08d" % 3, value)
        found = damage.through_the_library(folder)
        assert found["who"] == "rank 0"
        assert says in found["error"]


# ---- cut and damaged


def test_one_that_was_cut_is_known_before_it_is_read(small):
    file = small / "data.mdb"
    whole = file.stat().st_size
    for size in (whole - 1, whole - PAGE, whole // 2, 3 * PAGE, 2 * PAGE, PAGE + 200, PAGE + 10, PAGE, 500, 100, 17):
        os.truncate(file, size)
        found = damage.through_the_library(small)
        assert found["who"] == "driver"
        assert f"LMDB {small} is damaged: data.mdb " in found["error"] or size < 20
    assert found["error"].endswith("data.mdb does not begin as LMDB's files do")


def test_one_that_is_cut_while_it_is_read(small):
    """A reader that maps the file gets SIGBUS at the first page beyond the end."""
    source = damage.lmdb_source(small)
    source.open()
    chunks = source.reader().read(0, 400, 1, BAD)
    next(chunks)
    os.truncate(small / "data.mdb", 3 * PAGE)
    with pytest.raises(DataError, match=rf"LMDB {small} was written to while it was read: its file was overwritten"):
        list(chunks)
    with pytest.raises(DataError, match=rf"LMDB {small} is damaged: data.mdb is cut: it has 12288 bytes"):
        source.reader().read(0, 400, 1, BAD).__next__()


def test_damage_that_the_driver_does_not_see_is_found_by_the_rank(small):
    data = bytearray((small / "data.mdb").read_bytes())
    with LMDBFile(str(small)) as database:
        leaves = [page for page, _, _ in database._leaves(database._meta.root)]
    page = leaves[len(leaves) * 3 // 4]
    data[page * PAGE : page * PAGE + 100] = bytes(100)
    (small / "data.mdb").write_bytes(data)
    found = damage.through_the_library(small)
    assert found["who"] == "rank 1"
    assert found["error"] == (
        f"LMDB {small} is damaged: data.mdb has no leaf page where page {page} should be one. Copy it again, and "
        "compare the copy with the original (sha256sum)"
    )


def test_a_page_in_another_ones_place(small):
    """Both are whole; only the keys tell."""
    data = bytearray((small / "data.mdb").read_bytes())
    with LMDBFile(str(small)) as database:
        leaves = [page for page, _, _ in database._leaves(database._meta.root)]
    for here in (leaves[0], leaves[4], leaves[-1]):
        for there in (leaves[3], leaves[5]):
            changed = bytearray(data)
            changed[here * PAGE + 8 : (here + 1) * PAGE] = data[there * PAGE + 8 : (there + 1) * PAGE]
            (small / "data.mdb").write_bytes(changed)
            assert "are not in order" in damage.through_the_library(small)["error"]


def test_numbers_of_the_header_that_are_not_true(small):
    data = (small / "data.mdb").read_bytes()
    page = max((0, 1), key=lambda page: struct.unpack_from("<Q", data, page * PAGE + 16 + 128)[0])
    entries_at, root_at, last_at, transaction_at = (page * PAGE + 16 + at for at in (72 + 32, 72 + 40, 120, 128))
    for at, value, says in (
        (entries_at, 399, "holds more than the 399 entries that its header speaks of"),
        (entries_at, 401, "holds 400 entries, and its header speaks of 401"),
        (entries_at, 1 << 60, f"has {len(data)} bytes, and its header speaks of {1 << 60} entries"),
        (root_at, 1 << 50, "refers to page"),
        (root_at, 0, "refers to page 0"),
        (last_at, 5, "and its last one is 5"),
        (last_at, 1 << 62, None),  # pages that were never written are not missed
        (transaction_at, 7, "which do not follow each other"),
        (transaction_at, 0, "has a damaged header on page 1"),
    ):
        changed = bytearray(data)
        struct.pack_into("<Q", changed, at, value)
        (small / "data.mdb").write_bytes(changed)
        found = damage.through_the_library(small)
        if says is None:
            assert len(found["found"]) == 400
        else:
            assert says in found["error"]


def branch_page(number, below, nodes=20):
    """A branch page whose nodes all lead to one page."""
    page = bytearray(PAGE)
    at = PAGE
    for node in range(nodes):
        key = b"%08d" % node if node else b""
        at -= 8 + len(key)
        struct.pack_into("<HHHH", page, at, below, 0, 0, len(key))
        page[at + 8 : at + 8 + len(key)] = key
        struct.pack_into("<H", page, 16 + 2 * node, at)
    struct.pack_into("<QHHHH", page, 0, number, 0, 1, 16 + 2 * nodes, at)
    return bytes(page)


def test_a_tree_without_an_end(tmp_path):
    """Eight pages that lead to 25 billion leaves: who skips to a rank's range would never come there."""
    folder = write_lmdb(tmp_path / "lmdb", images(9), range(9))
    data = bytearray((folder / "data.mdb").read_bytes())
    with LMDBFile(str(folder)) as database:
        root = database._meta.root
    leaf = bytearray(data[root * PAGE : (root + 1) * PAGE])
    struct.pack_into("<Q", leaf, 0, 10)
    data[2 * PAGE :] = b"".join(branch_page(number, number + 1) for number in range(2, 10)) + leaf
    for page in (0, 1):
        struct.pack_into("<IHHQQQQQ", data, page * PAGE + 16 + 72, 0, 0, 9, 8, 1, 0, 40_000, 2)
        struct.pack_into("<QQ", data, page * PAGE + 16 + 120, 10, 2 - page)
    (folder / "data.mdb").write_bytes(data)

    def work():
        with LMDBFile(str(folder)) as database:
            try:
                return list(database.read(39_999, 40_000))
            except DataError as e:
                return e.message

    assert "has branch pages that lead to the same leaf pages" in damage.in_child(work)
    assert "are not in order" in damage.through_the_library(folder)["error"]


# ---- rewritten


def write(folder, value, numbers):
    with lmdb.open(str(folder), map_size=1 << 28, lock=False) as env, env.begin(write=True) as transaction:
        for number in numbers:
            datum = Datum(channels=1, height=6, width=6, data=bytes([value]) * 36, label=value)
            transaction.put(b"%08d" % number, datum.SerializeToString())


@pytest.mark.parametrize("after", [0, 1, 399])
def test_one_that_is_written_to_while_it_is_read(small, after):
    source = damage.lmdb_source(small)
    source.open()
    entries_here = read_entries(str(small), 0, 400)
    for _ in range(after):
        next(entries_here)
    if after:
        write(small, 1, [5])
        with pytest.raises(
            DataError, match="was written to while it was read: its last transaction was 1 and is 2 now"
        ):
            list(entries_here)
    else:
        write(small, 1, [5])
        with pytest.raises(DataError, match=rf"LMDB {small}: it was written to since the run was planned.* 1 and is 2"):
            list(source.reader().read(0, 400, 1, BAD))


def test_generations_are_never_mixed(small):
    """A writer that rewrites every record again and again: each pass is of one generation or an error."""
    whole = failed = 0
    for generation in range(1, 40):
        write(small, generation, range(400))
        source = damage.lmdb_source(small)
        source.open()
        found = []
        try:
            for position, records in enumerate(source.reader().read(0, 400, 1, BAD)):
                found += list(records.columns[1])
                if generation % 3 and position == 0:
                    for more in range(generation % 5):
                        write(small, 100 + more, range(400))
        except DataError as e:
            assert "was written to while it was read" in e.message
            failed += 1
        else:
            assert set(found) == {float(generation)}
            whole += 1
    assert whole
    assert failed


def test_one_that_was_replaced(tmp_path, small):
    """A new file with the same number of transactions, entries and keys."""
    reader = (source := damage.lmdb_source(small)).open() or source.reader()
    other = write_lmdb(tmp_path / "other", images(400, seed=1), [1] * 400)
    shutil.copy(other / "data.mdb", small / "new")
    os.replace(small / "new", small / "data.mdb")
    with pytest.raises(DataError, match=rf"LMDB {small}: it was replaced since the run was planned"):
        list(reader.read(0, 400, 1, BAD))


def look(location, planned):
    with open_database(location, planned):
        pass


def test_other_machines_need_the_same_entries(small):
    contents = look_at(str(small))
    elsewhere = replace(contents, machine="another", transaction=9, file=(1, 2))
    look(str(small), elsewhere)
    for changes, says in (
        ({"entries": 399}, "the number of entries was 399 and is 400 here"),
        ({"first": b"a"}, "the first key was a and is 00000000 here"),
        ({"last": b"z"}, "the last key was z and is 00000399 here"),
    ):
        with pytest.raises(DataError, match=f"LMDB {small}: it is not what the run was planned with: {says}"):
            look(str(small), replace(elsewhere, **changes))
    # another disk of this machine: another container's
    assert not contents.difference(replace(contents, file=(1, 2), transaction=9))
    assert contents.difference(replace(contents, file=(contents.file[0], 2)))


def test_copies_need_the_same_transaction(small, monkeypatch):
    contents = look_at(str(small))
    monkeypatch.setattr(Fetched, "path", lambda self: str(small))
    copy = Fetched("hdfs:///data/lmdb", "lmdb", ())
    look(copy, replace(contents, machine="another", file=(1, 2)))
    with pytest.raises(DataError, match="LMDB hdfs:///data/lmdb: it was written to since the run was planned"):
        look(copy, replace(contents, machine="another", transaction=4))
