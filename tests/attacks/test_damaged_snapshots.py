"""Snapshots that are not what was saved, up to Caffe's own reading of them.

Ours have checksums: what changed is passed over for the next older whole one, with a line that names the file. Stock
Caffe's have none: what Caffe can still read is another value, and what it cannot is one error, never a dead driver.
"""

import os
import random
import shutil

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import Config
from caffeonspark.comm.wire import FrameKind
from caffeonspark.engines.caffe.crash import fatal_message
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.errors import CaffeOnSparkError
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.process import run_in_child
from caffeonspark.runs.snapshots import SnapshotStore, read_resume_point
from tests.support import caffe_files
from tests.support.damage import in_child

pytestmark = pytest.mark.slow

SOLVER = (
    'net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 9 random_seed: 3 '
    'snapshot_prefix: "caffe"'
)


class Run:
    """A folder with snapshots of iterations 3 and 5, by stock Caffe or by us."""

    def __init__(self, folder, ours, hdf5):
        self.folder, self.ours, self.hdf5 = folder, ours, hdf5
        folder.mkdir()
        (folder / "net.prototxt").write_text(caffe_files.NETS["BatchNorm"])
        (folder / "solver.prototxt").write_text(f"{SOLVER} snapshot_format: {'HDF5' if hdf5 else 'BINARYPROTO'}")
        made = folder / "made"
        made.mkdir()
        solver, *_ = caffe_files.snapshot(made, hdf5=hdf5)
        solver.step(2)
        solver.snapshot()
        if not ours:
            for path in made.iterdir():
                path.rename(folder / path.name)
        else:
            self._take(made)
        shutil.rmtree(made)
        self.whole = {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder)) if "_iter_" in name}
        self.newest = [name for name in self.whole if "_iter_5" in name and not name.endswith((".json", ".sha256"))]

    def store(self, **flags):
        conf, model = str(self.folder / "solver.prototxt"), f"file:{self.folder}/m.caffemodel"
        config = Config(None, conf=conf, model=model, clusterSize=2, **flags).run_config
        said = []
        return config, SnapshotStore(config, said.append, "app/1"), said

    def _take(self, made):
        _, store, _ = self.store()
        end = ".h5" if self.hdf5 else ""
        for iteration in (3, 5):
            about = {"iteration": iteration, "tests_done": 1, "best": None, "since_best": 0, "parts": []}
            for kind, ending in ((FrameKind.SNAPSHOT_WEIGHTS, "caffemodel"), (FrameKind.SNAPSHOT_STATE, "solverstate")):
                # as ranks hand them over: under a name without an ending
                path = made / f"{ending}{iteration}"
                (made / f"caffe_iter_{iteration}.{ending}{end}").rename(path)
                store.take(0, kind, about, str(path), seed=7)

    def repair(self):
        for name, content in self.whole.items():
            path = self.folder / name
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)

    def driver(self):
        """What the driver starts from: [iteration, what it said], or its error."""

        def work():
            config, store, said = self.store(resume=True)
            try:
                return {"iteration": read_resume_point(config, store)[0].point.iteration, "said": said}
            except CaffeOnSparkError as e:
                return {"error": e.message}

        return in_child(work)

    def rank(self):
        """How a rank fares that starts from it: its iteration, its error, or why Caffe ended its process."""

        def work(send):
            config, store, _ = self.store(resume=True)
            start, _ = read_resume_point(config, store)
            paths = []
            for number, (ending, content) in enumerate(zip((*start.point.weights, start.point.state), start.contents)):
                paths.append(str(self.folder / f"start{number}{ending}"))
                with open(paths[-1], "wb") as f:
                    f.write(content)
            net = text_format.Parse((self.folder / "net.prototxt").read_text(), NetParameter())
            solver = text_format.Parse((self.folder / "solver.prototxt").read_text(), SolverParameter())
            try:
                trainer = CaffeTrainer(solver, net, [], 0, str(self.folder))
                trainer.restore(*paths)
                send(b"at %d, %s" % (trainer.iteration, str(np.isfinite(trainer.weights[0]).all()).encode()))
            except CaffeOnSparkError as e:
                send(f"error: {e.message}".encode())

        output, errors, status = run_in_child(work, 60)
        return output.decode(), fatal_message(errors.decode(errors="replace").splitlines()), status


def judge(run, file, changed=True):
    """The outcome in a word: passed over, error, restored, or refused by Caffe."""
    found = run.driver()
    assert "signal" not in found, found
    if "error" in found:
        assert file in found["error"]
        assert "\n" not in found["error"]
        return "error"
    if found["iteration"] in (0, 3):
        assert any(file in line for line in found["said"]) or not (run.folder / file).exists()
        return "passed over"
    assert found["iteration"] == 5 or not run.ours
    assert not (run.ours and changed), f"{file} changed without a word"
    output, fatal, status = run.rank()
    if output:
        assert output.startswith(("at ", "error: "))
        return "restored" if output.startswith("at ") else "error"
    assert fatal, f"a rank ended with status {status} without a word"
    return "refused by Caffe"


@pytest.fixture(params=["ours", "Caffe's"])
def ours(request):
    return request.param == "ours"


@pytest.fixture(params=["binary", "HDF5"])
def run(request, ours, tmp_path):
    run = Run(tmp_path / "run", ours, request.param == "HDF5")
    assert run.driver() == {"iteration": 5, "said": []}
    assert run.rank()[0] == "at 5, True"
    return run


def test_cut_empty_swapped_or_a_folder(run):
    for name in run.newest:
        whole, path = run.whole[name], run.folder / name
        (other,) = [one for one in run.newest if one != name]
        contents = {
            "empty": b"",
            "zeros": bytes(len(whole)),
            "the other file": run.whole[other],
            **{f"cut to {size}": whole[:size] for size in (1, 100, len(whole) // 3, len(whole) // 2, len(whole) - 1)},
            "twice": whole + whole,
        }
        for kind, content in contents.items():
            path.write_bytes(content)
            outcome = judge(run, name)
            assert outcome != "restored" or kind == "twice", (name, kind)  # protobuf merges, HDF5 ignores
            run.repair()
        path.unlink()
        path.mkdir()
        assert judge(run, name) in ("passed over", "error")
        run.repair()


def test_weights_of_another_iteration(run):
    """Whole, but another one's; stock Caffe's cannot be told apart."""
    (name,) = [name for name in run.newest if "caffemodel" in name]
    (run.folder / name).write_bytes(run.whole[name.replace("_iter_5", "_iter_3")])
    assert judge(run, name) == ("passed over" if run.ours else "restored")


def test_a_state_of_another_iteration(run):
    (name,) = [name for name in run.newest if "solverstate" in name]
    (run.folder / name).write_bytes(run.whole[name.replace("_iter_5", "_iter_3")])
    assert judge(run, name) == "passed over"


def test_flipped_at_200_places(run):
    chance = random.Random(7)
    outcomes = {}
    for _ in range(200):
        name = chance.choice(run.newest)
        content = bytearray(run.whole[name])
        at = chance.randrange(len(content) if chance.random() < 0.5 else min(len(content), 600))
        content[at] ^= 1 << chance.randrange(8)
        (run.folder / name).write_bytes(content)
        outcome = judge(run, name)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        run.repair()
    if run.ours:
        assert outcomes == {"passed over": 200}
    else:
        assert sum(outcomes.values()) == 200
