"""Peers that misbehave on a link between two ranks."""

import os
import socket
import struct

import numpy as np
import pytest

from caffeonspark.comm import encryption
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.support.guard import MODES, head_of, pair, sender
from tests.support.tampering import TAMPERED


@MODES
@pytest.mark.parametrize("size", [17 << 20, 1 << 40, (1 << 64) - 1])
def test_an_announced_size_is_checked_before_it_is_believed(size, encrypted):
    comm, mine = pair(encrypted)
    sender(mine, encrypted)(head_of(comm, "all_gather"), struct.pack("!Q", size))
    with pytest.raises(CommunicationError, match=f"rank 1 announces {size} bytes, which no rank sends"):
        comm.all_gather(b"mine")
    comm.abort()
    mine.sock.close()


@MODES
def test_another_collective_is_noticed(encrypted):
    comm, mine = pair(encrypted)
    sender(mine, encrypted)(os.urandom(12), bytes(488))
    with pytest.raises(CommunicationError, match="rank 0 and rank 1 are out of step"):
        comm.all_reduce([np.zeros(100, np.float32)])
    comm.abort()
    mine.sock.close()


@MODES
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_peer_that_leaves_in_the_middle_of_a_message(how, encrypted):
    comm, mine = pair(encrypted)
    array = np.zeros(1 << 20, np.float32)
    sender(mine, encrypted)(head_of(comm, "all_reduce", [array]), bytes(1000))
    if how == "half":
        mine.sock.shutdown(socket.SHUT_WR)
    if how == "reset":
        mine.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how != "half":
        mine.sock.close()
    with pytest.raises(PeerLost, match=r"rank 1"):
        comm.all_reduce([array])
    comm.abort()
    mine.sock.close()


@MODES
def test_a_peer_that_dawdles_is_given_up(encrypted):
    comm, mine = pair(encrypted, stall_timeout=0.4)
    sender(mine, encrypted)(head_of(comm, "all_reduce", [np.zeros(1 << 20, np.float32)]))
    with pytest.raises(StallError, match="heard nothing from rank 1"):
        comm.all_reduce([np.zeros(1 << 20, np.float32)])
    comm.abort()
    mine.sock.close()


@pytest.mark.parametrize("name", TAMPERED)
def test_a_link_with_a_tampered_record_breaks(name):
    comm, mine = pair(encrypted=True)
    array = np.zeros(1 << 20, np.float32)
    encryptor = encryption.Encryptor(mine.keys.send)
    good = [encryptor.encrypt(part) for part in (head_of(comm, "all_reduce", [array]), bytes(1000), bytes(1000))]
    mine.sock.sendall(b"".join(TAMPERED[name](good)))
    with pytest.raises(
        CommunicationError, match=r"the connection to rank 1 is not safe any more: record \d|out of step"
    ):
        comm.all_reduce([array])
    assert not array.any()  # nothing of it got to where it goes
    comm.abort()
    mine.sock.close()
