"""A rank whose process is interrupted is a lost rank: the run goes on without it."""

import os
import signal
import types

from caffeonspark.comm.wire import FrameKind
from caffeonspark.errors import RankLost, from_wire
from caffeonspark.ranks import rank as module


class Connection:
    """To a driver that keeps what it hears."""

    def __init__(self):
        self.heard = []

    def send(self, kind, /, **data):
        self.heard.append((kind, data))

    def close(self):
        self.heard.append((FrameKind.BYE, {}))


def test_sigint_is_no_end_of_the_job(monkeypatch):
    connection = Connection()
    monkeypatch.setattr(module, "open_connection", lambda *_: connection)

    def run(self, files, batches):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in Spark's workers
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)

    monkeypatch.setattr(module.Rank, "__init__", lambda self, *_: None)
    monkeypatch.setattr(module.Rank, "run", run)
    module.run_rank(types.SimpleNamespace(ranks=2), b"", 1, ["a", "b"], [], iter(()))
    (kind, data), (bye, _) = connection.heard
    assert (kind, bye) == (FrameKind.FAILED, FrameKind.BYE)
    error = from_wire(data, "rank 1 of 2 on b")
    assert isinstance(error, RankLost)
    assert error.retryable
    assert error.message.startswith("rank 1 of 2 on b: its process was interrupted by SIGINT")
    assert "trace" not in data
