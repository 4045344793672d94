"""Jobs on real daemons: trained, harmed, refused and failed."""

import json
import re
import shutil
import time

import pytest

from tests.support import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPORTS = {"q.metrics.jsonl", "q.curve.html", "q.curve.png"}
EXECUTOR = "YarnCoarseGrainedExecutorBackend"
MASTER = "org.apache.spark.deploy.yarn.ApplicationMaster"


@pytest.fixture(scope="session")
def trained(hadoop, cluster, job_home):
    """A finished job that trained and extracted features: (Job, what it looked like while it ran)."""
    job = hadoop.submit(
        *cluster, "--", "-train", "-features", "ip1", "-label", "label", "-outputFormat", "parquet",
        "-output", f"{job_home}/out/features", "-conf", f"{job_home}/nets/digits_lenet_solver.prototxt",
        "-model", f"{job_home}/out/digits.caffemodel",
    )  # fmt: skip
    job.wait_for_log(r"iteration \d+ of 1000")
    pythons = [
        processes.command(pid).split(" ")[0]
        for executor in job.processes(EXECUTOR)
        for pid in processes.tree(executor)
        if "pyspark" in processes.command(pid)
    ]
    hosts = {re.search(r"--hostname (\S+)", processes.command(pid)).group(1) for pid in job.processes(EXECUTOR)}
    assert job.wait() == 0, job.said[-20:]
    return job, pythons, hosts


def test_a_job_trains_on_two_nodes_with_the_archives_python(hadoop, trained):
    job, pythons, hosts = trained
    assert len(hosts) == 2
    assert pythons
    assert all(python.startswith(f"{hadoop.folder}/nodemanager") for python in pythons), pythons
    report = hadoop.report(job.application)
    assert report["Final-State"] == "SUCCEEDED"
    log = hadoop.logs(job.application)
    accuracy = [float(value) for value in re.findall(r"iteration 1000: test on 360 rows: accuracy ([\d.]+)", log)]
    assert accuracy[0] >= 0.97
    print(f"accuracy {accuracy[0]} on {sorted(hosts)}")


def test_model_snapshots_and_features_are_on_hdfs(hadoop, trained, job_home, spark):
    names = hadoop.names(f"{job_home}/out")
    assert {"digits.caffemodel", "digits_lenet_iter_500.solverstate", "digits_lenet_iter_1000.caffemodel"} <= names
    uri = hadoop.run("hdfs", "dfs", "-ls", "-C", f"{job_home}/out/features")[1]
    assert "_SUCCESS" in uri
    conf = (hadoop.folder / "conf" / "core-site.xml").read_text()
    default = re.search(r"hdfs://[\d.]+:\d+", conf).group(0)
    rows = spark.read.parquet(f"{default}{job_home[len('hdfs://') :]}/out/features").collect()
    assert len(rows) == 360
    assert len({row.SampleID for row in rows}) == 360
    assert all(len(row.ip1) == 500 and len(row.label) == 1 for row in rows)


def test_lost_containers_and_a_lost_master(hadoop, cluster, job_home, trained):
    out = f"{job_home}/harmed"
    hadoop.hdfs("-mkdir", "-p", out)
    for ending in ("caffemodel", "solverstate", "solverstate.json"):  # of another run, and further
        hadoop.hdfs("-cp", f"{job_home}/out/digits_lenet_iter_1000.{ending}", f"{out}/harmed_iter_900.{ending}")
    job = hadoop.submit(
        *cluster, "--", "-train", "-conf", f"{job_home}/nets/harmed_solver.prototxt",
        "-model", f"{out}/harmed.caffemodel", "-stallTimeout", "30",
    )  # fmt: skip
    job.wait_for_log(r"iteration 100: test")
    job.kill(EXECUTOR)
    job.wait_for_log(r"restart 1 of 3 from iteration [1-9]\d*", timeout=300)
    job.wait_for_log(r"saved .*harmed_iter_300.solverstate")
    job.kill(MASTER)
    match = job.wait_for_log(rf"attempt 2 of {job.application} continues from iteration (\d+)", attempt=2, timeout=300)
    assert 300 <= int(match.group(1)) < 900
    assert job.wait() == 0, job.said[-20:]
    assert hadoop.report(job.application)["Final-State"] == "SUCCEEDED"
    log = hadoop.logs(job.application)
    assert float(re.findall(r"iteration 1000: test on 360 rows: accuracy ([\d.]+)", log)[-1]) >= 0.97
    undisturbed = hadoop.read(f"{job_home}/out/digits.caffemodel")
    assert hadoop.read(f"{out}/harmed.caffemodel") == undisturbed
    assert "harmed.caffemodel" in hadoop.names(out)
    assert not [name for name in hadoop.names(out) if name.endswith(".part")]
    about = json.loads(hadoop.hdfs("-cat", f"{out}/harmed_iter_1000.solverstate.json"))
    assert about["run"] == f"{job.application}/1"
    check_nothing_is_left(hadoop)


