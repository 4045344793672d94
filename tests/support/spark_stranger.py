"""A stranger at Spark's own ports: speaks Spark's network protocol, and knows no secret."""

import os
import pathlib
import re
import socket
import struct
import subprocess
import time

from tests.support import processes

_CHUNK_REQUEST, _CHUNK, _RPC_REQUEST, _RPC_RESPONSE, _STREAM_REQUEST, _STREAM_RESPONSE = 0, 1, 3, 4, 6, 7
_OPEN_BLOCKS, _STREAM_HANDLE = 0, 3
_SECONDS = 3  # for an answer


def listening(pid):
    """The ports that a process listens on."""
    sockets = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
        if found:
            sockets.add(found.group(1))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return sorted(ports)


def driver_jvm(pid):
    """The JVM of a driver program."""
    (jvm,) = [below for below, parent in processes.tree(pid).items() if "SparkSubmit" in processes.command(below)]
    return jvm


def _text(text):
    data = text.encode()
    return struct.pack("!i", len(data)) + data


def _read(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data


def _send(sock, kind, header, body=b""):
    size = 9 + len(header) + len(body)
    sock.sendall(struct.pack("!qb", size, kind) + header + body)


def _answer(sock, kind):
    size, found = struct.unpack("!qb", _read(sock, 9))
    if not 9 <= size <= 1 << 28:
        raise ConnectionError("another protocol")
    rest = _read(sock, size - 9)
    if found != kind:
        raise ConnectionError(f"Spark answers with a message of kind {found}: {rest[:200]!r}")
    return rest


def _connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)


def fetch_block(port, application, block):
    """A block of whoever listens, as executors fetch it from each other. Raises OSError where there is none to have."""
    with _connect(port) as sock:
        body = bytes([_OPEN_BLOCKS]) + _text(application) + _text("77") + struct.pack("!i", 1) + _text(block)
        _send(sock, _RPC_REQUEST, struct.pack("!qi", 1, len(body)), body)
        answer = _answer(sock, _RPC_RESPONSE)[12:]
        if answer[0] != _STREAM_HANDLE:
            raise ConnectionError("no handle")
        (stream,) = struct.unpack_from("!q", answer, 1)
        _send(sock, _CHUNK_REQUEST, struct.pack("!qi", stream, 0))
        return _answer(sock, _CHUNK)[12:]


def unpacked(block):
    """The content of a broadcast block, which Spark has compressed in the manner of LZ4BlockOutputStream."""
    content = b""
    while block[:8] == b"LZ4Block":
        method, packed, size = block[8] & 0xF0, *struct.unpack_from("<ii", block, 9)
        data, block = block[21 : 21 + packed], block[21 + packed :]
        content += data if method == 0x10 else _lz4(data)
        assert size >= 0
    return content


def _lz4(data):
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15:
            total += data[at]
            at += 1
            if data[at - 1] != 255:
                break
        return total

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= len(data):
            break
        offset = data[at] | data[at + 1] << 8
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])
    return bytes(out)


def fetch_file(port, name):
    """A file that the driver serves to executors. Raises OSError where there is none to have."""
    with _connect(port) as sock:
        _send(sock, _STREAM_REQUEST, _text(name))
        answer = _answer(sock, _STREAM_RESPONSE)
        (count,) = struct.unpack("!q", answer[-8:])
        return _read(sock, count)


class StrangeExecutor:
    """Spark's own executor program, started by somebody who has Spark and no secret."""

    def __init__(self, port, application, name="77"):
        import pyspark

        jars = pathlib.Path(pyspark.__file__).parent / "jars"
        java = pathlib.Path(os.environ["JAVA_HOME"]) / "bin" / "java" if os.environ.get("JAVA_HOME") else "java"
        options = {
            "driver-url": f"spark://CoarseGrainedScheduler@127.0.0.1:{port}",
            "executor-id": name,
            "hostname": "127.0.0.1",
            "cores": "1",
            "app-id": application,
            "resourceProfileId": "0",
        }
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        # what Spark's launcher gives to every JVM for Java's modules
        opens = ["java.lang", "java.lang.invoke", "java.nio", "java.util", "java.util.concurrent", "java.net"]
        flags = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in [*opens, "sun.nio.ch", "sun.security.action"]]
        self.process = subprocess.Popen(
            [
                str(java),
                "-Xmx512m",
                *flags,
                "-cp",
                f"{jars}/*",
                "org.apache.spark.executor.CoarseGrainedExecutorBackend",
                *words,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended_within(self, seconds):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.process.poll() is not None

    def close(self):
        """What it had to say."""
        self.process.kill()
        return self.process.communicate()[1]
