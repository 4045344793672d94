"""Where ranks and the driver listen: addresses, network interfaces and ports."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct
from typing import List, Optional, Tuple

from ..errors import ConfigError
from .credentials import Credentials
from .handshake import Listener

__all__ = ["bare_host", "check_ports", "interface_address", "open_listener"]

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_IF_INET6 = "/proc/net/if_inet6"
_GLOBAL_SCOPE = "00"


def bare_host(host: str) -> str:
    """A host as sockets want it: Spark writes IPv6 addresses in brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def open_listener(
    host: str, ports: Tuple[int, int], credentials: Optional[Credentials], me: int, needed: int
) -> Listener:
    """A listener that listens on ``host``.

    Parameters
    ----------
    host, ports, credentials, me : see Listener
    needed : how many ports of the range the job needs on this host

    Raises
    ------
    ConfigError
        When no port can be had, with the setting that mends it.
    """
    try:
        return Listener(host, ports, credentials, me)
    except OSError as e:
        why = e.strerror or str(e)
        if e.errno == errno.EADDRINUSE and ports != (0, 0):
            raise ConfigError(
                f"-port {_span(ports)}: {_count(ports)} on {host}, and none is free: {_needed(needed)}, in addition to "
                "those that other programs hold"
            ) from None
        if e.errno == errno.EACCES and 0 < ports[0] < 1024:
            raise ConfigError(
                f"-port {_span(ports)}: nobody may listen there on {host} ({why}); give a range above 1023"
            ) from None
        raise ConfigError(
            f"cannot listen on {host} ({why}): it has to be an address of this machine; spark.driver.bindAddress and "
            "SPARK_LOCAL_IP say which Spark uses, -interface which the ranks use"
        ) from None


def check_ports(ports: Tuple[int, int], ranks: int) -> None:
    """Raise ConfigError where a range is too small for the driver and all ranks on one host."""
    if ports != (0, 0) and ports[1] - ports[0] + 1 <= ranks:
        raise ConfigError(f"-port {_span(ports)}: {_count(ports)}, and everything runs here: {_needed(ranks + 1)}")


def _needed(needed: int) -> str:
    ranks = needed - 1
    return f"the driver and {ranks} {'rank' if ranks == 1 else 'ranks'} listen on one each, so give at least {needed}"


def _span(ports: Tuple[int, int]) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _count(ports: Tuple[int, int]) -> str:
    count = ports[1] - ports[0] + 1
    return "1 port" if count == 1 else f"{count} ports"


def interface_address(name: str, ipv6: bool = False) -> str:
    """An address of a network interface: IPv4, or IPv6 where it is preferred or there is no other.

    Raises ConfigError when there is no such interface, or none with an address.
    """
    found = [*_ipv4_address(name), *_ipv6_addresses(name)]
    if not found:
        known = ", ".join(other for _, other in socket.if_nameindex())
        raise ConfigError(
            f"-interface {name}: no such interface with an address on {socket.gethostname()}; it has {known}"
        )
    return next((address for address in found if (":" in address) == ipv6), found[0])


def _ipv4_address(name: str) -> List[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            packed = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return []
    return [socket.inet_ntoa(packed[20:24])]


def _ipv6_addresses(name: str) -> List[str]:
    """Those other hosts can use without naming an interface of their own, and the loopback's."""
    try:
        with open(_IF_INET6) as f:
            rows = [line.split() for line in f]
    except OSError:  # no IPv6 on this machine
        return []
    addresses = [ipaddress.IPv6Address(int(row[0], 16)) for row in rows if row[5] == name]
    scopes = [row[3] for row in rows if row[5] == name]
    return [str(a) for a, scope in zip(addresses, scopes) if scope == _GLOBAL_SCOPE or a.is_loopback]
