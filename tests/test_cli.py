"""The command line from end to end, in one process: what it prints, what it writes, how it ends."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from caffeonspark import Config, cli
from caffeonspark.errors import ConfigError, DataError
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from caffeonspark.nets.net import TEST
from caffeonspark.plans.net_source import NetSource
from caffeonspark.storage import Storage
from tests.support import stock
from tests.support.paths import ROOT


@pytest.fixture
def run(spark, monkeypatch, capfd):
    """run(flags…) in the tests' own Spark application: (status, standard output, standard error)."""
    import contextlib

    monkeypatch.setattr(cli, "start_spark", lambda: contextlib.nullcontext(spark))

    def run(*flags):
        capfd.readouterr()
        status = cli.main([str(flag) for flag in flags])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def folder(tmp_path, small_lmdb):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 20))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 40 '
        "test_interval: 20 test_iter: 12"
    )
    return tmp_path


def flags_for(folder, *more):
    return ["-conf", folder / "solver.prototxt", "-model", f"file:{folder}/m.caffemodel", "-clusterSize", 2, *more]


def test_train_then_test_in_one_go(run, folder):
    status, out, err = run("-train", "-test", "-output", f"file:{folder}/means.txt", *flags_for(folder))
    assert status == 0, err
    assert "2 ranks: 2 executors (from -clusterSize) x 1 device" in err
    assert [line for line in err.splitlines() if line.startswith("iteration 20: test on 600 rows: accuracy ")]
    assert (folder / "m.caffemodel").exists()
    means = dict(line.split(": ") for line in out.splitlines())
    assert float(means["accuracy"]) > 0.9
    assert (folder / "means.txt").read_text() == out


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_features_are_written(run, spark, folder, kind):
    assert run("-train", *flags_for(folder))[0] == 0
    flags = flags_for(
        folder, "-features", "ip2", "-label", "label", "-output", f"file:{folder}/out", "-outputFormat", kind
    )
    status, _, err = run(*flags)
    assert status == 0, err
    rows = spark.read.format(kind).load(f"file:{folder}/out")
    assert rows.count() == 600
    assert {"SampleID", "ip2", "label"} == set(rows.columns)
    if kind == "json":
        line = json.loads(next((folder / "out").glob("part-*")).read_text().splitlines()[0])
        assert len(line["ip2"]) == 10
    status, _, err = run(*flags)
    assert status == 1
    assert f"-output file:{folder}/out exists already" in err


def test_another_jobs_output_is_no_earlier_attempts(tmp_path, monkeypatch):
    """Where YARN starts the driver anew before it has written anything, what is there is somebody else's."""
    config = SimpleNamespace(
        output=f"file:{tmp_path}/out",
        storage=Storage(),
        spark=lambda: SimpleNamespace(sparkContext=SimpleNamespace(applicationId="application_1_0002")),
    )
    monkeypatch.setattr(cli, "application_attempt", lambda context: "2")
    monkeypatch.setattr(cli, "attempt_number", lambda context: 2)
    (tmp_path / "out").mkdir()
    for name in ("_SUCCESS", "part-00000-a.json"):
        (tmp_path / "out" / name).write_text("of another job")
    with pytest.raises(ConfigError, match=r"/out exists already: remove it"):
        cli.check_output(config)
    (tmp_path / ".out.application_1_0001").write_text("")
    with pytest.raises(ConfigError, match=r"/out exists already: remove it"):
        cli.check_output(config)
    (tmp_path / ".out.application_1_0002").write_text("")  # the attempt before began to write
    cli.check_output(config)


def test_features_win_over_test(run, folder):
    assert run("-train", *flags_for(folder))[0] == 0
    status, out, err = run("-test", "-features", "ip2", "-output", f"file:{folder}/out", *flags_for(folder))
    assert status == 0
    assert "-features and -test are both given: -features is done" in err
    assert not out


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capfd):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["local", "-train"]) == 1
    told = capfd.readouterr().err
    assert told.startswith("caffeonspark: the working directory is not there any more (") and told.count("\n") == 1


