"""LevelDBs: what LMDBs of the same records give, from folders that are neither locked nor written, by any number of
readers; and one line for what cannot be read."""

import contextlib
import logging
import multiprocessing
import os
import pathlib
import pickle
import re
import shutil
import sys
import time

import h5py
import numpy as np
import plyvel
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataError, DataSource, StorageError
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.records import BadRecordPolicy, BadRecords
from caffeonspark.data.sources import leveldb
from caffeonspark.data.sources.datums import look_at, open_database, read_entries
from caffeonspark.data.sources.leveldb import LevelDBFile
from caffeonspark.data.store import RecordStore
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.nets.net import TRAIN
from caffeonspark.plans.net_source import NetSource
from tests.support import damage, stock
from tests.support.data_files import datums, encode, write_leveldb, write_lmdb

COUNT = 400
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 32, 32)).astype(np.uint8)
LABELS = np.arange(COUNT) % 10
ENTRIES = list(datums(IMAGES, LABELS))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A LevelDB as its writer's sudden end leaves it: a few tables, and what is newest in a log."""
    folder = tmp_path_factory.mktemp("original") / "written"
    with contextlib.closing(plyvel.DB(str(folder), create_if_missing=True, write_buffer_size=1 << 16)) as database:
        for key, value in ENTRIES:
            database.put(key, value)
        shutil.copytree(folder, folder.with_name("level"))
    level = folder.with_name("level")
    assert len(list(level.glob("*.ldb"))) > 2 and list(level.glob("*.log"))
    # a table that its writer had not finished: LevelDB takes its number, the next one, for a table of its own
    numbers = [int(path.stem) for path in level.iterdir() if path.stem.isdigit()]
    for number in range(max(numbers) + 1, max(numbers) + 5):
        (level / f"{number:06}.ldb").write_bytes(b"unfinished")
    return level


@pytest.fixture()
def level(original, tmp_path):
    return pathlib.Path(shutil.copytree(original, tmp_path / "level"))


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Where the views are, which is empty in the end."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(leveldb, "scratch_folder", lambda: str(folder))
    yield folder
    assert not os.listdir(folder)


def state_of(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def everything(folder):
    with open_database(str(folder)) as database:
        return [(key, value) for _, key, value in database.read(0, 1 << 40)]


# ---- the same as an LMDB


def test_all_entries_in_the_order_of_their_keys(level):
    assert everything(level) == ENTRIES
    assert look_at(str(level)).entries == COUNT


@pytest.mark.parametrize("marks", [2, 7, 512])
def test_ranges(level, marks, monkeypatch):
    monkeypatch.setattr(leveldb, "_MARKS", marks)
    monkeypatch.setattr(leveldb, "_counted", {})
    contents = look_at(str(level))
    assert len(contents.marks) <= 2 * marks and contents.last == ENTRIES[-1][0]
    planned = pickle.loads(pickle.dumps(contents))
    for start, stop, step in [
        (0, COUNT, 1),
        (0, 1, 1),
        (13, 113, 1),
        (3, COUNT, 4),
        (399, 900, 1),
        (5, 5, 1),
        (400, 500, 1),
    ]:
        found = list(read_entries(str(level), start, stop, step, planned))
        assert found == [(n, *ENTRIES[n]) for n in range(COUNT)[start:stop:step]]


def test_keys_of_any_kind_that_were_rewritten_and_deleted(tmp_path):
    rng = np.random.default_rng(4)
    expected = {}
    with contextlib.closing(
        plyvel.DB(str(tmp_path / "x"), create_if_missing=True, write_buffer_size=1 << 16)
    ) as database:
        for _ in range(9000):
            key = bytes(rng.integers(0, 256, rng.integers(1, 3)).astype(np.uint8))
            if rng.random() < 0.3:
                database.delete(key)
                expected.pop(key, None)
            else:
                expected[key] = os.urandom(int(rng.integers(0, 90)))
                database.put(key, expected[key])
    assert everything(tmp_path / "x") == sorted(expected.items())


@pytest.mark.parametrize("kind", ["raw", "encoded", "floats"])
def test_records_are_those_of_an_lmdb(tmp_path, kind):
    options = {"raw": {}, "encoded": {"encoded": encode}, "floats": {"floats": True}}[kind]
    found = []
    for name, write in (("lmdb", write_lmdb), ("level", write_leveldb)):
        source = damage.lmdb_source(write(tmp_path / name, IMAGES[:50], LABELS[:50], **options))
        source.open()
        found.append([source.count(), source.tops, damage.records_of(source.reader(), 3, 50, 2)])
    assert found[0] == found[1]
    assert len(found[0][2]) == 24


SOLVER = 'base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: 50 random_seed: 3 '


def data_layer(kind, source, batch=20):
    if kind == "hdf5":
        return (
            'layer { name: "data" type: "HDF5Data" top: "data" top: "label" '
            f'hdf5_data_param {{ source: "{source}" batch_size: {batch} }} }}'
        )
    return (
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ scale: {stock.SCALE} }} '
        f'data_param {{ source: "{source}" batch_size: {batch} backend: {kind.upper()} }} }}'
    )


