"""Attackers at a job's ports: every kind of bad connection by name, and a program that tries them all on a range.

An attacker knows everything but the job's secret: the source, the ports, and what it recorded on the network. Each
attack gets a ``Target`` and gives back every byte that it was told, which has to be none. Sockets it puts into
``target.held`` stay open.

``python -m tests.support.adversary LOW HIGH FOLDER`` attacks whatever listens on ports LOW to HIGH of 127.0.0.1 until
its standard input ends, and prints for every port how often each attack was tried, and how many bytes came back.
"""

import collections
import contextlib
import json
import os
import pathlib
import pickle
import random
import socket
import struct
import sys
import threading
import time

HELLO = struct.Struct("!4scII16s32s32s")
GREETING, ANSWER, PROOF = HELLO.size + 32, 64, 32
DRIVER = 0xFFFFFFFF
FRAME = struct.Struct("!4sII")

ATTACKS = {}


def attack(function):
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


class Recording:
    """What two parties said in a handshake, and what the dialler said then."""

    def __init__(self, greeting, answer, proof, later=b""):
        self.greeting, self.answer, self.proof, self.later = greeting, answer, proof, later

    @classmethod
    def invented(cls, peer=DRIVER):
        """One that looks right, by somebody who does not know the secret."""
        hello = HELLO.pack(b"CoS3", b"C", 0, peer, os.urandom(16), os.urandom(32), os.urandom(32))
        return cls(hello + os.urandom(32), os.urandom(ANSWER), os.urandom(PROOF), frame("hello"))

    def greeting_with(self, **changes):
        """The greeting with fields of its hello changed."""
        names = ("magic", "mode", "dialler", "acceptor", "job", "fresh", "identity")
        fields = dict(zip(names, HELLO.unpack(self.greeting[: HELLO.size])), **changes)
        return HELLO.pack(*(fields[name] for name in names)) + self.greeting[HELLO.size :]


class Target:
    """A port to attack; what has been recorded; the folder where a pickle would leave its mark if it were loaded."""

    def __init__(self, address, recording, folder):
        self.address, self.recording, self.folder = address, recording, folder
        self.held = []

    def connect(self):
        sock = socket.create_connection(self.address, timeout=5)
        sock.settimeout(0.02)
        return sock

    def release(self):
        for sock in self.held:
            sock.close()
        self.held.clear()


def frame(kind, data=None, payload=b"", head=None):
    body = json.dumps([kind, data or {}]).encode()
    return (head or FRAME.pack(b"CoSF", len(body), len(payload))) + body + payload


def said(sock):
    """What the other end says within a moment."""
    data = b""
    with contextlib.suppress(OSError):
        while len(data) < 1 << 20:
            piece = sock.recv(1 << 16)
            if not piece:
                break
            data += piece
    return data


def send(sock, data):
    with contextlib.suppress(OSError):  # the other end may have hung up already
        sock.sendall(data)


def tell(target, *parts, half_close=False):
    """Connect, say the parts one after another, and listen after each."""
    with target.connect() as sock:
        heard = b""
        for part in parts:
            send(sock, part)
            heard += said(sock)
        if half_close:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            heard += said(sock)
        return heard


# ---- who does not speak the protocol


@attack
def connect_and_close(target):
    target.connect().close()
    return b""


@attack
def connect_and_reset(target):
    sock = target.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return b""


@attack
def silence(target):
    sock = target.connect()
    target.held.append(sock)
    return said(sock)


@attack
def half_close(target):
    return tell(target, half_close=True)


@attack
def one_byte(target):
    sock = target.connect()
    target.held.append(sock)
    send(sock, b"C")
    return said(sock)


@attack
def zeros(target):
    return tell(target, bytes(1 << 16))


@attack
def random_bytes(target):
    return tell(target, os.urandom(1 << 16))


@attack
def a_megabyte_after_half_a_greeting(target):
    return tell(target, target.recording.greeting[:40], os.urandom(1 << 20))


@attack
def tls_client_hello(target):
    body = b"\x03\x03" + os.urandom(32) + b"\x00" + b"\x00\x04\x13\x01\x13\x02" + b"\x01\x00" + b"\x00\x00"
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return tell(target, b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake)


@attack
def http_request(target):
    return tell(target, b"GET / HTTP/1.1\r\nHost: driver\r\nUpgrade: websocket\r\n\r\n")


@attack
def ssh_banner(target):
    return tell(target, b"SSH-2.0-OpenSSH_9.6\r\n")


class _Mark:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@attack
def a_pickle(target):
    return tell(target, pickle.dumps(_Mark(f"{target.folder}/unpickled")))


@attack
def pyspark_data(target):
    data = pickle.dumps([_Mark(f"{target.folder}/unpickled-by-spark")] * 10)
    return tell(target, struct.pack("!i", len(data)) + data + struct.pack("!i", -1))


