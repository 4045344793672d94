"""What crosses the loopback interface, seen with a packet socket (Linux, as root)."""

import select
import socket
import struct
import threading

_ETH_P_IP, _PACKET_OUTGOING = 0x0800, 4
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33


def why_not():
    """Why packets cannot be captured here; "" when they can."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP)).close()
        return ""
    except (OSError, AttributeError) as e:
        return f"packets on the loopback cannot be captured ({e}): run as root on Linux"


class Capture:
    """Calls ``seen(source port, target port, TCP payload)`` for every packet, in a thread, until it is closed."""

    def __init__(self, seen):
        self._seen = seen
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 512 << 20)
        self._sock.bind(("lo", _ETH_P_IP))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            if not select.select([self._sock], [], [], 0.05)[0]:
                if self._over.is_set():
                    return
                continue
            packet, address = self._sock.recvfrom(1 << 17)
            if address[2] == _PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP:
                continue  # the loopback shows everything on its way out and on its way in
            tcp = packet[(packet[0] & 15) * 4 : struct.unpack_from("!H", packet, 2)[0] or len(packet)]
            source, target = struct.unpack_from("!HH", tcp)
            payload = tcp[(tcp[12] >> 4) * 4 :]
            if payload:
                self._seen(source, target, payload)

    def close(self):
        """End it; how many packets were missed."""
        self._over.set()
        self._thread.join()
        statistics = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._sock.close()
        return struct.unpack("II", statistics)[1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
