"""What asks for encryption, and what is said where it leaves something open."""

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.runs.encryption import asked_for, check_encryption
from caffeonspark.settings import Settings


class FakeSpark:
    """A configuration; nothing else is asked for."""

    def __init__(self, encrypt, conf):
        self.settings = Settings(encrypt=encrypt)
        self.spark = self.sparkContext = self
        self.conf = conf

    def getConf(self):  # noqa: N802
        return self.conf


@pytest.mark.parametrize(
    "encrypt, settings, reason",
    [
        (False, {}, ""),
        (True, {}, "-encrypt"),
        (True, {"spark.ssl.enabled": "true"}, "-encrypt"),
        (False, {"spark.network.crypto.enabled": "TRUE"}, "spark.network.crypto.enabled"),
        (False, {"spark.authenticate.enableSaslEncryption": "true"}, "spark.authenticate.enableSaslEncryption"),
        (False, {"spark.ssl.enabled": " true"}, "spark.ssl.enabled"),
        (False, {"spark.ssl.rpc.enabled": "true"}, "spark.ssl.rpc.enabled"),
        (False, {"spark.authenticate": "true", "spark.ssl.ui.enabled": "true", "spark.ssl.enabled": "false"}, ""),
    ],
)
def test_what_asks_for_encryption(encrypt, settings, reason):
    assert asked_for(FakeSpark(encrypt, settings)) == reason


AUTHENTICATED = {"spark.authenticate": "true"}
ENCRYPTED = {**AUTHENTICATED, "spark.network.crypto.enabled": "true"}
OPEN = "warning: Spark does not authenticate"
HEARD = "warning: what lets a rank in goes to the executors with Spark's tasks, which Spark does not encrypt"


@pytest.mark.parametrize(
    "encrypt, settings, warnings",
    [
        ("", {}, []),
        ("true", AUTHENTICATED, [HEARD]),
        ("true", ENCRYPTED, []),
        ("anyway", ENCRYPTED, []),
        ("anyway", {}, [OPEN]),
        ("", {"spark.ssl.enabled": "true"}, [OPEN]),
        ("", ENCRYPTED, []),
    ],
)
def test_what_encryption_leaves_open(encrypt, settings, warnings):
    notes = []
    check_encryption(FakeSpark(encrypt, settings), notes.append)
    found = [note for note in notes if note.startswith("warning")]
    assert len(found) == len(warnings)
    assert all(note.startswith(start) for note, start in zip(found, warnings))
    assert len(notes) - len(found) == bool(encrypt or settings)


@pytest.mark.parametrize("settings", [{}, {"spark.authenticate": "false", "spark.ssl.enabled": "true"}])
def test_encryption_where_spark_does_not_authenticate_is_refused(settings):
    with pytest.raises(ConfigError, match=r"-encrypt: Spark does not authenticate.*-encrypt anyway"):
        check_encryption(FakeSpark("true", settings), [].append)