@attack
def a_pickle_in_a_frame(target):
    data = pickle.dumps(_Mark(f"{target.folder}/unpickled-frame"))
    return tell(target, frame("hello", payload=data))


@attack
def java_serialisation(target):
    return tell(target, b"\xac\xed\x00\x05sr\x00\x17java.util.PriorityQueue" + os.urandom(200))


@attack
def py4j_command(target):
    return tell(target, b"c\no0\nexit\ni1\ne\n")


@attack
def urgent_data(target):
    with target.connect() as sock:
        for byte in b"CoS3":
            with contextlib.suppress(OSError):
                sock.send(bytes([byte]), socket.MSG_OOB)
        return said(sock)


# ---- who speaks it without the secret


def _cut(size):
    def cut(target):
        return tell(target, target.recording.greeting[:size], half_close=True)

    return cut


for _size, _after in ((4, "magic"), (5, "mode"), (13, "names"), (29, "job nonce"), (61, "nonce"), (92, "most of it")):
    ATTACKS[f"greeting cut after its {_after}"] = _cut(_size)


@attack
def greeting_without_the_secret(target):
    return tell(target, target.recording.greeting[: HELLO.size] + os.urandom(PROOF))


@attack
def greeting_of_another_job(target):
    return tell(target, target.recording.greeting_with(job=os.urandom(16)))


@attack
def greeting_of_an_older_version(target):
    return tell(target, target.recording.greeting_with(magic=b"CoS2"))


@attack
def greeting_with_a_new_nonce(target):
    return tell(target, target.recording.greeting_with(fresh=os.urandom(32)))


@attack
def another_rank(target):
    return tell(target, target.recording.greeting_with(dialler=1, fresh=os.urandom(32)))


@attack
def a_rank_that_is_not(target):
    return tell(target, target.recording.greeting_with(dialler=4_000_000_000, fresh=os.urandom(32)))


@attack
def the_driver_itself(target):
    return tell(target, target.recording.greeting_with(dialler=DRIVER, fresh=os.urandom(32)))


@attack
def for_somebody_else(target):
    return tell(target, target.recording.greeting_with(acceptor=7, fresh=os.urandom(32)))


@attack
def downgrade_to_plain(target):
    mode = target.recording.greeting[4:5]
    return tell(target, target.recording.greeting_with(mode=b"P" if mode == b"S" else b"S"))


@attack
def an_unknown_mode(target):
    return tell(target, target.recording.greeting_with(mode=b"\xff"))


@attack
def greeting_with_another_identity(target):
    return tell(target, target.recording.greeting_with(identity=os.urandom(32), fresh=os.urandom(32)))


