"""Children that answer a question, when somebody presses Ctrl-C."""

import gc
import os
import signal
import tempfile
import threading
import time

import pytest

from caffeonspark.process import run_in_child


def test_ctrl_c_is_the_parents():
    def work(send):
        os.kill(os.getpid(), signal.SIGINT)  # a terminal and a notebook send it to the whole group
        send(b"done")

    assert run_in_child(work, 20) == (b"done", b"", 0)


def test_what_the_parent_left_to_its_garbage_collector_closes_no_file_of_the_child():
    """Files of the parent that nothing reaches any more, whose descriptors the child's own files get."""

    class Ring:
        pass

    def work(send):
        files = [tempfile.TemporaryFile() for _ in range(20)]
        gc.collect()
        for file in files:
            file.write(b"x")
            file.flush()
        send(b"fine")

    gc.disable()
    try:
        for _ in range(20):
            ring = Ring()
            ring.itself, ring.file = ring, open(os.devnull)
            del ring
        assert run_in_child(work, 20) == (b"fine", b"", 0)
    finally:
        gc.enable()
        gc.collect()


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