def trained_by_one_rank(folder, layer):
    """The weights before and after 50 iterations over what the layer names."""
    (folder / "net.prototxt").write_text(layer + stock.LAYERS)
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" {SOLVER}')
    config = Config(None, conf=str(folder / "solver.prototxt"), clusterSize=1)
    plan = pickle.loads(pickle.dumps(NetSource(config, config.run_config.net(TRAIN)).plan))
    (one,) = plan.layers
    store = RecordStore(one.tops)
    for records in one.reader.read(0, one.count, 1, BadRecords("data", BadRecordPolicy())):
        store.append(records)
    store.finish()
    trainer = CaffeEngine().trainer(config.solver, plan.message(), [], 0, str(folder))
    before = [array.copy() for array in trainer.weights]
    feed = Batches(store, 20, BatchRandom(3, 0, 0), shuffle=False, name="data")
    while trainer.iteration < 50:
        trainer.step(lambda: feed.load([trainer.inputs["data"], trainer.inputs["label"]]), lambda loss: None)
    with contextlib.closing(trainer):
        return before, [array.copy() for array in trainer.weights]


def test_leveldb_lmdb_and_hdf5_of_the_same_images_train_the_same_net(tmp_path):
    """1,000 images, 50 iterations: equal to the bit, also to stock Caffe over the LevelDB."""
    images = np.random.default_rng(6).integers(0, 256, (1000, 1, 12, 12)).astype(np.uint8)
    labels = np.arange(1000) % 10
    write_lmdb(tmp_path / "lmdb", images, labels)
    write_leveldb(tmp_path / "level", images, labels)
    with h5py.File(tmp_path / "images.h5", "w") as f:
        f["data"] = images.astype(np.float32) * np.float32(stock.SCALE)
        f["label"] = labels.astype(np.float32)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/images.h5\n")
    found = [
        trained_by_one_rank(tmp_path, data_layer(kind, tmp_path / source))
        for kind, source in (("leveldb", "level"), ("lmdb", "lmdb"), ("hdf5", "list.txt"))
    ]
    solver = stock.make_solver(SOLVER, data_layer("leveldb", tmp_path / "level") + stock.LAYERS)
    for blob, start in zip(stock.parameters(solver.net), found[0][0]):  # a thread's seed is drawn before its own
        blob.data[...] = start
    solver.step(50)
    found.append((found[0][0], stock.weights(solver.net)))
    for other in found[1:]:
        for mine, theirs in zip([*found[0][0], *found[0][1]], [*other[0], *other[1]]):
            np.testing.assert_array_equal(mine, theirs)


# ---- what a layer names


@pytest.mark.parametrize(
    ("backend", "kind", "says"),
    [
        ("", "level", None),
        ("", "lmdb", None),
        ("backend: LEVELDB", "level", None),
        ("backend: LMDB", "lmdb", None),
        ("backend: LMDB", "level", "data_param.backend is LMDB, and .*/level is a LevelDB, and is read as one"),
        ("backend: LEVELDB", "lmdb", "data_param.backend is LEVELDB, and .*/lmdb is an LMDB, and is read as one"),
    ],
)
def test_the_folder_says_what_it_is(tmp_path, said, backend, kind, says):
    write = write_leveldb if kind == "level" else write_lmdb
    source = damage.lmdb_source(write(tmp_path / kind, IMAGES[:20], LABELS[:20]), backend)
    source.open()
    source.open()
    assert (
        source.count() == 20 and source.description == f"{'LevelDB' if kind == 'level' else 'LMDB'} {tmp_path}/{kind}"
    )
    assert len(said) == bool(says)
    assert not says or re.search(rf"^caffeonspark: net.prototxt: layer 'data': {says}$", said[0])