def check_nothing_is_left(hadoop):
    """Soon after a job, no process of its containers is there any more."""
    deadline = time.monotonic() + 30
    while True:
        left = [
            processes.command(int(pid))
            for pid in processes.tree(1)
            if f"{hadoop.folder}/nodemanager" in processes.command(int(pid)) and "container_" in processes.command(pid)
        ]
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def test_a_quota_that_is_used_up_leaves_the_last_snapshot(hadoop, cluster, job_home, digits, tmp_path):
    """The prototxt files are local ones, which are sent to the driver."""
    shutil.copy(digits / "nets" / "harmed_solver.prototxt", tmp_path)
    net = (digits / "nets" / "digits_lenet_train_test.prototxt").read_text()
    (tmp_path / "digits_lenet_train_test.prototxt").write_text(net.replace("../data", f"{job_home}/data"))
    out = f"{job_home}/quota"
    hadoop.hdfs("-mkdir", "-p", out)
    job = hadoop.submit(
        *cluster, "--", "-train", "-conf", "harmed_solver.prototxt", "-model", f"{out}/q.caffemodel", cwd=tmp_path
    )  # fmt: skip
    job.wait_for_log(r"saved .*_iter_100.solverstate")
    hadoop.run("hdfs", "dfsadmin", "-setSpaceQuota", "20m", out)
    assert job.wait() == 1
    assert "quota" in job.last_line() and "is exceeded" in job.last_line(), job.last_line()
    assert "Traceback" not in "".join(job.said)
    report = hadoop.report(job.application)
    assert report["Final-State"] == "FAILED"
    assert "is exceeded" in report["Diagnostics"]
    names = hadoop.names(out)
    complete = {name.partition(".")[0] for name in names if name.endswith(".solverstate")}
    assert "harmed_iter_100" in complete
    # nothing half-written, no temporary file; the metrics have their own file, and a curve may be beside it
    assert {name.partition(".")[0] for name in names if name not in REPORTS} == complete
    assert "cannot write" in hadoop.logs(job.application)


def test_a_failed_job_is_failed_at_once_and_says_why(hadoop, cluster, job_home):
    job = hadoop.submit(
        *cluster, "--no-check", "--", "-train", "-conf", f"{job_home}/nets/none.prototxt", "-model", f"{job_home}/x",
    )  # fmt: skip
    assert job.wait() == 1
    reason = f"the solver (-conf) {job_home}/nets/none.prototxt does not exist"
    assert job.last_line().startswith(f"caffeonspark: the job failed: {reason}"), job.last_line()
    report = hadoop.report(job.application)
    assert (report["State"], report["Final-State"]) == ("FINISHED", "FAILED")
    assert report["Diagnostics"] == reason
    log = hadoop.logs(job.application)
    assert f"caffeonspark: {reason}" in log
    assert "_02_000001" not in log  # one attempt
    assert job.application not in hadoop.hdfs("-ls", "-C", ".sparkStaging")


def test_client_mode_with_files_here_and_there(hadoop, archive, job_home, digits, tmp_path):
    """Prototxts on local disks, the LMDB on both, the model on HDFS, the means on local disks."""
    job = hadoop.submit(
        "--master", "yarn", "--num-executors", "2", "--executor-memory", "768m", "--archives", archive, "--",
        "-train", "-test", "-conf", "nets/short_solver.prototxt", "-model", f"{job_home}/client/m.caffemodel",
        "-output", f"file:{tmp_path}/means",
        cwd=digits,
    )  # fmt: skip
    assert job.wait() == 0, job.said[-30:]
    assert {"m.caffemodel", "short_iter_60.solverstate"} <= hadoop.names(f"{job_home}/client")
    means = dict(line.split(": ") for line in (tmp_path / "means").read_text().splitlines())
    assert set(means) == {"accuracy", "loss"}
    assert float(means["accuracy"]) > 0.5