@attack
def greeting_with_an_identity_that_everybody_shares_nothing_with(target):
    heard = b""
    for weak in (bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xff" * 32):  # of X25519
        heard += tell(target, target.recording.greeting_with(identity=weak, fresh=os.urandom(32)), os.urandom(PROOF))
    return heard


@attack
def greeting_and_a_megabyte(target):
    return tell(target, target.recording.greeting_with(fresh=os.urandom(32)) + os.urandom(1 << 20))


@attack
def a_hundred_guesses(target):
    heard = b""
    for _ in range(100):
        with target.connect() as sock:
            send(sock, target.recording.greeting[: HELLO.size] + os.urandom(PROOF) + os.urandom(PROOF))
            sock.settimeout(0.001)
            heard += said(sock)
    return heard


# ---- who recorded something


@attack
def replayed_greeting(target):
    return tell(target, target.recording.greeting, os.urandom(PROOF))


@attack
def replayed_handshake_at_once(target):
    recording = target.recording
    return tell(target, recording.greeting + recording.proof + recording.later)


@attack
def replayed_handshake_step_by_step(target):
    recording = target.recording
    return tell(target, recording.greeting, recording.proof, recording.later)


@attack
def replayed_greeting_twice_at_once(target):
    with target.connect() as first, target.connect() as second:
        send(first, target.recording.greeting)
        send(second, target.recording.greeting)
        return said(first) + said(second)


@attack
def the_acceptors_answer_reflected(target):
    return tell(target, target.recording.answer, target.recording.answer)


@attack
def the_acceptors_proof_as_ours(target):
    return tell(target, target.recording.greeting, target.recording.answer[32:])


@attack
def proof_before_greeting(target):
    return tell(target, target.recording.proof + target.recording.greeting)


@attack
def slow_loris(target):
    sock = target.connect()
    target.held.append(sock)
    for byte in target.recording.greeting[:25]:
        send(sock, bytes([byte]))
        time.sleep(0.004)
    return said(sock)


# ---- frames without a handshake


@attack
def frames_before_the_proof(target):
    return tell(target, frame("abort", {"reason": "because"}) + frame("done", {"iteration": 1, "digest": ""}))


@attack
def frames_after_a_replayed_greeting(target):
    return tell(target, target.recording.greeting, frame("failed", {"message": "no"}))


@attack
def an_oversized_frame(target):
    return tell(target, FRAME.pack(b"CoSF", 0xFFFFFFFF, 0xFFFFFFFF) + os.urandom(1 << 18))


@attack
def deep_json(target):
    body = b'["hello",' + b"[" * 1_000_000
    return tell(target, FRAME.pack(b"CoSF", len(body), 0) + body)


@attack
def gradients(target):
    return tell(target, struct.pack("!QI", 1, 0) + struct.pack("<1000f", *[1e30] * 1000))


# ---- who comes in numbers (tried after the others, because they take longer)

MANY = ["a hundred guesses"]


def many(function):
    MANY.append(function.__name__.replace("_", " "))
    return attack(function)


@many
def two_thousand_idle_connections(target):
    for _ in range(2000):
        with contextlib.suppress(OSError):
            target.held.append(target.connect())
    return b"".join(said(sock) for sock in target.held[-10:])


@many
def a_thousand_resets(target):
    for _ in range(1000):
        with contextlib.suppress(OSError):
            connect_and_reset(target)
    return b""


@many
def three_hundred_half_greetings(target):
    for _ in range(300):
        with contextlib.suppress(OSError):
            sock = target.connect()
            target.held.append(sock)
            send(sock, target.recording.greeting[:60])
    return b"".join(said(sock) for sock in target.held[-10:])


@many
def three_hundred_replayed_greetings(target):
    for _ in range(300):
        with contextlib.suppress(OSError):
            sock = target.connect()
            target.held.append(sock)
            send(sock, target.recording.greeting)
    return b"".join(said(sock) for sock in target.held[-10:])


# ---- the program


class Recorder:
    """Puts handshakes on some ports together from captured packets."""

    def __init__(self, low, high):
        self.ports = range(low, high + 1)
        self.streams = collections.defaultdict(bytes)
        self.complete = {}  # acceptor's name: Recording

    def seen(self, source, target, payload):
        if target not in self.ports and source not in self.ports:
            return
        stream = self.streams[source, target]
        if len(stream) < 4096:
            self.streams[source, target] = stream + payload
        dialler, acceptor = (source, target) if target in self.ports else (target, source)
        there, back = self.streams[dialler, acceptor], self.streams[acceptor, dialler]
        if there.startswith(b"CoS3") and len(there) > GREETING + PROOF and len(back) > ANSWER:
            name = HELLO.unpack(there[: HELLO.size])[3]
            proof = there[GREETING : GREETING + PROOF]
            self.complete[name] = Recording(there[:GREETING], back[:ANSWER], proof, there[GREETING + PROOF :])


def listening(low, high):
    """The ports of the range that somebody listens on."""
    ports = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        port = int(fields[1].partition(":")[2], 16)
        if fields[3] == "0A" and low <= port <= high:
            ports.add(port)
    return ports


def main():
    from tests.support import capture

    low, high, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    recorder = Recorder(low, high)
    over = threading.Event()
    tried = collections.defaultdict(collections.Counter)
    heard = collections.Counter()
    replayed = collections.Counter()

    def besiege(port):
        """Attack a port until nobody listens there any more."""
        names = list(ATTACKS)
        random.Random(port).shuffle(names)
        names.sort(key=lambda name: name in MANY)
        while not over.is_set():
            for name in names:
                recordings = list(recorder.complete.values())
                recording = random.choice(recordings) if recordings else Recording.invented()
                target = Target(("127.0.0.1", port), recording, folder)
                try:
                    heard[port] += len(ATTACKS[name](target))
                    tried[port][name] += 1
                    replayed[port] += bool(recordings)
                except ConnectionRefusedError:
                    return
                except OSError:
                    pass
                finally:
                    target.release()
                if over.is_set():
                    return

    recording = None if capture.why_not() else capture.Capture(recorder.seen)
    try:
        besieged = {}
        print(json.dumps({"ready": len(ATTACKS)}), flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
        while not over.is_set():
            for port in listening(low, high):
                if port not in besieged or not besieged[port].is_alive():
                    besieged[port] = threading.Thread(target=besiege, args=(port,))
                    besieged[port].start()
            if recording is not None and recorder.complete:
                recording.close()  # it sees every byte of the machine's loopback, which is work
                recording = None
            time.sleep(0.005)
        for thread in besieged.values():
            thread.join()
    finally:
        if recording is not None:
            recording.close()
    report = {"tried": tried, "heard": heard, "replayed": replayed, "recorded": sorted(recorder.complete)}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
