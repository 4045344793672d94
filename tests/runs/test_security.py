"""A running job's network: unauthenticated connections at every port it has, what crosses it, and where it listens."""

import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest

from tests.support import adversary, capture, processes, stock
from tests.support.data_files import write_lmdb
from tests.support.paths import ROOT
from tests.support.victim import Victim

ITERATIONS, LATE = 1000, 12
LOW = 20_000 + os.getpid() % 500 * 20  # below Linux's ports for outgoing connections; another test run has others
HIGH = LOW + 19
needs_packets = pytest.mark.skipif(bool(capture.why_not()), reason=capture.why_not())


@pytest.fixture(scope="module")
def victim():
    driver = Victim(
        "local-cluster[2,2,1024]",
        f"spark.executorEnv.PYTHONPATH={ROOT}",
        "spark.authenticate=true",
        "spark.authenticate.secret=of the tests",
    )
    yield driver
    driver.close()


def make_folder(folder, images, **flags):
    """A run of three ranks whose last one may come late, on ports LOW to HIGH."""
    write_lmdb(folder / "lmdb", *images)
    layer = (
        'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" source_class: "{}" '
        'memory_data_param {{ source: "{}/lmdb" batch_size: 8 channels: 1 height: 12 width: 12 }} '
        "transform_param {{ scale: 0.00390625 }} }}\n"
    )
    (folder / "net.prototxt").write_text(layer.format("tests.support.slow_source.SlowLMDB", folder) + stock.LAYERS)
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
        f'max_iter: {ITERATIONS} snapshot: 500 snapshot_prefix: "run" '
    )
    return {
        "conf": str(folder / "solver.prototxt"),
        "model": f"file:{folder}/model.caffemodel",
        "clusterSize": 3,
        "port": f"{LOW}-{HIGH}",
        "stallTimeout": 60,
        **flags,
    }


def memory(pid):
    """Most resident memory a process ever had, MB."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


class Run:
    """A run of the victim: its weights, seconds, restarts, and the most memory of driver and ranks in MB."""

    def __init__(self, victim, flags):
        victim.order(flags)
        driver = victim.process.pid
        self.ranks = 0.0
        over = threading.Event()

        def watch():
            while not over.wait(0.2):
                workers = processes.ranks(driver)
                below = processes.tree(driver)
                helpers = [pid for pid in below if below[pid] in workers]
                self.ranks = max([self.ranks, *map(memory, workers), *map(memory, helpers)])

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.monotonic()
        events = victim.wait_for("over")
        self.seconds = time.monotonic() - begin
        over.set()
        watcher.join()
        self.driver = memory(driver)
        self.notes = [event["note"] for event in events if "note" in event]
        assert {"finished": ITERATIONS, "restarts": 0, "stopped": "", "losses": ITERATIONS} in events, events[-3:]
        self.weights = stock.load_weights(flags["model"].replace("file:", ""), stock.input_net(8))


@pytest.fixture(scope="module")
def undisturbed(victim, small_images, tmp_path_factory):
    order(victim, make_constant_folder(tmp_path_factory.mktemp("first")))  # until the executors are there
    return Run(victim, make_folder(tmp_path_factory.mktemp("undisturbed"), small_images))


@contextlib.contextmanager
def siege(folder):
    """Every attack on whatever listens on the job's ports; gives a dict that has the report in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.adversary", str(LOW), str(HIGH), str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    report = {}
    try:
        json.loads(process.stdout.readline())
        yield report
    finally:
        process.stdin.close()
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        assert process.wait(60) == 0
    report.update(json.loads(lines[-1]))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("encrypt", [False, True], ids=["plain", "encrypted"])
@pytest.mark.long
def test_a_job_under_attack_does_not_notice(victim, undisturbed, small_images, tmp_path, encrypt):
    marks = tmp_path / "marks"
    marks.mkdir()
    flags = make_folder(tmp_path, small_images, encrypt=encrypt)
    (tmp_path / "slow").write_text(str(LATE))
    with siege(marks) as report:
        run = Run(victim, flags)
    for mine, expected in zip(run.weights, undisturbed.weights):
        np.testing.assert_array_equal(mine, expected)
    assert ("what ranks send is encrypted, because of -encrypt" in run.notes) == encrypt
    # every attack on the driver's port and on those of the two ranks that wait for the third, and no word from any
    kinds = sorted((len(tried) for tried in report["tried"].values()), reverse=True)
    print(
        f"{sum(sum(tried.values()) for tried in report['tried'].values())} attacks of {kinds} kinds on "
        f"{len(kinds)} ports, {sum(report['replayed'].values())} with a real recording; "
        f"{run.seconds:.1f} s, of them {LATE} waiting for a rank, instead of {undisturbed.seconds:.1f}; "
        f"memory of the driver {run.driver:.0f} MB instead of {undisturbed.driver:.0f}, "
        f"of a rank {run.ranks:.0f} instead of {undisturbed.ranks:.0f}"
    )
    assert kinds[0] == len(adversary.ATTACKS)
    assert len(kinds) >= 3 and kinds[2] > 25
    assert not any(report["heard"].values())
    if not capture.why_not():
        assert adversary.DRIVER in report["recorded"]
        assert sum(report["replayed"].values()) > 100
    assert not list(marks.iterdir())  # nothing was unpickled
    assert run.seconds < LATE + 3 * undisturbed.seconds + 30
    assert run.driver < undisturbed.driver + 48
    assert run.ranks < undisturbed.ranks + 48


