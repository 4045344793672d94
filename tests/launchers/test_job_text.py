"""Jobs as text: what comes back is what was sent, and nothing but the library's own values comes of any text."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest

from caffeonspark import Config
from caffeonspark.comm.credentials import Invitation
from caffeonspark.errors import ConfigError, DataError
from caffeonspark.launchers.job_text import as_text, from_text
from caffeonspark.nets.net import TRAIN
from caffeonspark.plans.job import Job, ResumePoint, Suspect, ValidationPlan
from caffeonspark.plans.net_source import NetSource
from caffeonspark.settings import Settings
from tests.support import stock


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if dataclasses.is_dataclass(one):
        fields = dataclasses.fields(one)
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_job_comes_back_as_it_was(tmp_path, small_lmdb, small_images):
    from caffeonspark.nets.schema import BlobProto

    mean = BlobProto(channels=1, height=12, width=12, num=1)
    mean.data.extend(small_images[0].mean(axis=0).reshape(-1))
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    net = stock.lmdb_net(small_lmdb, 10).replace("scale: 0.00390625", 'mean_file: "mean.binaryproto" mirror: true')
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5')
    config = Config(None, conf=str(tmp_path / "solver.prototxt"), model="m")
    plan = NetSource(config, config.run_config.net(TRAIN)).plan
    job = Job(
        ranks=3,
        solver=config.solver.SerializeToString(),
        train=plan,
        validations=(ValidationPlan(plan, 60), ValidationPlan(plan, None)),
        seed=1 << 60,
        start=ResumePoint((".caffemodel",), ".solverstate", 7, best=float("inf"), parts=((".a",), ())),
        driver=("10.0.0.1", 4000),
        invitation=Invitation(b"n" * 16, b"\x00\xff", True),
        settings=Settings(model="m", features=("a", "b")),
        suspect=Suspect(1, -1, 0, 5),
    )
    assert plan.layers[0].tops[0].transform.mean is not None
    assert same(from_text(as_text(job)), job)


@dataclass(frozen=True)
class OwnReader:
    path: str


def test_readers_of_ones_own_cannot_be_sent():
    with pytest.raises(ConfigError, match=r"test_job_text.OwnReader cannot be sent to machines that join"):
        as_text({"reader": OwnReader("x")})


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense",
        b'{"value": ["os", "system", {}]}',
        b'{"value": ["subprocess", "Popen", {"args": "true"}]}',
        b'{"value": ["caffeonspark.process", "fork", {}]}',
        b'{"value": ["caffeonspark.comm.encryption", "KeyPair", {}]}',
        b'{"value": ["caffeonspark.nowhere", "Job", {}]}',
        b'{"value": ["caffeonspark.plans.job", "Job", {}]}',
        b'{"value": ["caffeonspark.plans.job", "Job.__init__", {}]}',
        b'{"value": ["caffeonspark.plans.job", "annotations", {}]}',
        b'{"array": ["|O", [1], "AAAAAAAAAAA="]}',
        b'{"array": ["<f4", [5], "AAAA"]}',
        b'{"call": ["print"]}',
        b"[" * 100_000,
        json.dumps({"a": 1, "b": 2}).encode(),
    ],
)
def test_what_is_no_job_is_refused(text):
    with pytest.raises(DataError, match=r"^this is no job of this version of the library"):
        from_text(text)
