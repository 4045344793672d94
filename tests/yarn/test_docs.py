"""The commands of docs/yarn.md, as they stand there."""

import os
import re
import shutil
import subprocess

import pytest

from .hadoop import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def blocks():
    """The shell blocks of the page's first section: what is set first, and the commands."""
    page = (ROOT / "docs" / "yarn.md").read_text()
    section = page.partition("## The first job")[2].partition("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


@pytest.fixture
def checkout(tmp_path):
    """The files of this checkout, and nothing that was built in it."""
    folder = tmp_path / "caffeonspark"
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return folder


def test_from_nothing_to_a_finished_job(hadoop, checkout):
    (variables, commands) = blocks()
    assert all(line.startswith("export ") for line in variables)
    assert len(commands) <= 8
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_HOME")}
    env.update(
        HADOOP_CONF_DIR=hadoop.env["HADOOP_CONF_DIR"],
        PATH=f"{hadoop.folder}/bin:/usr/local/bin:/usr/bin:/bin",
        SPARK_LOCAL_IP="127.0.0.1",
        USER=env.get("USER", "root"),
    )
    env.pop("PYSPARK_PYTHON", None)
    for command in commands:
        done = subprocess.run(
            ["bash", "-ec", "\n".join([*variables, command])],
            cwd=checkout,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
    accuracy = float(re.search(r"accuracy: ([\d.]+)", done.stdout).group(1))
    print(f"accuracy {accuracy}")
    assert accuracy >= 0.97
    names = hadoop.names(f"/user/{env['USER']}/digits")
    assert {"lenet.caffemodel", "digits_lenet_iter_1000.solverstate"} <= names
