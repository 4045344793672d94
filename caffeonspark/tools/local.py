"""``caffeonspark local`` and ``caffeonspark join``: training without Spark, on this machine and on others that join."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
import sys
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from .. import log
from ..comm.addresses import interface_address
from ..errors import CaffeOnSparkError, ConfigError
from ..flags import Flag, FlagTable
from ..launchers.joining import JoinServer, join
from ..settings import FLAGS, Settings
from ..storage import Storage, expand, find_file, local_path

__all__ = ["OWN_FLAGS", "join_main", "main"]

_log = logging.getLogger(__name__)

_USAGE = """usage: caffeonspark local -np N [-join M] -train FLAGS
       caffeonspark join HOST:PORT -np M        (on another machine)

Trains without Spark: N ranks are processes of this machine, and M more are waited for that join from others.
"""
_JOIN_USAGE = """usage: caffeonspark join HOST:PORT -np M

Takes M ranks of a run that 'caffeonspark local … -join' began on another machine, until it is over.
"""

#: What holds the secret, where no file does.
_VARIABLE = "CAFFEONSPARK_SECRET"
_SHORTEST = 16  # characters of a secret

_NP = Flag("np", "int", 1, "how many ranks start on this machine", "N", minimum=1)
_SECRET = Flag(
    "secret",
    "text",
    "",
    f"the file with the secret that all machines of the run know (default: the variable {_VARIABLE})",
    "FILE",
)
OWN_FLAGS = FlagTable(
    (
        "Ranks",
        [_NP, Flag("join", "int", 0, "how many more are waited for, from other machines", "M", minimum=0), _SECRET],
    )
)
_JOIN = FlagTable(("Flags", [_NP, _SECRET]))
#: Flags of a cluster, and of what computes on one.
_INSTEAD = {
    "clusterSize": "-np says how many ranks there are here, and -join how many on other machines",
    "devices": "-np says how many ranks there are here, and -join how many on other machines",
    "test": "it computes in Spark's tasks: use caffeonspark -test, or caffeonspark predict for images",
    "features": "it computes in Spark's tasks: use caffeonspark -features",
    "net": "a net cannot be trained without a solver: give -conf",
    "persistent": "it keeps a DataFrame on Spark's disks",
    "readerOptions": "they are options of Spark's readers",
}


def main(argv: Sequence[str]) -> int:
    """Run ``caffeonspark local``; its exit status. Raises CaffeOnSparkError."""
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(f"{_USAGE}\n{OWN_FLAGS.help_text()}\n\n{FLAGS.help_text()}")
        return 0 if argv else 1
    table = FlagTable(("", [*OWN_FLAGS.values(), *FLAGS.values()]), aliases=FLAGS.aliases)
    given = table.parse_args(argv)
    own = {flag.name: given.pop(flag.name, flag.default) for flag in OWN_FLAGS.values()}
    log.show(logging.WARNING if given.get("quiet") else logging.INFO)
    _check(given)
    given["clusterSize"] = own["np"] + own["join"]
    with _server(own, given) as (host, server):
        _train(given, own["np"], host, server)
    return 0


def _check(given: Dict[str, Any]) -> None:
    """Raise ConfigError for flags that say nothing here."""
    for name, instead in _INSTEAD.items():
        if name in given and given[name] != FLAGS[name].default:
            raise ConfigError(f"-{name} is not for caffeonspark local: {instead}")
    if not given.get("train"):
        raise ConfigError("nothing to do: give -train")


@contextlib.contextmanager
def _server(own: Dict[str, Any], given: Dict[str, Any]) -> Iterator[Tuple[str, Optional[JoinServer]]]:
    """This machine's address for ranks, and where others join, if some are waited for."""
    phrase = read_secret(own["secret"])
    if not own["join"]:
        yield "127.0.0.1", None
        return
    if not phrase:
        raise ConfigError(
            f"-join: no secret is given, by which machines are let in: -secret FILE, or the variable {_VARIABLE}; "
            "'openssl rand -hex 32' makes one"
        )
    interface = str(given.get("interface", ""))
    host = interface_address(interface) if interface else _own_address()
    ports = Settings(port=str(given.get("port", ""))).ports
    server = JoinServer(host, ports, phrase, own["join"], own["np"] + 2)
    status, message = 1, "it failed"
    try:
        place = f"[{host}]" if ":" in host else host
        if not given.get("dryRun"):
            print(f"caffeonspark join {place}:{server.address[1]}", flush=True)
        yield host, server
        status = 0
    except CaffeOnSparkError as e:
        message = e.message
        raise
    except KeyboardInterrupt:
        message = "it was interrupted"
        raise
    finally:
        server.close(status, message)


