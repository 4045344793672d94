"""Somebody in the middle of a connection, who passes on what both ends say and damages it in one place."""

import random
import select
import socket
import threading
from dataclasses import dataclass

KINDS = ("drop", "flip", "double", "swap", "reflect", "cut", "stall")
THERE, BACK = "there", "back"  # from the dialler to the acceptor, and the other way


@dataclass(frozen=True)
class Fault:
    """What happens to ``size`` bytes from ``position`` on, in one direction; twice as many where they swap places."""

    kind: str
    direction: str
    position: int
    size: int

    @classmethod
    def at_random(cls, rng, kind, sizes, handshake):
        """A fault somewhere in streams of these sizes, behind the handshake, and not so late that nobody would look.

        Parameters
        ----------
        sizes : by direction, the bytes that travel without a fault
        handshake : by direction, the bytes of the handshake
        """
        direction = rng.choice([d for d in (THERE, BACK) if sizes[d] > handshake[d] + 60])
        room = sizes[direction] - handshake[direction] - 40
        size = 1 if kind == "flip" else min(rng.choice([1, 4, 20, 1000, 4000]), room // 3)
        position = handshake[direction] + rng.randrange(room - 2 * size)
        return cls(kind, direction, position, size)


class _Direction:
    def __init__(self, source, target, fault):
        self.source, self.target, self.fault = source, target, fault
        self.passed = 0
        self.held = None  # the bytes from the fault's position on, while they are too few

    def take(self, data):
        """(what to send on, what to send back) of more bytes; None to send on nothing any more."""
        fault = self.fault
        if fault is None or self.passed + len(data) <= fault.position:
            self.passed += len(data)
            return data, b""
        before = b""
        if self.held is None:
            before, data = data[: fault.position - self.passed], data[fault.position - self.passed :]
            self.held = b""
        self.passed += len(before) + len(data)
        self.held += data
        need = fault.size * (2 if fault.kind == "swap" else 1)
        if len(self.held) < need:
            return before, b""
        span, rest, self.fault = self.held[:need], self.held[need:], None
        back = span if fault.kind == "reflect" else b""
        changed = {
            "drop": lambda: b"",
            "flip": lambda: bytes([span[0] ^ 1 << fault.position % 8]),
            "double": lambda: span + span,
            "swap": lambda: span[fault.size :] + span[: fault.size],
            "reflect": lambda: span,
        }.get(fault.kind)
        if changed is None:
            return None
        return before + changed() + rest, back


class Middle:
    """Listens, and passes on the one connection that it gets to ``target``; ``passed`` counts the bytes by direction.

    ``applied`` tells whether the fault happened and changed something.
    """

    def __init__(self, target, fault=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.fault = fault
        self.applied = False
        self.passed = {THERE: 0, BACK: 0}
        self._target = target
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._over = True
        self._thread.join()
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _run(self):
        self._listener.settimeout(0.05)
        while not self._over:
            try:
                dialler, _ = self._listener.accept()
            except socket.timeout:
                continue
            with dialler, socket.create_connection(self._target) as acceptor:
                self._pass_on(dialler, acceptor)
                return

    def _pass_on(self, dialler, acceptor):
        ends = {}
        for name, source, target in ((THERE, dialler, acceptor), (BACK, acceptor, dialler)):
            own = self.fault if self.fault is not None and self.fault.direction == name else None
            ends[source] = name, _Direction(source, target, own)
        while not self._over and ends:
            for source in select.select(list(ends), [], [], 0.05)[0]:
                name, way = ends[source]
                try:
                    data = source.recv(1 << 16)
                    if not data:
                        way.target.shutdown(socket.SHUT_WR)
                        del ends[source]
                        continue
                    had = way.fault
                    found = way.take(data)
                    self.passed[name] += len(data)
                    if found is None:
                        self.applied = True
                        if self.fault.kind == "cut":
                            return
                        del ends[source]  # nobody reads on: it stalls
                        continue
                    forward, back = found
                    self.applied |= had is not None and way.fault is None and (forward != data or back != b"")
                    way.target.sendall(forward)
                    source.sendall(back)
                except OSError:
                    return


def faults(seed, count, sizes, handshake):
    """As many faults of every kind, at random places."""
    rng = random.Random(seed)
    return [Fault.at_random(rng, KINDS[number % len(KINDS)], sizes, handshake) for number in range(count)]
