"""Whether what travels between ranks and to the driver is encrypted: as Spark's own traffic is, or by ``-encrypt``."""

from __future__ import annotations

from typing import Callable

from ..comm import encryption
from ..plans.run_config import RunConfig
from ..spark.cluster import is_on

__all__ = ["asked_for", "check_encryption"]

# What an administrator sets who wants Spark's traffic encrypted (Spark's "Security" guide); spark.ssl.rpc is Spark 4's.
_SETTINGS = (
    "spark.network.crypto.enabled",
    "spark.authenticate.enableSaslEncryption",
    "spark.ssl.enabled",
    "spark.ssl.rpc.enabled",
)
# Of these, those under which Spark encrypts what it sends to executors, the job's secret included.
_RPC = ("spark.network.crypto.enabled", "spark.authenticate.enableSaslEncryption", "spark.ssl.rpc.enabled")


def asked_for(config: RunConfig) -> str:
    """The setting because of which connections are encrypted; "" when they are not."""
    if config.settings.encrypt:
        return "-encrypt"
    context = config.spark.sparkContext
    return next((name for name in _SETTINGS if is_on(context, name)), "")


def check_encryption(config: RunConfig, say: Callable[[str], None]) -> None:
    """Raise ConfigError where encryption is asked for and cannot be had; tell what it leaves open."""
    context = config.spark.sparkContext
    if is_on(context, "spark.io.encryption.enabled"):
        say(
            "warning: spark.io.encryption.enabled does not cover the ranks' records and snapshots in Spark's local "
            "folders (spark.local.dir): have those on an encrypted disk"
        )
    reason = asked_for(config)
    if not reason:
        return
    encryption.require()
    say(f"what ranks send is encrypted, because of {reason}")
    if not any(is_on(context, name) for name in _RPC):
        say(
            "warning: the key to it goes to the executors with Spark's tasks, which Spark does not encrypt: set "
            "spark.authenticate and spark.network.crypto.enabled to true"
        )
