"""The model of growth, and the machines it is fitted to."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import growth, many_ranks, namespaces
from benchmarks.growth_model import Measured, Model, Setting, efficiency, errors, fit, foretold

TRUE = Model((40e-6, 10e-6, 1.03, 2e-10, 1e-10))
SETTINGS = [
    Setting(1, 2, None),
    Setting(1, 4, None, 2.0),
    Setting(2, 1, 1e8),
    Setting(2, 2, 1e9, 2.0),
    Setting(4, 1, 1e8, 2.0),
    Setting(4, 2, 1e9, 4.0),
]
SIZES = (4096, 1 << 20, 1 << 26)


def measured(noise=0.0):
    rng = np.random.default_rng(1)
    return [
        Measured(setting, size, TRUE.seconds(setting, size) * (1 + noise * rng.standard_normal()))
        for setting in SETTINGS
        for size in SIZES
    ]


def test_a_model_is_found_again():
    found = fit(measured())
    assert found.coefficients == pytest.approx(TRUE.coefficients, rel=1e-6)
    assert errors(found, measured())[1] < 1e-6
    assert foretold(measured())[1] < 1e-6


def test_errors_are_those_of_the_measured():
    found = errors(fit(measured(0.1)), measured(0.1))
    assert 0 < found[0] < found[1] < 0.5
    one = Measured(SETTINGS[0], 4096, TRUE.seconds(SETTINGS[0], 4096) / 2)
    assert TRUE.error(one) == pytest.approx(1.0)


def test_nothing_is_foretold_of_one_number_of_machines():
    assert foretold([one for one in measured() if one.setting.hosts < 3]) is None


def test_what_a_link_carries():
    """Two machines with a rank each send all their bytes once each way; a machine alone sends nothing."""
    two, alone = Setting(2, 1, 1e6).features(1000), Setting(1, 2, None).features(1000)
    assert two[2] == pytest.approx(1e-3)
    assert two[1] == two[4] == 0
    assert alone[0] == alone[2] == alone[3] == 0
    assert efficiency(9.0, 1.0) == pytest.approx(0.9)


def test_the_tables():
    found = growth.exchanges(
        [Measured(Setting(one.setting.hosts, one.setting.ranks, one.setting.link and namespaces.payload(1)), *one_of)
         for one in measured() for one_of in [(one.size, one.seconds)]],
        ["A note."],
    )  # fmt: skip
    assert found.columns[:3] == ("4 KB, ms", "1 MB, ms", "64 MB, ms")
    assert len(found.rows) == 6
    assert found.rows[0][0] == "2 ranks of one machine"
    assert found.rows[2][0] == "2 machines with 1, 1 Gbit/s"
    assert found.rows[0][1][0] == pytest.approx(measured()[0].seconds * 1000)
    assert found.notes[-1] == "A note."
    drawn = growth.calculated(TRUE, {"lenet_lmdb": 15.0, "caffenet": 3000.0}, ("Off by 1 %.",))
    assert [name for name, _ in drawn.rows][:2] == [
        "lenet_lmdb, 1 Gbit/s, a machine each",
        "lenet_lmdb, 1 Gbit/s, 8 a machine",
    ]
    for _, values in drawn.rows:
        assert values[0] == 100
        assert list(values) == sorted(values, reverse=True)
        assert values[-1] > 0
    # two machines with a rank each: the gradients once over the link, and what handling them takes
    exchange = TRUE.seconds(Setting(2, 1, namespaces.payload(1)), 431_080 * 4)
    assert drawn.rows[0][1][1] == pytest.approx(100 * 0.015 / (0.015 + exchange))


def test_a_pace_is_between_the_reports_of_rank_0():
    lines = [
        '{"event": "pace", "rank": 0, "iteration": 10, "training": 1.0}',
        '{"event": "pace", "rank": 1, "iteration": 20, "training": 7.0}',
        '{"event": "iteration", "iteration": 50}',
        '{"event": "pace", "rank": 0, "iteration": 30, "training": 2.0}',
        '{"event": "pace", "rank": 0, "iteration": 60, "training": 3.0}',
    ]
    assert growth.pace("\n".join(lines)) == pytest.approx(40.0)


# ---- ranks that only report


@pytest.mark.long
def test_ranks_that_only_report(tmp_path, monkeypatch):
    """10 ranks for two hosts, through the driver of real runs: they meet, and the page has them all."""
    found = many_ranks.measure((2, 10), 2.0, 1)
    assert [name for name, _ in found.rows] == ["2 ranks", "10 ranks"]
    values = {name: dict(zip(many_ranks.COLUMNS, cells)) for name, cells in found.rows}
    for one in values.values():
        assert 0 < one["opened"] < one["connected"]
        assert one["after"] > 10
        assert one["processor"] > 0
        assert one["page_milliseconds"] > 0
    assert values["10 ranks"]["page_bytes"] > values["2 ranks"]["page_bytes"] > 1


# ---- machines


rooted = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc", "unshare", "nsenter"))),
    reason="needs root, ip, tc, unshare and nsenter",
)

_RECEIVE = """
import socket, time
server = socket.create_server(("", 5000))
print("listening", flush=True)
with server.accept()[0] as sock:
    first = sock.recv(1)
    count, begin = 0, time.perf_counter()
    while True:
        data = sock.recv(1 << 20)
        if not data:
            break
        count += len(data)
    print(count / (time.perf_counter() - begin))
