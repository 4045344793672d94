"""Which kernel each rank takes, and that machines that do not round alike train one model."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from caffeonspark import Config
from caffeonspark.engines.blas import VARIABLE, facts
from caffeonspark.errors import ConfigError
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.plans.job import ResumePoint, ValidationPlan
from caffeonspark.plans.net_source import NetSource
from caffeonspark.report.base import Observer
from caffeonspark.report.result import RankMachine, TrainingResult
from caffeonspark.runs.attempt import Attempt
from caffeonspark.runs.kernels import FreshWorkersNeeded, RankKernels, choose, crowded
from caffeonspark.runs.run import PreparedRun
from tests.support import stock
from tests.support.process_ranks import ProcessRanks

ROOT = pathlib.Path(__file__).parent.parent.parent

AVX512 = ["SkylakeX", "Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott"]


def machine(own, kernels, **values):
    """What a rank tells of a machine."""
    found = {"processor": f"a {own}", "cores": 4.0, "share": "a", "openblas": "0.3.13", "own": own, "kernels": kernels}
    return {**found, "inherited": None, "loaded": "", **values}


NEW = machine("Prescott", AVX512)  # newer than its OpenBLAS
SKYLAKE = machine("SkylakeX", AVX512)
ZEN = machine("Zen", ["Zen", *[name for name in AVX512[1:] if name != "Zen"]])
HASWELL = machine("Haswell", AVX512[1:])
IVY = machine("Sandybridge", AVX512[3:])
ARM = machine("neoversen1", [])


@pytest.mark.parametrize(
    "ranks, kernels",
    [
        ([NEW, NEW], ["SkylakeX", "SkylakeX"]),
        ([NEW, SKYLAKE], ["SkylakeX", "SkylakeX"]),
        ([ZEN, ZEN], ["Zen", "Zen"]),
        ([ZEN, HASWELL], ["Haswell", "Haswell"]),  # as fast for both
        ([SKYLAKE, HASWELL], ["SkylakeX", "Haswell"]),  # a quarter slower for the first: too dear
        ([HASWELL, IVY, HASWELL], ["Haswell", "Sandybridge", "Haswell"]),
        ([ARM, ARM], ["", ""]),
        ([ARM, SKYLAKE], ["", "SkylakeX"]),
    ],
)
def test_all_ranks_take_the_best_that_all_can_run_where_that_is_cheap(ranks, kernels):
    found = choose("auto", ranks, ["a"] * len(ranks))
    assert list(found.kernels) == kernels and not found.notes


def test_an_environment_that_says_something_else_is_one_line():
    ranks = [{**ZEN, "inherited": "Haswell"}, {**ZEN, "inherited": "zen"}, {**ZEN, "inherited": ""}]
    assert choose("auto", ranks, "abc").notes == (
        "OPENBLAS_CORETYPE= in the environment of rank 2 is not used: -blasKernel auto takes Zen (-blasKernel "
        "environment leaves it)",
        "OPENBLAS_CORETYPE=Haswell in the environment of rank 0 is not used: -blasKernel auto takes Zen (-blasKernel "
        "environment leaves it)",
    )
    left = choose("environment", ranks, "abc")
    assert left.kernels == ("", "", "") and not left.notes
    assert not choose("auto", [{**ARM, "inherited": "ARMV8"}] * 2, "ab").notes


def test_a_kernel_by_name():
    assert choose("haswell", [SKYLAKE, ZEN], "ab").kernels == ("Haswell", "Haswell")
    with pytest.raises(ConfigError, match=r"'Haswel' is no kernel that can be chosen\. Did you mean 'Haswell'"):
        choose("Haswel", [ZEN], "a")
    with pytest.raises(ConfigError, match=r"b cannot run it: its processor \(a Zen\) and OpenBLAS 0\.3\.13 have"):
        choose("SkylakeX", [SKYLAKE, ZEN], "ab")
    with pytest.raises(ConfigError, match="rank 0 on a has no OpenBLAS"):
        choose("SkylakeX", [ARM, ZEN], "ab")


def rank_kernels(setting="auto", fresh=False, settles=True):
    told, parted = [], []
    return RankKernels(setting, 2, settles, fresh, lambda: parted.append(True), told.append), told, parted


def test_a_worker_with_another_kernel_is_left():
    kernels, _, parted = rank_kernels()
    kernels.hello(0, "a", {**ZEN, "loaded": "Zen"})
    with pytest.raises(FreshWorkersNeeded) as error:
        kernels.hello(1, "b", {**ZEN, "loaded": "Prescott"})
    assert error.value.kernels == ("Zen", "Zen") and not parted
    again, _, _ = rank_kernels(fresh=True)  # others there are none
    for rank in (0, 1):
        again.hello(rank, "a", {**ZEN, "loaded": "Prescott"})
    assert again.chosen == ("Zen", "Zen")
    left, _, _ = rank_kernels("environment")
    for rank in (0, 1):
        left.hello(rank, "a", {**ZEN, "loaded": "Prescott"})
    assert left.chosen == ("", "")


def test_what_ranks_compute_with_and_what_there_is_to_say():
    kernels, told, parted = rank_kernels()
    kernels.hello(0, "a", ZEN)
    kernels.hello(1, "b", HASWELL)
    assert parted and kernels.chosen == ("Haswell", "Haswell")
    engine = {"versions": {}, "digest": "1", "kernel": "Haswell", "threads": 1}
    assert kernels.engine(0, engine) == RankMachine("a Zen", 4.0, "OpenBLAS 0.3.13", "Haswell", 1)
    kernels.engine(1, {**engine, "digest": "2", "threads": 8})
    assert told == [
        "rank 1 (Haswell) does not round as rank 0 (Haswell) does: they settle on rank 0's weights now and then",
        "warning: rank 0, 1 on a: 9 BLAS threads on 4 cores that they may use slow each other down; set "
        "OPENBLAS_NUM_THREADS in their environment (spark.executorEnv.OPENBLAS_NUM_THREADS) to 2",
    ]


def test_threads_are_counted_where_they_share_cores():
    apart = {**ZEN, "share": "b"}
    assert not crowded("ab", [ZEN, apart], [4, 4])
    assert not crowded("ab", [ZEN, ZEN], [2, 2])
    assert len(crowded("ab", [ZEN, {**apart, "cores": 0.5}], [4, 1])) == 1


class Notes(Observer):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


class Trained:
    """An attempt with its ranks as processes; what came of it."""

    def __init__(self, folder, lmdb, environments, settings="max_iter: 20", launcher=None, **flags):
        (folder / "net.prototxt").write_text(stock.lmdb_net(lmdb, 10))
        (folder / "solver.prototxt").write_text(
            f'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 {settings}'
        )
        config = Config(None, conf=str(folder / "solver.prototxt"), model="m", clusterSize=len(environments), **flags)
        run_config = config.run_config
        sources = [NetSource(config, config.run_config.net(phase)) for phase in (TRAIN, TEST)]
        validations = (ValidationPlan(sources[1].plan, 60),)
        prepared = PreparedRun(run_config, sources, run_config.solver, validations, None, None, 7, ())
        self.result, self.notes, self.files = TrainingResult(model="m"), Notes(), []
        quiet = [{"OPENBLAS_NUM_THREADS": "1", **environment} for environment in environments]
        launcher = launcher or ProcessRanks(quiet)
        launcher.environments = quiet
        attempt = Attempt(
            run_config,
            prepared.layers,
            launcher,
            self.result,
            self.notes,
            str(folder),
            self.take,
            threading.Event(),
        )
        attempt.run(lambda address, invitation: prepared.job(ResumePoint(), address, invitation))
        self.kernels = [self.result.machines[rank].kernel for rank in range(len(environments))]

    def take(self, rank, kind, about, path):
        content = pathlib.Path(path).read_bytes()
        os.unlink(path)
        self.files.append((str(kind.value if hasattr(kind, "value") else kind), about["iteration"], content))

    def model(self):
        return next(hashlib.sha256(content).hexdigest() for kind, _, content in self.files if kind == "model")


def load_caffe():
    from caffeonspark.engines.caffe import CaffeEngine

    CaffeEngine().versions()


MIXED = [{VARIABLE: "Haswell"}, {VARIABLE: "Prescott"}]
real = pytest.mark.skipif("Haswell" not in facts()["kernels"], reason="no OpenBLAS with kernels to choose from here")


@real
def test_unequal_machines_train_one_model(small_lmdb, tmp_path):
    """Through the whole of an attempt and of ranks, with snapshots and validations, which need equal weights."""
    settings = "max_iter: 150 snapshot: 40 test_iter: 6 test_interval: 70 snapshot_after_train: true"
    run = Trained(tmp_path, small_lmdb, MIXED, settings, blasKernel="environment")
    assert run.kernels == ["Haswell", "Prescott"]
    assert run.notes.lines == [
        "rank 1 (Prescott) does not round as rank 0 (Haswell) does: they settle on rank 0's weights now and then"
    ]
    kinds = [(kind, iteration) for kind, iteration, _ in run.files if kind != "snapshot weights"]
    assert kinds == [*(("snapshot state", at) for at in (40, 80, 120, 150)), ("model", 150)]
    assert [test.iteration for test in run.result.tests] == [0, 70, 140]
    assert run.result.tests[-1].outputs["accuracy"][0] > 0.95


@real
@pytest.mark.long
def test_auto_is_the_kernel_it_takes_to_the_bit(small_lmdb, tmp_path):
    best = facts()["kernels"][0]
    auto = Trained(tmp_path, small_lmdb, MIXED)
    assert auto.kernels == [best, best]
    assert len(auto.notes.lines) == sum(best != variables[VARIABLE] for variables in MIXED)
    assert all("is not used: -blasKernel auto takes" in line for line in auto.notes.lines)
    named = Trained(tmp_path, small_lmdb, [{VARIABLE: best}] * 2, blasKernel=best.lower())
    same = Trained(tmp_path, small_lmdb, [{VARIABLE: best}] * 2, blasKernel="environment")
    assert not named.notes.lines and not same.notes.lines
    assert auto.model() == named.model() == same.model()
    average = Trained(
        tmp_path, small_lmdb, MIXED, "max_iter: 25 snapshot: 15", blasKernel="environment", sync="average"
    )
    assert average.kernels == ["Haswell", "Prescott"] and not average.notes.lines  # equal by what it does


@real
def test_a_worker_that_has_loaded_another_kernel_is_left_before_records_are_used(small_lmdb, tmp_path):
    best = facts()["kernels"][0]
    other = "Prescott" if best != "Prescott" else "Haswell"
    environments = [{VARIABLE: other}] * 2
    with pytest.raises(FreshWorkersNeeded) as error:
        Trained(tmp_path, small_lmdb, environments, launcher=ProcessRanks(environments, before=load_caffe))
    assert error.value.kernels == (best, best)
    kept = Trained(tmp_path, small_lmdb, environments, launcher=ProcessRanks(environments, load_caffe, fresh=True))
    assert kept.kernels == [other, other]  # others there are none


@pytest.mark.spark
@pytest.mark.long
def test_two_executors_with_different_kernels(small_lmdb, tmp_path):
    """In one job: what auto does with workers that have loaded another kernel, and training as it is."""
    best = facts()["kernels"]
    if "Haswell" not in best:
        pytest.skip("no OpenBLAS with kernels to choose from here")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernels_job", str(tmp_path), str(small_lmdb)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["workers"] == ["Haswell", "Prescott"]  # Caffe was loaded as the environment says
    for name in ("auto", "again", "named"):
        run = found[name]
        assert run["kernels"] == [found["best"]] * 2 and run["threads"] == [1, 1] and run["restarts"] == 0
        assert not any("round" in line for line in run["notes"])
        assert run["model"] == found["auto"]["model"]  # to the bit, however it was chosen
    assert sum("is not used: -blasKernel auto takes" in line for line in found["auto"]["notes"]) == 2
    mixed = found["mixed"]
    assert sorted(mixed["kernels"]) == ["Haswell", "Prescott"]
    assert sum("not round as rank 0" in line for line in mixed["notes"]) == 1
    assert len(mixed["snapshots"]) == 5 and mixed["restarts"] == 0 and mixed["accuracy"][-1] > 0.95
    average = found["average"]
    assert sorted(average["kernels"]) == ["Haswell", "Prescott"] and len(average["snapshots"]) >= 1
    assert found["refused Haswel"].startswith("ConfigError: -blasKernel: 'Haswel'")
    if "SkylakeX" not in best:
        assert found["refused SkylakeX"].startswith("ConfigError: -blasKernel SkylakeX: rank ")
