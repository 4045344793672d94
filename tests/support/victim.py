"""A driver in a process of its own, which tests may kill or kill parts of."""

import json
import subprocess
import sys
import threading

from tests.support.paths import ROOT


class Victim:
    """A driver in a process of its own."""

    def __init__(self, *arguments, program="victim_program"):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.support.{program}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = []
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()
        self.application = self.wait_for("ready")[-1]["ready"]

    def order(self, flags, validate=False):
        self.process.stdin.write(json.dumps({"flags": flags, "validate": validate}) + "\n")
        self.process.stdin.flush()

    def events(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        raise AssertionError("the driver ended:\n" + "".join(self.errors[-30:]))

    def wait_for(self, name):
        """The events up to the first with this name."""
        seen = []
        for event in self.events():
            seen.append(event)
            if name in event:
                return seen
        return seen

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()