def test_it_is_counted_once(level, monkeypatch):
    counted = []
    count = LevelDBFile._count
    monkeypatch.setattr(leveldb, "_counted", {})
    monkeypatch.setattr(LevelDBFile, "_count", lambda self: counted.append(self.name) or count(self))
    for _ in range(3):
        source = damage.lmdb_source(level)
        source.open()
        list(pickle.loads(pickle.dumps(source.reader())).read(0, COUNT, 1, BadRecords("data", BadRecordPolicy())))
    assert counted == [f"LevelDB {level}"]
    write_leveldb(level, IMAGES[:1], LABELS[:1])
    source.open()
    assert len(counted) == 2


def test_a_large_one_says_that_it_is_counted(level, monkeypatch, caplog):
    monkeypatch.setattr(leveldb, "_LARGE", 1)
    monkeypatch.setattr(leveldb, "_counted", {})
    monkeypatch.setattr(leveldb._log, "parent", logging.getLogger())
    with caplog.at_level(logging.INFO):
        look_at(str(level))
    assert [record.getMessage() for record in caplog.records] == [
        f"counting the entries of LevelDB {level} (0.0 GB): no number of them is kept there"
    ]


# ---- nothing is locked or written


def test_a_read_only_folder(level):
    shutil.rmtree(level / "lost", ignore_errors=True)
    for name in ("LOCK", "LOG"):
        (level / name).unlink()
    for path in level.iterdir():
        path.chmod(0o444)
    level.chmod(0o555)
    before = state_of(level)
    assert everything(level) == ENTRIES
    assert state_of(level) == before
    level.chmod(0o755)


def in_another_process(work, *args):
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    return process


def read_all(folder, barrier, results, number):
    with contextlib.closing(LevelDBFile(folder)) as database:
        barrier.wait(30)  # both have it open
        results[number] = sum(1 for _ in database.read(0, COUNT))


def test_two_processes_and_its_writer_at_once(level):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Array("i", 2)
    with contextlib.closing(plyvel.DB(str(level))):  # nobody else could open it
        with pytest.raises(plyvel.IOError, match="lock"):
            plyvel.DB(str(level))
        processes = [in_another_process(read_all, str(level), barrier, results, number) for number in range(2)]
        for process in processes:
            process.join(60)
    assert list(results) == [COUNT, COUNT]


def test_a_killed_reader_leaves_a_view_that_the_next_one_removes(level, scratch, monkeypatch):
    def hang(folder, started):
        with contextlib.closing(LevelDBFile(folder)):
            started.set()
            time.sleep(60)

    started = multiprocessing.get_context("fork").Event()
    process = in_another_process(hang, str(level), started)
    assert started.wait(30)
    monkeypatch.setattr(leveldb, "_ABANDONED", -10.0)
    assert everything(level) == ENTRIES
    assert len(os.listdir(scratch)) == 1  # somebody's who lives
    process.kill()
    process.join(30)
    monkeypatch.setattr(leveldb, "_ABANDONED", 600.0)
    assert everything(level) == ENTRIES
    assert len(os.listdir(scratch)) == 1  # too young
    monkeypatch.setattr(leveldb, "_ABANDONED", -10.0)
    assert everything(level) == ENTRIES
    assert not os.listdir(scratch)


def test_a_reader_that_is_not_read_to_its_end(level, scratch):
    entries = read_entries(str(level), 0, COUNT)
    next(entries)
    assert len(os.listdir(scratch)) == 1
    entries.close()
    assert not os.listdir(scratch)


# ---- what is not as it was


def cut(name, size):
    return lambda folder: os.truncate(folder / name, size)


def flip(name, at):
    def change(folder):
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 0x55
        (folder / name).write_bytes(content)

    return change


def named(folder, pattern):
    return min(path.name for path in folder.glob(pattern))