def test_help_and_nothing_to_do(run):
    status, out, _ = run("-help")
    assert status == 0
    for flag in ("-conf", "-lmdb_partitions", "-snapshot", "-weights", "-outputFormat", "-persistent"):
        assert f"  {flag} " in out
    status, out, _ = run()
    assert status == 1
    assert out.startswith("usage: caffeonspark FLAGS")
    assert run("-conf", "x")[::2] == (1, "caffeonspark: nothing to do: give -train, -test or -features\n")


def test_spark_that_does_not_start(tmp_path):
    """One line, and no traceback: here there is no Java."""
    process = subprocess.run(
        [sys.executable, "-m", "caffeonspark", "-train", "-conf", "x.prototxt", "-model", "m.caffemodel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "JAVA_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    assert process.returncode == 1
    ours = [line for line in process.stderr.splitlines() if line.startswith("caffeonspark: ")]
    assert len(ours) == 1
    assert "Spark does not start: [JAVA_GATEWAY_EXITED]" in ours[0]
    assert "Traceback" not in process.stderr


def test_a_dry_run_checks_everything_and_does_nothing(run, folder):
    before = sorted(path.name for path in folder.iterdir())
    flags = flags_for(folder, "-dryRun", "-output", f"file:{folder}/out")
    for what in (["-train", "-test"], ["-train", "-features", "ip2"]):
        status, out, err = run(*what, *flags)
        assert (status, out) == (0, "caffeonspark: -dryRun: everything was checked, and all is well\n"), err
        assert sorted(path.name for path in folder.iterdir()) == before
    status, _, err = run("-test", *flags)
    assert status == 1 and "the model (-model)" in err


def test_a_dry_run_compares_the_model_with_the_net(folder):
    """It said that all was well where -test and -features ended at once."""
    model = folder / "m.caffemodel"
    data = SimpleNamespace(getSource=lambda config, training: NetSource(config, config.run_config.net(TEST)))

    def check(**flags):
        conf, output = str(folder / "solver.prototxt"), f"file:{folder}/out"
        cli.check_before(Config(None, conf=conf, model=f"file:{model}", output=output, dryRun=True, **flags), data)

    shapes = {"conv": [(8, 1, 5, 5), (8,)], "ip1": [(150, 128), (150,)], "ip2": [(10, 150), (10,)]}
    layers = [LayerWeights(name, "", [np.zeros(s, np.float32) for s in its]) for name, its in shapes.items()]
    write_caffemodel(str(model), layers)
    check(test=True)
    check(features=["ip2"])
    with pytest.raises(ConfigError, match="-blasKernel: 'Haswel' is no kernel"):
        check(test=True, blasKernel="Haswel")
    write_caffemodel(str(model), layers[:2])
    with pytest.raises(ConfigError, match=r"m\.caffemodel has no parameters for ip2 of "):
        check(test=True)
    check(features=["ip1"])
    model.write_bytes(b"")
    with pytest.raises(DataError, match=r"m\.caffemodel is no model: it is empty"):
        check(features=["ip1"])


@pytest.mark.parametrize("dry", [["-dryRun"], []])
def test_what_would_fail_after_training_is_found_before_it(run, folder, dry):
    def refused(said, *more):
        status, _, err = run("-train", *dry, *flags_for(folder, *more))
        assert status == 1 and said in err.splitlines()[-1], err
        assert "iteration" not in err

    refused("the TEST net has no blob 'ip9'", "-features", "ip9", "-output", f"file:{folder}/out")
    refused("is a folder: name a file in it", "-test", "-output", f"file:{folder}")
    (folder / "m.caffemodel").mkdir()
    refused("m.caffemodel is a folder: name a file in it")
    (folder / "m.caffemodel").rmdir()
    solver = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(solver.replace('"fixed"', '"fixedd"'))
    refused("solver.prototxt: unknown lr_policy 'fixedd'. Did you mean 'fixed'?")
    (folder / "solver.prototxt").write_text(solver + " snapshot_format: HDF5")
    (folder / "net.prototxt").write_text((folder / "net.prototxt").read_text().replace('"ip2"', '"head/ip2"'))
    refused("layer 'head/ip2' has a '/' in its name")
