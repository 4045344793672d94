"""LMDBs wherever they lie: local ones are not touched, others are fetched to every node."""

import os

import lmdb
import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, CaffeOnSparkError, Config, ConfigError, DataError, DataSource
from tests.support import stock
from tests.support.damage import page_kinds
from tests.support.data_files import write_lmdb

SOLVER = 'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 5'


def config_for(spark, folder, source, **flags):
    folder.mkdir(exist_ok=True)
    (folder / "net.prototxt").write_text(stock.lmdb_net(source, 10))
    (folder / "solver.prototxt").write_text(SOLVER)
    flags = {"clusterSize": 2, "quiet": True, "features": "label", **flags}
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", **flags)


def state_of(folder):
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_local_one_is_not_touched(spark, tmp_path, small_images):
    folder = write_lmdb(tmp_path / "plain_lmdb", *small_images)
    (folder / "lock.mdb").unlink()
    folder.chmod(0o555)
    before = state_of(folder)
    config = config_for(spark, tmp_path / "run", folder)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    cos.train(data.getSource(config, True))
    assert cos.features(data.getSource(config, False)).count() == 600
    assert state_of(folder) == before
    folder.chmod(0o755)


def test_one_on_a_hadoop_file_system_is_fetched(spark, tmp_path, small_images, capfd):
    folder = write_lmdb(tmp_path / "far_lmdb", *small_images)
    far = config_for(spark, tmp_path / "far", f"viewfs://disk/root{folder}", quiet=False)
    near = config_for(spark, tmp_path / "near", folder)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    for config in (far, near):
        cos.train(data.getSource(config, True))
    net = stock.input_net(10)
    for mine, theirs in zip(*(stock.load_weights(tmp_path / name / "m.caffemodel", net) for name in ("far", "near"))):
        np.testing.assert_array_equal(mine, theirs)
    found = {row.SampleID: row.label[0] for row in cos.features(data.getSource(far, False)).collect()}
    assert found == {f"{number:08d}": float(label) for number, label in enumerate(small_images[1])}
    assert capfd.readouterr().err.count(f"fetching viewfs://disk/root{folder} (") == 1

    (tmp_path / "elsewhere").mkdir()
    other = write_lmdb(tmp_path / "elsewhere" / "far_lmdb", *small_images)
    config = config_for(spark, tmp_path / "other", f"viewfs://disk/root{other}")
    with pytest.raises(ConfigError, match=r"elsewhere/far_lmdb and viewfs:.*far_lmdb have the same name.*rename one"):
        _ = data.getSource(config, True).plan
    with (folder / "data.mdb").open("ab") as f:
        f.write(bytes(4096))
    with pytest.raises(ConfigError, match=r"far_lmdb has changed since this application fetched it"):
        _ = data.getSource(far, True).plan


def test_a_damaged_copy_is_noticed(spark, tmp_path, small_images):
    from pyspark import SparkFiles

    folder = write_lmdb(tmp_path / "cut_lmdb", *small_images)
    config = config_for(spark, tmp_path / "run", f"viewfs://disk/root{folder}")
    data = DataSource(spark)
    _ = data.getSource(config, True).plan
    copy = SparkFiles.get("cut_lmdb")
    with open(f"{copy}/data.mdb", "r+b") as f:
        f.truncate(8192)
    with pytest.raises(DataError, match=r"cut_lmdb: the copy on this node is damaged: data.mdb has 8192 bytes"):
        _ = data.getSource(config, True).plan


def test_one_that_changes_while_it_is_fetched_is_noticed(spark, tmp_path, small_images, monkeypatch):
    folder = write_lmdb(tmp_path / "moving_lmdb", *small_images)
    config = config_for(spark, tmp_path / "run", f"viewfs://disk/root{folder}")
    fetch = type(spark.sparkContext).addFile

    def fetch_and_change(context, *args, **options):
        fetch(context, *args, **options)
        with (folder / "data.mdb").open("ab") as f:
            f.write(bytes(4096))

    monkeypatch.setattr(type(spark.sparkContext), "addFile", fetch_and_change)
    with pytest.raises(DataError, match=r"moving_lmdb was written to while it was fetched: start a new application"):
        _ = DataSource(spark).getSource(config, True).plan


def test_what_only_a_rank_can_see_is_one_error_and_no_restart(spark, tmp_path, small_images, capfd):
    """A damaged page (LMDB's own reader ends the rank's process there), and one that was written to meanwhile."""
    folder = write_lmdb(tmp_path / "lmdb", *small_images)
    source = DataSource(spark).getSource(config_for(spark, tmp_path / "run", folder, quiet=False), True)
    _ = source.plan
    whole = (folder / "data.mdb").read_bytes()
    page = [number for number, kind in page_kinds(whole).items() if kind == "leaf"][-20]
    for content, says in (
        (
            whole[: page * 4096] + bytes(100) + whole[page * 4096 + 100 :],
            r"is damaged: data\.mdb has no leaf page where",
        ),
        (whole, "was written to since the run was planned: its last transaction was 1 and is 2"),
    ):
        state = (folder / "data.mdb").stat()
        (folder / "data.mdb").write_bytes(content)
        if content is whole:
            with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
                transaction.delete(b"%08d" % 5)
        os.utime(folder / "data.mdb", ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(DataError, match=rf"rank \d of 2 on .*: LMDB {folder}:? (it )?{says}"):
            CaffeOnSpark(spark).train(source)
    assert "restart" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("viewfs://disk/root/nowhere/lmdb", r"layer 'data': source viewfs://disk/root/nowhere/lmdb does not exist"),
        ("viewfs://disk/root{folder}/lmdb/data.mdb", r"is a file: name the folder that holds data.mdb"),
        ("viewfs://disk/root{folder}", r"is a folder without data.mdb or CURRENT, so no LMDB and no LevelDB"),
        ("nofs://host/lmdb", r"nofs://host/lmdb: No FileSystem for scheme"),
    ],
)
def test_what_cannot_be_fetched(spark, tmp_path, small_images, source, message):
    write_lmdb(tmp_path / "lmdb", small_images[0][:20], small_images[1][:20])
    config = config_for(spark, tmp_path / "run", source.format(folder=tmp_path))
    with pytest.raises(CaffeOnSparkError, match=message):
        _ = DataSource(spark).getSource(config, True).plan
