"""``caffeonspark doctor``: what ranks find, and what is made of it."""

import dataclasses
import json
import os
import threading

import pytest

from caffeonspark import Config
from caffeonspark.cli import main
from caffeonspark.errors import ConfigError, InfrastructureError
from caffeonspark.settings import Settings
from caffeonspark.tools.diagnosis import RankFound, diagnose, found_by_ranks
from caffeonspark.tools.doctor import look_at, report
from caffeonspark.tools.examination import Question, examine, measured_pairs

FACTS = {
    "processor": "A processor",
    "cores": 2.0,
    "share": "one",
    "openblas": "0.3.13",
    "own": "Prescott",
    "kernels": ["SkylakeX", "Haswell", "Prescott"],
    "inherited": None,
    "loaded": "",
}
RANK = RankFound(
    host="10.0.0.1",
    machine="a",
    versions={"Python": "3.9.2", "Caffe": "1.0.0"},
    facts=FACTS,
    kernel="SkylakeX",
    threads=1,
    digest="d",
    seconds=0.02,
    links={},
    folder="/local",
    free=50 << 30,
)


def ranks_like(*changes):
    """Four ranks, two on each of two machines, with these changes to the first ones."""
    ranks = []
    for number in range(4):
        host = f"10.0.0.{1 + number // 2}"
        links = {0: {1: 2e9, 3: 1e9}, 1: {2: 1e9}, 2: {3: 2e9}, 3: {}}[number]
        one = dataclasses.replace(RANK, host=host, facts={**FACTS, "share": host}, links=links)
        ranks.append(dataclasses.replace(one, **changes[number]) if number < len(changes) else one)
    return ranks


def changes_of(ranks, setting="auto", driver=()):
    return {section.title: section.changes for section in diagnose(ranks, dict(driver), setting) if section.changes}


def test_nothing_to_change():
    sections = diagnose(ranks_like(), {"Python": "3.9.2"}, "auto")
    assert not any(section.changes for section in sections)
    lines = report(sections)
    assert lines[-1] == "nothing to change"
    assert "  all ranks: Python 3.9.2, Caffe 1.0.0" in lines
    assert "  rank 3 on 10.0.0.2 (a): A processor, 2 cores, 1 BLAS thread" in lines
    assert "  rank 0 - rank 1, on one machine: 2,000 MB/s each way" in lines
    assert "  rank 1 - rank 2, between machines: 1,000 MB/s each way" in lines
    assert any(
        "takes Prescott by itself, -blasKernel auto chooses SkylakeX; SkylakeX was used" in line for line in lines
    )


@pytest.mark.parametrize(
    ("change", "title", "words"),
    [
        ({"seconds": 0.03}, "An iteration of LeNet, 64 samples, all ranks at once", "1.50 times as long as the median"),
        ({"free": 1 << 30}, "Disks", "spark.local.dir"),
        ({"links": {1: 2e9, 3: 3e8}}, "Links", "rank 0 on 10.0.0.1 - rank 3 on 10.0.0.2: 0.46 of the median"),
        ({"threads": 4}, "Processors", "OPENBLAS_NUM_THREADS) to 1"),
        ({"versions": {"Python": "3.9.2", "Caffe": "1.1"}}, "Versions", "Caffe is 1.1 on rank 0, 1.0.0 on rank 1"),
    ],
)
def test_one_rank_is_another(change, title, words):
    found = changes_of(ranks_like(change))
    assert list(found) == [title]
    assert len(found[title]) == 1
    assert words in found[title][0]


def test_the_drivers_versions_count():
    (line,) = changes_of(ranks_like(), driver={"Python": "3.10.1"})["Versions"]
    assert "Python is 3.10.1 on the driver, 3.9.2 on rank 0 and rank 1" in line


def test_slow_network():
    slow = [{"links": {1: 2e9, 3: 5e7}}, {"links": {2: 5e7}}]
    (line,) = changes_of(ranks_like(*slow))["Links"]
    # 2 · 3 / 4 · 244 MB / 50 MB/s
    assert "between machines 50 MB/s" in line
    assert "takes 7.3 s an iteration" in line
    assert "-sync average" in line