def _own_address() -> str:
    """The address of this machine that others reach. Raises ConfigError where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # for documentation: nothing is sent, only a way there looked up
            return str(sock.getsockname()[0])
        except OSError as e:
            raise ConfigError(
                f"-join: this machine has no address on a default way out ({e.strerror}): name its network interface "
                "with -interface"
            ) from None


def _train(given: Dict[str, Any], count: int, host: str, server: Optional[JoinServer]) -> None:
    from ..api.config import Config
    from ..nets.net import TRAIN
    from ..plans.net_source import NetSourceWithoutSpark
    from ..report import observers_for
    from ..runs.on_machines import OnMachines
    from ..runs.run import train

    config = Config(None, given)
    run = config.run_config
    source = NetSourceWithoutSpark(config, run.net(TRAIN))
    validation = [NetSourceWithoutSpark(config, net) for net in run.validation_nets]
    train(run, source, validation, observers_for(run), cluster=OnMachines(run, count, host, server))
    if run.settings.dryRun:
        print("caffeonspark: -dryRun: everything was checked, and all is well", flush=True)


def join_main(argv: Sequence[str]) -> int:
    """Run ``caffeonspark join``; its exit status. Raises CaffeOnSparkError."""
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(f"{_JOIN_USAGE}\n{_JOIN.help_text()}")
        return 0 if argv else 1
    if argv[0].startswith("-"):
        raise ConfigError("join: name the run first, as it printed it: caffeonspark join HOST:PORT")
    host, _, port = argv[0].rpartition(":")
    if not (host and port.isdigit()):
        raise ConfigError(f"join: '{argv[0]}' is no HOST:PORT, as the run printed it")
    given = _JOIN.parse_args(argv[1:])
    values = {flag.name: given.get(flag.name, flag.default) for flag in _JOIN.values()}
    phrase = read_secret(values["secret"])
    if not phrase:
        raise ConfigError(f"join: no secret is given: -secret FILE, or the variable {_VARIABLE}, as where the run is")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # its temporary files go
    return join((host, int(port)), phrase, values["np"], lambda line: _log.info("caffeonspark: %s", line))


def read_secret(path: str) -> bytes:
    """The secret of a file, or of the environment, which is taken out of it: no process of the run needs it.

    Raises ConfigError for a secret that is none: too short, or in a file that others may read.
    """
    text, where = os.environ.pop(_VARIABLE, ""), _VARIABLE
    if path:
        place = local_path(find_file(Storage(), os.path.abspath(local_path(expand(path))), "-secret"))
        where = f"-secret {path}"
        if stat.S_IMODE(os.stat(place).st_mode) & 0o077:
            raise ConfigError(f"{where} may be read by others than its owner: chmod 600 {path}")
        with open(place, "rb") as f:
            text = f.read(1 << 16).decode(errors="surrogateescape")
    phrase = text.strip().encode(errors="surrogateescape")
    if text and len(phrase) < _SHORTEST:
        raise ConfigError(f"{where} has {len(phrase)} characters: a secret has at least {_SHORTEST}")
    return phrase
