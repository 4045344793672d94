"""Whether what travels between ranks and to the driver is encrypted: as Spark's own traffic is, or by ``-encrypt``."""

from __future__ import annotations

from typing import Callable

from ..comm import encryption
from ..errors import ConfigError
from ..launchers.spark_barrier import SECRET_PROPERTY
from ..plans.run_config import RunConfig
from ..spark.cluster import is_on
from ..spark.jvm import hides

__all__ = ["asked_for", "check_encryption"]

# What an administrator sets who wants Spark's traffic encrypted (Spark's "Security" guide); spark.ssl.rpc is Spark 4's.
_SETTINGS = (
    "spark.network.crypto.enabled",
    "spark.authenticate.enableSaslEncryption",
    "spark.ssl.enabled",
    "spark.ssl.rpc.enabled",
)
# Of these, those under which Spark encrypts what it sends to executors, the attempt's secret included.
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
    if is_on(context, "spark.eventLog.enabled") and not hides(context, SECRET_PROPERTY):
        say(
            f"warning: spark.redaction.regex does not hide {SECRET_PROPERTY}, which lets ranks in: whoever reads the "
            "event log while they start can claim a rank's place"
        )
    if is_on(context, "spark.io.encryption.enabled"):
        say(
            "warning: spark.io.encryption.enabled does not cover the ranks' records and snapshots in Spark's local "
            "folders (spark.local.dir): have those on an encrypted disk"
        )
    reason = asked_for(config)
    if not reason:
        return
    authenticated = is_on(context, "spark.authenticate")
    if config.settings.encrypt and not authenticated and config.settings.encrypt != "anyway":
        raise ConfigError(
            "-encrypt: Spark does not authenticate, so whoever reaches its ports can become one of the executors, and "
            "a rank: set spark.authenticate to true, or have what is sent encrypted all the same with -encrypt anyway"
        )
    encryption.require()
    say(f"what ranks send is encrypted, because of {reason}")
    if not authenticated:
        say(
            "warning: Spark does not authenticate, so whoever reaches its ports can become one of the executors, and a "
            "rank: set spark.authenticate to true"
        )
    elif not any(is_on(context, name) for name in _RPC):
        say(
            "warning: what lets a rank in goes to the executors with Spark's tasks, which Spark does not encrypt: "
            "whoever changes or hears them then can take a rank's place: set spark.network.crypto.enabled to true"
        )