# ---- what crosses the network

# A net whose gradient is one number, the same for every weight, at every iteration, on both ranks; another one in every
# run of the tests, because other runs' packets are seen too. It has 21 bits, so every sum of it is exact.
VALUE, SCALE, BATCH, STEPS = random.randrange(65, 255) | 1, random.randrange(257, 1023, 2) / 65536, 8, 20
GRADIENT = np.float32(VALUE * SCALE * BATCH)
CONSTANT = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 1000 bias_term: false weight_filler { type: "constant" value: 0 } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 reduction_param { operation: SUM } }
"""


def make_constant_folder(folder, **flags):
    """A run of the constant net on two ranks, whose gradients travel as between machines."""
    write_lmdb(folder / "lmdb", [np.full((1, 12, 12), VALUE, np.uint8)] * 100, [0] * 100)
    layer = (
        f'layer {{ name: "data" type: "Data" top: "data" data_param {{ source: "{folder}/lmdb" batch_size: {BATCH} '
        f"backend: LMDB }} transform_param {{ scale: {SCALE} }} }}"
    )
    (folder / "net.prototxt").write_text(layer + CONSTANT)
    (folder / "solver.prototxt").write_text(
        f'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" random_seed: 3 max_iter: {STEPS} snapshot_prefix: "run"'
    )
    return {
        "conf": str(folder / "solver.prototxt"),
        "model": f"file:{folder}/model.caffemodel",
        "clusterSize": 2,
        "port": f"{LOW}-{HIGH}",
        "sync": "tests.support.exchanging:OverTCP",
        **flags,
    }


class Seen:
    """What crossed the loopback: in how many packets the gradient and the model's weights could be read."""

    def __init__(self, victim, flags):
        packets = []
        network = capture.Capture(lambda source, target, payload: packets.append((source, target, payload)))
        try:
            victim.order(flags)
            events = victim.wait_for("over")
            time.sleep(0.3)
        finally:
            self.missed = network.close()
        self.notes = [event["note"] for event in events if "note" in event]
        assert any(event.get("finished") == STEPS for event in events), events[-3:]
        (weights,) = stock.load_weights(flags["model"].replace("file:", ""), input_net())
        (weight,) = set(weights.reshape(-1).tolist())
        assert weight == pytest.approx(-0.01 * STEPS * GRADIENT, rel=1e-5)
        ours = [p for p in packets if LOW <= p[0] <= HIGH or LOW <= p[1] <= HIGH]
        self.bytes = sum(len(payload) for _, _, payload in ours)
        self.greetings = sum(payload.startswith(b"CoS3") for _, _, payload in ours)
        self.gradients = sum(GRADIENT.tobytes() * 16 in payload for _, _, payload in packets)
        self.weights = sum(np.float32(weight).tobytes() * 16 in payload for _, _, payload in packets)
        words = (b'"progress"', b'"iteration"', b'"hello"')  # too long to come up by chance in 24 MB of ciphertext
        self.words = sum(any(word in payload for word in words) for _, _, payload in ours)
        sample = b"".join(payload for _, _, payload in ours)[: 4 << 20]
        self.compressed = len(zlib.compress(sample, 1)) / len(sample)
        print(vars(self))


def input_net():
    shape = f"dim: {BATCH} dim: 1 dim: 12 dim: 12"
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}' + CONSTANT


@pytest.mark.long
@needs_packets
def test_a_capture_shows_no_gradient_when_it_is_encrypted(victim, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "encrypted").mkdir()
    plain = Seen(victim, make_constant_folder(tmp_path / "plain"))
    encrypted = Seen(victim, make_constant_folder(tmp_path / "encrypted", encrypt=True))
    assert plain.missed == encrypted.missed == 0
    exchanged = STEPS * 2 * 1000 * 144 * 4  # bytes of gradients both ranks send
    for seen in (plain, encrypted):
        assert seen.bytes > exchanged
        assert seen.greetings == 3  # both ranks' lines to the driver, and the ranks' connection
    assert plain.gradients > STEPS
    assert plain.weights > 0
    assert plain.words > 1  # each rank says hello, at least
    assert encrypted.gradients == encrypted.weights == encrypted.words == 0
    assert plain.compressed < 0.2
    assert encrypted.compressed > 0.99
    assert any("set spark.network.crypto.enabled to true" in note for note in encrypted.notes)