@pytest.mark.parametrize(
    ("pattern", "change", "says"),
    [
        ("*.ldb", lambda f, n: flip(n, 100)(f), r"{name}: Corruption: block checksum mismatch\."),
        ("*.ldb", lambda f, n: flip(n, -1)(f), r"{name}: Corruption: not an sstable \(bad magic number\)\."),
        ("*.ldb", lambda f, n: cut(n, 3000)(f), r"{name}: IO error: {name}: Invalid argument\."),
        (
            "*.ldb",
            lambda f, n: flip(n, 30_000)(f),
            r"{name}: .* block checksum mismatch, behind the key '000000\d\d'\.",
        ),
        ("*.ldb", lambda f, n: cut(n, 0)(f), r"{name}: it is empty\."),
        ("*.ldb", lambda f, n: (f / n).unlink(), r"MANIFEST-\d+: Corruption: 1 missing files; e\.g\.: {name}\."),
        ("*.log", lambda f, n: flip(n, 10)(f), r"{name}: Corruption: checksum mismatch\."),
        ("MANIFEST*", lambda f, n: flip(n, 10)(f), r"{name}: Corruption: checksum mismatch\."),
        ("MANIFEST*", lambda f, n: cut(n, 0)(f), r"{name}: it is empty\."),
        ("MANIFEST*", lambda f, n: (f / n).unlink(), r"CURRENT: Corruption: CURRENT points to a non-existent file"),
        ("CURRENT", lambda f, n: cut(n, 5)(f), r"CURRENT: Corruption: CURRENT file does not end with newline"),
        ("CURRENT", lambda f, n: flip(n, 0)(f), r"CURRENT: Corruption: CURRENT points to a non-existent file: .*\?ANI"),
    ],
)
def test_damaged_files_are_named(level, pattern, change, says):
    name = named(level, pattern)
    change(level, name)
    with pytest.raises(DataError, match=rf"^net.prototxt: layer 'data': LevelDB {level} is damaged: ") as e:
        damage.lmdb_source(level).open()
    assert re.search(says.format(name=name.replace(".", r"\.")), e.value.message), e.value.message
    assert e.value.message.endswith(" Copy it again, and compare the copy with the original (sha256sum)")
    assert "\n" not in e.value.message and leveldb._PREFIX not in e.value.message


def test_damage_while_its_writer_is_at_it(level):
    name = named(level, "*.ldb")
    with contextlib.closing(plyvel.DB(str(level))):
        process = in_another_process(expect_writer, str(level), name, os.getpid())
        process.join(60)
        assert process.exitcode == 0


def expect_writer(folder, name, pid):
    database = LevelDBFile(folder)
    assert f"Process {pid} has it open, and may be writing to it: wait for its end." in str(database._error("x", name))
    database.close()


@pytest.mark.parametrize("name", ["CURRENT", "*.ldb"])
def test_pointers_of_git_lfs(level, name):
    name = named(level, name)
    (level / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(DataError, match=rf"LevelDB {level}: {name} is a pointer of git-lfs: fetch the files"):
        look_at(str(level))


def test_a_copy_without_its_log(level, monkeypatch, caplog):
    """What copies by patterns, or leaves out *.log, loses the newest entries; LevelDB itself does not say so."""
    monkeypatch.setattr(leveldb, "_counted", {})
    for log in level.glob("*.log"):
        log.unlink()
    monkeypatch.setattr(leveldb._log, "parent", logging.getLogger())
    with caplog.at_level(logging.WARNING):
        assert 0 < look_at(str(level)).entries < COUNT
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"caffeonspark: LevelDB {level} has no file *.log, as every LevelDB has; its newest entries")


def test_a_file_that_goes_while_it_is_opened(level, monkeypatch):
    """As the log of one that is being written does."""
    listed = LevelDBFile._listed

    def then_gone(self):
        found = listed(self)
        for log in level.glob("*.log"):
            log.unlink()
        return found

    monkeypatch.setattr(LevelDBFile, "_listed", then_gone)
    with pytest.raises(DataError, match=r"was written to while it was opened: \d+\.log is gone\. Start again when"):
        look_at(str(level))


def test_another_order(tmp_path):
    database = plyvel.DB(
        str(tmp_path / "x"), create_if_missing=True, comparator=lambda a, b: (a < b) - (a > b), comparator_name=b"mine"
    )
    database.close()
    with pytest.raises(DataError, match=rf"^LevelDB {tmp_path}/x is in another order .*mine does not match existing"):
        look_at(str(tmp_path / "x"))


def test_an_empty_one(tmp_path):
    plyvel.DB(str(tmp_path / "x"), create_if_missing=True).close()
    with pytest.raises(DataError, match=rf"layer 'data': LevelDB {tmp_path}/x is empty$"):
        damage.lmdb_source(tmp_path / "x").open()


def test_what_is_not_there(level, tmp_path):
    contents = look_at(str(level))
    with pytest.raises(DataError, match="it has to be at this path on every machine, and here it is not"):
        list(read_entries(f"{tmp_path}/nowhere", 0, 1, planned=contents))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="there is no file CURRENT in it"):
        list(read_entries(f"{tmp_path}/folder", 0, 1, planned=contents))


