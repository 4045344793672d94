"""What asks for encryption."""

import pytest

from caffeonspark.runs.encryption import asked_for
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
