"""Children that answer a question, when somebody presses Ctrl-C."""

import os
import signal
import threading
import time

import pytest

from caffeonspark.process import run_in_child


def test_ctrl_c_is_the_parents():
    def work(send):
        os.kill(os.getpid(), signal.SIGINT)  # a terminal and a notebook send it to the whole group
        send(b"done")

    assert run_in_child(work, 20) == (b"done", b"", 0)


def test_an_interrupted_parent_ends_its_child(tmp_path):
    pid = tmp_path / "pid"

    def work(send):
        pid.write_text(str(os.getpid()))
        time.sleep(60)

    def interrupt():
        while not pid.exists() or not pid.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a shell's background jobs
    try:
        with pytest.raises(KeyboardInterrupt):
            run_in_child(work, 60)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