@needs_packets
@pytest.mark.slow
@pytest.mark.parametrize("setting", ["spark.network.crypto.enabled", "spark.authenticate.enableSaslEncryption"])
def test_where_spark_encrypts_its_traffic_ours_is_encrypted(tmp_path, setting):
    driver = Victim(
        "local-cluster[2,1,1024]",
        "spark.authenticate=true",
        "spark.authenticate.secret=of the tests",
        f"{setting}=true",
    )
    try:
        seen = Seen(driver, make_constant_folder(tmp_path))
    finally:
        driver.close()
    assert f"what ranks send is encrypted, because of {setting}" in seen.notes
    assert not any("warning" in note for note in seen.notes)
    assert seen.greetings == 3
    assert seen.gradients == seen.weights == seen.words == 0
    assert seen.compressed > 0.99


@pytest.mark.slow
def test_an_executor_that_cannot_encrypt_ends_the_job(tmp_path):
    shadow = tmp_path / "shadow" / "cryptography"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('not on this machine')")
    driver = Victim("local-cluster[2,1,1024]", f"spark.executorEnv.PYTHONPATH={shadow.parent}:{ROOT}")
    try:
        driver.order(make_constant_folder(tmp_path, encrypt=True))
        (refusal,) = [event for event in driver.wait_for("over") if "error" in event]
        assert refusal["error"].startswith("-encrypt: Spark does not authenticate")
        assert refusal["kind"] == "ConfigError"
        driver.order(make_constant_folder(tmp_path, encrypt="anyway"))
        events = driver.wait_for("over")
    finally:
        driver.close()
    (error,) = [event for event in events if "error" in event]
    assert error["kind"] == "ConfigError"
    assert error["error"].startswith("rank ")
    assert error["error"].endswith("install it on the driver and on every executor with pip install 'cryptography>=42'")
    assert "ImportError: not on this machine" in error["error"]
    assert not [event for event in events if "restart" in event.get("note", "")]


# ---- where ranks and driver listen


def order(victim, flags):
    victim.order(flags)
    events = victim.wait_for("over")
    return next((event["error"] for event in events if "error" in event), None)


def test_a_range_of_ports_and_what_is_wrong_with_it(victim, tmp_path):
    flags = make_constant_folder(tmp_path)
    needed = "the driver and 2 ranks listen on one each, so give at least 3"
    assert order(victim, {**flags, "port": str(LOW)}) == f"-port {LOW}: 1 port, and everything runs here: {needed}"
    with socket.create_server(("127.0.0.1", LOW + 1)):
        with socket.create_server(("127.0.0.1", LOW + 2)):
            error = order(victim, {**flags, "port": f"{LOW}-{LOW + 2}"})
        assert error.endswith(
            f"-port {LOW}-{LOW + 2}: 3 ports on 127.0.0.1, and none is free: {needed}, in addition to those that other "
            "programs hold"
        )
        assert error.startswith("rank ")
        assert order(victim, {**flags, "port": f"{LOW}-{LOW + 3}"}) is None  # the busy one is skipped
    assert order(victim, {**flags, "port": f"{LOW}-{LOW + 2}"}) is None


def test_an_interface_and_what_is_wrong_with_it(victim, tmp_path):
    flags = make_constant_folder(tmp_path)
    assert order(victim, {**flags, "interface": "lo"}) is None
    assert "-interface eth99: no such interface with an address on" in order(victim, {**flags, "interface": "eth99"})


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_a_job_over_ipv6(tmp_path, monkeypatch):
    for name, value in (
        ("SPARK_LOCAL_IP", "::1"),
        ("SPARK_LOCAL_HOSTNAME", "[::1]"),
        ("SPARK_PREFER_IPV6", "True"),
        ("JDK_JAVA_OPTIONS", "-Djava.net.preferIPv6Addresses=true"),
    ):
        monkeypatch.setenv(name, value)
    driver = Victim(
        "local-cluster[2,1,1024]",
        "spark.driver.host=[::1]",
        "spark.driver.bindAddress=::1",
        "spark.executor.extraJavaOptions=-Djava.net.preferIPv6Addresses=true",
    )
    try:
        for number, flags in enumerate(({}, {"encrypt": "anyway"}, {"interface": "lo"})):
            folder = tmp_path / str(number)
            folder.mkdir()
            assert order(driver, make_constant_folder(folder, **flags)) is None
    finally:
        driver.close()
