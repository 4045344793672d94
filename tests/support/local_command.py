"""``caffeonspark local`` in a process of its own, and what is below it."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

from tests.support import processes, stock
from tests.support.paths import ROOT

COMMAND = (sys.executable, "-m", "caffeonspark")
SOLVER = (
    'net: "net.prototxt" test_iter: 4 test_interval: 20 base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
    'snapshot_prefix: "run" '
)


def write_job(folder, lmdb, solver="max_iter: 40 snapshot: 10", net=None, **flags):
    """A job in a folder; its words for the command line."""
    (folder / "net.prototxt").write_text(net or stock.lmdb_net(lmdb, 10))
    (folder / "solver.prototxt").write_text(f"{SOLVER} {solver}")
    words = ["-train", "-conf", str(folder / "solver.prototxt"), "-model", f"file:{folder}/model.caffemodel"]
    return [*words, *(word for name, value in flags.items() for word in (f"-{name}", str(value)))]


def environment(**variables):
    """Of a command, without Spark's and a secret's variables of the tests' own."""
    kept = {name: value for name, value in os.environ.items() if name != "CAFFEONSPARK_SECRET"}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def run(*words, check=True, **variables):
    """The command, to its end."""
    done = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=300, env=environment(**variables), check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


class Running:
    """A command that runs, and the lines it has said so far."""

    def __init__(self, *words, before=(), **variables):
        self.process = subprocess.Popen(
            [*before, *COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**variables),
        )
        self.lines = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, pattern, seconds=120):
        """The match of a line."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            assert not ended, "\n".join(self.lines)
            time.sleep(0.05)
        raise AssertionError("\n".join(self.lines))

    def wait(self, seconds=180):
        """Its exit status."""
        status = self.process.wait(seconds)
        self._reading.join(10)
        return status

    def ranks(self):
        """The processes of the ranks that it started, by their sessions: each leads one."""
        below = processes.tree(self.process.pid)
        return sorted(pid for pid in below if below[pid] == self.process.pid and leads_a_session(pid))

    def below(self):
        return sorted(processes.tree(self.process.pid))

    def close(self):
        self.process.kill()
        self.process.wait(30)
        self._reading.join(10)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def leads_a_session(pid):
    with contextlib.suppress(OSError):
        return os.getsid(pid) == pid
    return False


def wait_until_gone(pids, seconds=15):
    """Fails unless these processes end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = [pid for pid in pids if processes.parent_and_state(pid) and processes.parent_and_state(pid)[1] != "Z"]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError([processes.command(pid) for pid in left])


def model(folder):
    """The content of a job's model."""
    return pathlib.Path(folder, "model.caffemodel").read_bytes()
