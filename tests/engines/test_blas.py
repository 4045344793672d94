"""What is known of processor and OpenBLAS before either is used, and that the kernel that is asked for is used."""

import json
import os
import subprocess
import sys

import pytest

from caffeonspark.engines import blas
from caffeonspark.engines.processor import granted_cores, share, this_processor
from caffeonspark.errors import ConfigError

LINUX = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse pni ssse3 sse4_1 sse4_2 avx fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl

processor\t: 1
flags\t\t: fpu
"""


def python(code, **env):
    """What a process of its own prints, as JSON."""
    kept = {name: value for name, value in os.environ.items() if name != blas.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **env}, capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


def test_the_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(LINUX)
    found = this_processor(str(path))
    assert found.name == "AMD EPYC 9R14" and {"avx512vl", "pni"} < found.flags
    path.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert this_processor(str(path)).flags == frozenset()
    assert this_processor(str(tmp_path / "none")).flags == frozenset()


def test_granted_cores(tmp_path):
    affinity = len(os.sched_getaffinity(0))
    cgroup, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "job/task").mkdir(parents=True)
    cgroup.write_text("0::/job/task\n")
    assert granted_cores(str(cgroup), str(root)) == affinity
    (root / "job/task/cpu.max").write_text("max 100000\n")
    (root / "job/cpu.max").write_text("50000 100000\n")  # a quota holds for what is below
    assert granted_cores(str(cgroup), str(root)) == 0.5
    (root / "cpu,cpuacct/job").mkdir(parents=True)
    (root / "cpu,cpuacct/job/cpu.cfs_quota_us").write_text("-1\n")
    (root / "cpu,cpuacct/job/cpu.cfs_period_us").write_text("100000\n")
    cgroup.write_text("4:memory:/job\n3:cpu,cpuacct:/job\n")
    assert granted_cores(str(cgroup), str(root)) == affinity
    (root / "cpu,cpuacct/job/cpu.cfs_quota_us").write_text("25000\n")
    assert granted_cores(str(cgroup), str(root)) == min(affinity, 0.25)
    assert granted_cores(str(tmp_path / "none"), str(root)) == affinity
    assert share(str(cgroup)) == share(str(cgroup)) != share(str(tmp_path / "none"))


def test_settings():
    assert blas.check_setting("AUTO") == "auto" and blas.check_setting("skylakex") == "SkylakeX"
    with pytest.raises(ConfigError, match="Did you mean 'Sandybridge'"):
        blas.check_setting("Sandy-bridge")


@pytest.mark.skipif(len(blas.facts()["kernels"]) < 3, reason="OpenBLAS has no kernels to choose from here")
class TestOpenBLAS:
    FACTS = "import json; from caffeonspark.engines import blas; print(json.dumps({}))"

    def test_nothing_is_loaded_to_know_it(self):
        code = self.FACTS.format("[blas.facts(), 'caffe' in __import__('sys').modules, blas.in_use()]")
        found, caffe, used = python(code)
        assert not caffe and used is None and found["loaded"] == "" and found["inherited"] is None
        times = [blas.relative_time(name) for name in found["kernels"]]
        assert times == sorted(times) and found["own"] in found["kernels"]
        assert blas.relative_time(found["kernels"][0]) <= blas.relative_time(found["own"])
        assert python(code, **{blas.VARIABLE: ""})[0] == {**found, "inherited": ""}  # counts as set, and is not asked

    @pytest.mark.parametrize("inherited", [None, "", "Prescott"])
    def test_the_kernel_that_is_asked_for_is_used(self, inherited):
        env = {} if inherited is None else {blas.VARIABLE: inherited}
        code = (
            "import json; from caffeonspark.engines import blas; from caffeonspark.engines.caffe import CaffeEngine\n"
            "blas.use_for({!r}); CaffeEngine().versions(); print(json.dumps(blas.in_use().kernel))"
        )
        assert python(code.format("Nehalem"), **env) == "Nehalem"
        best = blas.facts()["kernels"][0]
        assert python(code.format("auto"), **env) == best
        expected = best if inherited is None and blas.facts()["own"] == best else "Prescott"
        if inherited is not None or blas.facts()["own"] == best:
            assert python(code.format("environment"), **env) == expected

    def test_the_digest_tells_kernels_apart_and_is_the_same_in_every_process(self):
        code = (
            "import json; from caffeonspark.engines.caffe import CaffeEngine; import caffe; caffe.set_random_seed(5)\n"
            "print(json.dumps(CaffeEngine().arithmetic()))"
        )
        found = [python(code, OPENBLAS_NUM_THREADS="1", **{blas.VARIABLE: name}) for name in ("Nehalem", "Prescott")]
        again = python(code, OPENBLAS_NUM_THREADS="1", **{blas.VARIABLE: "Nehalem"})
        assert found[0] == again != found[1]


def test_without_openblas_nothing_is_chosen(monkeypatch):
    monkeypatch.setattr(blas, "_SONAME", "libno-such-blas.so.0")
    blas._answers.cache_clear()
    try:
        found = blas.facts()
        assert found["kernels"] == [] and found["openblas"] == found["own"] == ""
        before = os.environ.get(blas.VARIABLE)
        blas.use_for("auto")
        assert os.environ.get(blas.VARIABLE) == before
        with pytest.raises(ConfigError, match="this machine has no OpenBLAS whose kernel can be chosen"):
            blas.use_for("Haswell")
    finally:
        blas._answers.cache_clear()
