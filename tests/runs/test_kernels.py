"""Which kernel each rank takes, and that machines that do not round alike train one model."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from caffeonspark.engines.blas import facts
from caffeonspark.errors import ConfigError
from caffeonspark.report.result import RankMachine
from caffeonspark.runs.kernels import FreshWorkersNeeded, RankKernels, choose, crowded

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
        "spark.executorEnv.OPENBLAS_NUM_THREADS to 2",
    ]


def test_threads_are_counted_where_they_share_cores():
    apart = {**ZEN, "share": "b"}
    assert not crowded("ab", [ZEN, apart], [4, 4])
    assert not crowded("ab", [ZEN, ZEN], [2, 2])
    assert len(crowded("ab", [ZEN, {**apart, "cores": 0.5}], [4, 1])) == 1


@pytest.mark.spark
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
    assert sum("does not round as rank 0" in line for line in mixed["notes"]) == 1
    assert len(mixed["snapshots"]) == 5 and mixed["restarts"] == 0 and mixed["accuracy"][-1] > 0.95
    average = found["average"]
    assert sorted(average["kernels"]) == ["Haswell", "Prescott"] and len(average["snapshots"]) >= 1
    assert found["refused Haswel"].startswith("ConfigError: -blasKernel: 'Haswel'")
    if "SkylakeX" not in best:
        assert found["refused SkylakeX"].startswith("ConfigError: -blasKernel SkylakeX: rank ")
