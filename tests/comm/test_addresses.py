"""Interfaces and their addresses."""

import pathlib

import pytest

from caffeonspark.comm.addresses import bare_host, interface_address
from caffeonspark.errors import ConfigError


def test_addresses():
    assert interface_address("lo") == "127.0.0.1"
    if pathlib.Path("/proc/net/if_inet6").exists():
        assert interface_address("lo", ipv6=True) == "::1"
    with pytest.raises(ConfigError, match=r"it has .*lo"):
        interface_address("nonsense")
    assert [bare_host(host) for host in ("[fd00::1]", "fd00::1", "10.0.0.1", "name")] == [
        "fd00::1",
        "fd00::1",
        "10.0.0.1",
        "name",
    ]
