"""Of all that fails when one thing does, the cause is reported."""

import pytest

from caffeonspark.errors import CommunicationError, PeerLost, RankLost, StallError, to_wire
from caffeonspark.runs.failures import first_failure
from caffeonspark.runs.rank_server import Event


@pytest.mark.parametrize("effect", [PeerLost("the connection to rank 0 broke"), StallError("heard nothing")])
def test_a_damaged_message_counts_before_the_connections_that_break_then(effect):
    damaged = CommunicationError("message 17 of what rank 1 on host-b sent arrived damaged")
    failures = [
        (1.0, Event(1, "failed", to_wire(effect))),
        (2.0, Event(1, "lost", {})),
        (3.0, Event(0, "failed", to_wire(damaged))),
    ]
    error = first_failure(failures, 2, {0: "host-a", 1: "host-b"}, lambda log: "")
    assert error.message == f"rank 0 of 2 on host-a: {damaged.message}"
    assert error.retryable
    dead = [*failures[:2], (3.0, Event(1, "died", {}))]
    assert isinstance(first_failure(dead, 2, {}, lambda log: ""), RankLost)