def test_idle_cores():
    many = [{"facts": {**FACTS, "share": host, "cores": 16.0}} for host in ("x", "x", "y", "y")]
    first, second = changes_of(ranks_like(*many))["Processors"]
    assert "rank 0, 1 on 10.0.0.1: 2 BLAS threads on 16 cores" in first
    assert "OPENBLAS_NUM_THREADS to 8" in second


def test_a_kernel_left_to_the_environment():
    found = changes_of(ranks_like(*[{"kernel": "Prescott"}] * 4), setting="environment")
    assert all("leave -blasKernel environment out" in line for line in found["Kernels"])
    assert len(found["Kernels"]) == 4


def test_the_cause_is_reported_not_its_consequences():
    lost = {"error": {"kind": "PeerLost", "message": "rank 1 is gone"}}
    wrong = {"error": {"kind": "ConfigError", "message": "no Caffe"}}
    with pytest.raises(ConfigError, match=r"^rank 1: no Caffe$"):
        found_by_ranks([lost, wrong, {"error": None}])
    with pytest.raises(InfrastructureError, match=r"^rank 0: rank 1 is gone$"):
        found_by_ranks([lost, {"error": {"kind": "StallError", "message": "nothing came"}}])
    with pytest.raises(ConfigError, match=r"^no Caffe$"):
        found_by_ranks([wrong, wrong])


def test_pairs_are_neighbours_in_the_ring():
    assert measured_pairs(["a"]) == []
    assert measured_pairs(["a", "a"]) == [(0, 1)]
    assert measured_pairs(["a", "b", "a", "b"]) == [(0, 2), (0, 3), (1, 2), (1, 3)]


# ---- with Caffe, without Spark


class Gather:
    """What a barrier task's allGather does, for threads."""

    def __init__(self, ranks):
        self._texts = [""] * ranks
        self._barrier = threading.Barrier(ranks)

    def of(self, rank):
        def gather(text):
            self._texts[rank] = text
            self._barrier.wait(60)
            return list(self._texts)

        return gather


def in_threads(ranks, **flags):
    """What so many ranks, threads of this process, find."""
    settings = Settings(blasKernel="environment", **{k: v for k, v in flags.items() if k != "encrypted"})
    question = Question(settings, os.urandom(16), flags.get("encrypted", False))
    gather, found, secret = Gather(ranks), [None] * ranks, os.urandom(32)

    def run(rank):
        found[rank] = examine(question, secret, rank, ["127.0.0.1"] * ranks, gather.of(rank))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(("ranks", "encrypted"), [(1, False), (3, False), (2, True)])
def test_ranks_measure(ranks, encrypted):
    found = found_by_ranks(in_threads(ranks, encrypted=encrypted))
    assert [sorted(one.links) for one in found] == {1: [[]], 2: [[1], []], 3: [[1, 2], [2], []]}[ranks]
    for one in found:
        assert 0 < one.seconds < 60
        assert one.free > 0
        assert all(rate > 1e5 for rate in one.links.values())
        assert one.versions["Caffe"]
        assert one.digest == found[0].digest
    diagnose(found, {}, "environment")


def test_a_rank_that_cannot_listen_ends_all():
    with pytest.raises(ConfigError, match=r"^-interface nope0: no such interface"):
        found_by_ranks(in_threads(2, interface="nope0"))


# ---- the command


def test_help_and_mistakes(capsys):
    assert main(["doctor", "-help"]) == 0
    assert "-clusterSize N" in capsys.readouterr().out
    assert main(["doctor", "-clusterSize", "0"]) == 1
    assert "-clusterSize must be at least 1" in capsys.readouterr().err
    assert main(["doctor", "-conf", "solver.prototxt"]) == 1
    assert "unknown flag -conf" in capsys.readouterr().err


def test_on_executors(spark):
    sections = {section.title: section for section in look_at(Config(spark, clusterSize=2).run_config)}
    assert len(sections["Processors"].lines) == 2
    assert len(sections["Links"].lines) == 1
    assert sections["Versions"].changes == ()
    assert sections["Versions"].lines[0].startswith("all ranks: caffeonspark")
    with pytest.raises(ConfigError, match="need 9 task slots, and the cluster has 4"):
        look_at(Config(spark, clusterSize=9).run_config)
    with pytest.raises(ConfigError, match=r"^-interface nope0: no such interface"):
        look_at(Config(spark, clusterSize=2, interface="nope0").run_config)
