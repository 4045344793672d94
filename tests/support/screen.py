"""A terminal that a program writes to, without a person in front of it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time

from tests.support.paths import ROOT


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, command, columns=100, folder=ROOT):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True
        )
        os.close(theirs)
        self.written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        try:
            while True:
                self.written += os.read(self._ours, 1 << 16)
        except OSError:
            os.close(self._ours)

    @property
    def text(self):
        return self.written.decode(errors="replace")

    def wait_for(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline and self.process.poll() is None, self.text[-3000:]
            time.sleep(0.1)

    def wait(self, seconds):
        status = self.process.wait(seconds)
        self._reader.join(10)
        return status
