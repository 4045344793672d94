"""A real Hadoop cluster, and jobs on it that can be watched and harmed."""

import glob
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from tests.support import processes
from tests.support.paths import ROOT


class Page:
    """The commands of docs/yarn.md's first section, run in a checkout that holds nothing but the project's files."""

    def __init__(self, hadoop, checkout):
        section = (ROOT / "docs" / "yarn.md").read_text().partition("## The first job")[2].partition("\n## ")[0]
        blocks = [re.split(r"(?<!\\)\n", block.strip()) for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]
        (self.variables, self.commands) = blocks
        first = next(number for number, command in enumerate(self.commands) if " submit " in command)
        self.preparing, self.running = self.commands[:first], self.commands[first:]
        self.checkout = checkout
        self.job = "hdfs:///user/{USER}/digits".format(**hadoop.env)
        own = ("PYTHONPATH", "SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_PYTHON")
        self.env = {name: value for name, value in hadoop.env.items() if name not in own}
        self.env["PATH"] = f"{hadoop.folder}/bin:/usr/local/bin:/usr/bin:/bin"

    def run(self, commands):
        """Run commands as they stand; what the last one printed."""
        printed = ""
        for command in commands:
            done = subprocess.run(
                ["bash", "-ec", "\n".join([*self.variables, command])],
                cwd=self.checkout,
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
            printed = done.stdout
        return printed


class Hadoop:
    """The cluster: its folder, and its commands."""

    def __init__(self, folder, env):
        self.folder = pathlib.Path(folder)
        self.env = env

    def run(self, *command, check=True, cwd=None, timeout=300):
        """A command's (exit status, standard output, standard error)."""
        process = subprocess.run(
            [str(word) for word in command],
            env=self.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert process.returncode == 0, process.stdout + process.stderr
        return process.returncode, process.stdout, process.stderr

    def hdfs(self, *words, **options):
        return self.run("hdfs", "dfs", *words, **options)[1]

    def read(self, path):
        """The bytes of a file on HDFS."""
        return subprocess.run(["hdfs", "dfs", "-cat", path], env=self.env, capture_output=True, check=True).stdout

    def names(self, folder):
        """The names in a folder of HDFS."""
        return {line.rpartition("/")[2] for line in self.hdfs("-ls", "-C", folder).splitlines()}

    def logs(self, application):
        """What ``yarn logs`` prints, once the logs are on HDFS."""
        deadline = time.monotonic() + 60
        while True:
            status, out, _ = self.run("yarn", "logs", "-applicationId", application, check=False)
            if status == 0 and "End of LogType:stdout" in out:
                return out
            assert time.monotonic() < deadline, out
            time.sleep(1)

    def report(self, application):
        """What YARN says of an application: {field: value}."""
        text = self.run("yarn", "application", "-status", application)[1]
        fields = (line.strip().partition(" :")[::2] for line in text.splitlines() if " :" in line)
        return {name: value.strip() for name, value in fields}

    def submit(self, *words, **options):
        return Job(self, words, **options)


class Job:
    """A ``caffeonspark submit`` that runs."""

    def __init__(self, hadoop, words, cwd=None, env=None):
        self.hadoop = hadoop
        self.said = []
        self.out = []
        self.process = subprocess.Popen(
            ["caffeonspark", "submit", *[str(word) for word in words]],
            env={**hadoop.env, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.readers = [
            threading.Thread(target=lambda: self.out.extend(self.process.stdout), daemon=True),
            threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    @property
    def application(self):
        found = re.findall(r"application_\d+_\d+", "".join(self.said))
        return found[0] if found else None

    def wait(self, timeout=400):
        """The exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError("".join(self.said[-20:]) + self.driver_log()) from None
        for reader in self.readers:
            reader.join(10)
        return status

    def last_line(self):
        return self.said[-1].rstrip("\n") if self.said else ""

    # ---- while it runs

    def driver_log(self, attempt=None):
        """What the driver of an attempt, or of any, has written so far."""
        number = "*" if attempt is None else f"{attempt:02d}"
        pattern = f"nodemanager*/logs/{self.application}/container_*_{number}_000001/stdout"
        return "".join(pathlib.Path(p).read_text() for p in sorted(glob.glob(str(self.hadoop.folder / pattern))))

    def wait_for_log(self, pattern, attempt=None, timeout=240):
        """The first match of a pattern in the driver's log."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            match = re.search(pattern, self.driver_log(attempt)) if self.application else None
            if match:
                return match
            assert self.process.poll() is None, "".join(self.said[-20:]) + self.driver_log()
            time.sleep(0.2)
        raise AssertionError(f"no {pattern!r} in:\n{self.driver_log()}\n{''.join(self.said[-20:])}")

    def processes(self, name):
        """The Java processes of the job with this class on their command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            command = processes.command(int(pid))
            folder = str(self.hadoop.folder)
            java = name in command and command.split(" ")[0].endswith("/java")
            if java and cwd(pid).startswith(f"{folder}/nodemanager") and self.application in cwd(pid):
                found.append(int(pid))
        return found

    def kill(self, name):
        """End a Java process of the job with SIGKILL."""
        victims = self.processes(name)
        assert victims, name
        os.kill(victims[0], signal.SIGKILL)


def cwd(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