def change_entries(folder, put=(), delete=()):
    with contextlib.closing(plyvel.DB(str(folder))) as database:
        for key in put:
            database.put(key, b"new")
        for key in delete:
            database.delete(key)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"put": [b"0"]}, "the first key was 00000000 and is 0 here"),
        ({"delete": [b"00000399"]}, "the last key was 00000399 and is 00000398 here"),
        ({"delete": [b"00000123"]}, "entry 123 was '00000123' and is '00000124'"),
        ({"put": [b"000001231"]}, "entry 124 was '00000124' and is '000001231'"),
    ],
)
def test_entries_that_changed_since_the_run_was_planned(level, changes, says):
    source = damage.lmdb_source(level)
    source.open()
    change_entries(level, **changes)
    with pytest.raises(DataError, match=rf"^LevelDB {level}: it is not what the run was planned with: {says}\. Start"):
        list(source.reader().read(100, COUNT, 1, BadRecords("data", BadRecordPolicy())))


def test_one_that_others_open_meanwhile_is_the_same(level):
    """Stock Caffe writes to what it opens, and changes no entry."""
    source = damage.lmdb_source(level)
    source.open()
    plyvel.DB(str(level)).close()
    assert len(damage.records_of(source.reader(), 0, COUNT)) == COUNT


def test_tables_that_vanish_while_they_are_read(tmp_path):
    write_leveldb(tmp_path / "x", IMAGES, LABELS)
    contents = look_at(str(tmp_path / "x"))
    entries = read_entries(str(tmp_path / "x"), 0, COUNT, planned=contents)
    next(entries)
    for path in (tmp_path / "x").glob("*.ldb"):
        path.unlink()
    with pytest.raises(
        DataError, match=rf"^LevelDB {tmp_path}/x was written to while it was read: .*\.ldb is not what"
    ):
        list(entries)


def test_bad_records(tmp_path):
    write_leveldb(tmp_path / "x", IMAGES[:10], LABELS[:10])
    change_entries(tmp_path / "x", put=[b"00000004"])
    source = damage.lmdb_source(tmp_path / "x")
    source.open()
    with pytest.raises(DataError, match="record '00000004': the value is not a Datum"):
        list(source.reader().read(0, 10, 1, BadRecords("data", BadRecordPolicy())))
    bad = BadRecords("data", BadRecordPolicy(skip=True, maximum=1.0))
    (records,) = source.reader().read(0, 10, 1, bad)
    assert records.ids == [f"{n:08d}" for n in range(10) if n != 4] and bad.total == 1


def test_a_full_disk_is_named(level, monkeypatch, scratch):
    def fail(*args, **options):
        raise plyvel.IOError(b"IO error: 000005.ldb: No space left on device")

    monkeypatch.setattr(plyvel, "DB", fail)
    with pytest.raises(StorageError, match=rf"the disk of {scratch} is full, or a limit is reached .*TMPDIR"):
        look_at(str(level))


def test_plyvel_is_asked_for(level, monkeypatch):
    monkeypatch.setitem(sys.modules, "plyvel", None)
    with pytest.raises(
        ConfigError, match=r"^LevelDB .*needs plyvel, on every.*: pip install 'caffeonspark\[leveldb\]'$"
    ):
        damage.lmdb_source(level).open()


# ---- through Spark


def config_for(spark, folder, source, **flags):
    folder.mkdir(exist_ok=True)
    (folder / "net.prototxt").write_text(stock.lmdb_net(source, 10).replace("backend: LMDB", ""))
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" random_seed: 3 max_iter: 5'
    )
    flags = {"clusterSize": 3, "quiet": True, "features": "label", **flags}
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", **flags)


@pytest.mark.long
def test_on_ranks_near_and_far(spark, tmp_path):
    """Three ranks of two executors over a read-only folder, and over a copy that was fetched."""
    near = write_leveldb(tmp_path / "near_level", IMAGES, LABELS)
    far = shutil.copytree(near, tmp_path / "far_level")
    near.chmod(0o555)
    before = state_of(near)
    cos, data, found = CaffeOnSpark(spark), DataSource(spark), []
    for name, source in (("near", near), ("far", f"viewfs://disk/root{far}")):
        config = config_for(spark, tmp_path / name, source)
        cos.train(data.getSource(config, True))
        rows = cos.features(data.getSource(config, False)).collect()
        assert {row.SampleID: row.label[0] for row in rows} == {f"{n:08d}": float(v) for n, v in enumerate(LABELS)}
        found.append(stock.load_weights(tmp_path / name / "m.caffemodel", stock.input_net(10, IMAGES.shape[1:])))
    for mine, theirs in zip(*found):
        np.testing.assert_array_equal(mine, theirs)
    assert state_of(near) == before
    near.chmod(0o755)