"""
_SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 5000)) as sock:
    sock.sendall(bytes(4 << 20))
"""


@rooted
def test_a_link_lets_through_what_it_says_and_nothing_is_left():
    """At a tenth of the smallest rate that is measured, so that this machine's own speed does not matter."""
    try:
        with namespaces.machines(3, 0.1) as found:
            assert [machine.name for machine in namespaces.spread(6, found)] == [
                found[number].name for number in (0, 0, 1, 1, 2, 2)
            ]
            words = [*found[2].before, sys.executable, "-c", _RECEIVE]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as receiver:
                receiver.stdout.readline()
                subprocess.run([*found[0].before, sys.executable, "-c", _SEND, found[2].address], check=True)
                rate = float(receiver.stdout.read())
            names = [machine.name for machine in found]
    except namespaces.Unavailable as e:
        pytest.skip(str(e))
    assert 0.1 * namespaces.payload(0.1) < rate < 1.15 * namespaces.payload(0.1)
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(name in left for name in names)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(namespaces.shutil, "which", lambda name: None)
    wanted = pytest.raises(namespaces.Unavailable, match="need root, and the commands ip, tc, unshare and nsenter")
    with wanted, namespaces.machines(2, 1.0):
        pass


@rooted
def test_machines_have_processes_and_names_of_their_own():
    """All of which end with them: a process that was started there and left is gone."""
    try:
        with namespaces.machines(2, None) as found:
            names = [
                subprocess.run([*machine.before, "hostname"], capture_output=True, text=True, check=True).stdout.strip()
                for machine in found
            ]
            assert names == [machine.name for machine in found]
            listed = subprocess.run([*found[0].before, "ls", "/proc"], capture_output=True, text=True, check=True)
            assert str(os.getpid()) not in listed.stdout.split()
            left = subprocess.Popen([*found[0].before, "sleep", "600"])
    except namespaces.Unavailable as e:
        pytest.skip(str(e))
    assert left.wait(30) != 0


@rooted
@pytest.mark.long
def test_ranks_of_two_machines_exchange_over_their_link():
    """The sums are looked at where they are made; and what has to go over the link takes as long as it does there."""
    rate = growth.LINKS[0]
    size = 2 << 20
    try:
        found = growth.exchange(2, 1, rate, (1 << 12, size))
    except namespaces.Unavailable as e:
        pytest.skip(str(e))
    assert [one.size for one in found] == [1 << 12, size]
    assert found[0].seconds > 0
    assert found[1].seconds > 0.8 * (size - (512 << 10)) / namespaces.payload(rate)  # the buckets let some through
