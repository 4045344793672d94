"""The options of ``spark-submit``: what was given, and what is added to it."""

from __future__ import annotations

import os
import re
from typing import Dict, List, Optional, Sequence, Tuple

from ..errors import ConfigError, suggest

__all__ = ["SubmitOptions", "megabytes"]

# Options with a value, and the setting each stands for.
_SETTINGS: Dict[str, str] = {
    "--archives": "spark.yarn.dist.archives",
    "--class": "",
    "--conf": "",
    "--deploy-mode": "spark.submit.deployMode",
    "--driver-class-path": "spark.driver.extraClassPath",
    "--driver-cores": "spark.driver.cores",
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--driver-library-path": "spark.driver.extraLibraryPath",
    "--driver-memory": "spark.driver.memory",
    "--exclude-packages": "spark.jars.excludes",
    "--executor-cores": "spark.executor.cores",
    "--executor-memory": "spark.executor.memory",
    "--files": "spark.yarn.dist.files",
    "--jars": "spark.jars",
    "--keytab": "spark.kerberos.keytab",
    "--master": "spark.master",
    "--name": "spark.app.name",
    "--num-executors": "spark.executor.instances",
    "--packages": "spark.jars.packages",
    "--principal": "spark.kerberos.principal",
    "--properties-file": "",
    "--proxy-user": "",
    "--py-files": "spark.submit.pyFiles",
    "--queue": "spark.yarn.queue",
    "--repositories": "spark.jars.repositories",
    "--total-executor-cores": "spark.cores.max",
}
_SWITCHES = ("--supervise", "--verbose")
_SHORT = {"-c": "--conf", "-v": "--verbose"}

_UNITS = {"": 1, "k": 1 / 1024, "m": 1, "g": 1024, "t": 1024**2, "p": 1024**3, "b": 1 / 1024**2}


class SubmitOptions:
    """Options for spark-submit, in the order they were given.

    Parameters
    ----------
    words : sequence of str
        Only spark-submit's own.

    Raises
    ------
    ConfigError
        For one that it does not have, or that lacks its value.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._given: List[Tuple[str, Optional[str]]] = []
        rest = list(words)
        while rest:
            name, equals, value = rest.pop(0).partition("=")
            name = _SHORT.get(name, name)
            if name in _SWITCHES and not equals:
                self._given.append((name, None))
            elif name not in _SETTINGS:
                known = [*_SETTINGS, *_SWITCHES, "--dry-run", "--no-check"]
                where = "" if name.startswith("--") else " The program's own flags go after '--'."
                raise ConfigError(f"submit: spark-submit has no option {name}. {suggest(name, known, '')}{where}")
            elif not equals and not rest:
                raise ConfigError(f"submit: {name} needs a value")
            else:
                self._given.append((name, value if equals else rest.pop(0)))
        for name, setting in self._given:
            if name == "--conf" and "=" not in str(setting):
                raise ConfigError(f"submit: --conf {setting}: give it as NAME=VALUE")
        self._defaults = _defaults(self.option("--properties-file"))

    def get(self, setting: str, otherwise: Optional[str] = None) -> Optional[str]:
        """A setting's value: from its option, from ``--conf``, from the defaults."""
        by_option = {name for name, known in _SETTINGS.items() if known == setting}
        found = None
        for name, value in self._given:  # the last one counts, and an option before --conf
            if name == "--conf" and str(value).partition("=")[0] == setting:
                found = str(value).partition("=")[2]
        for name, value in self._given:
            if name in by_option:
                found = str(value)
        if found is not None:
            return found
        return self._defaults.get(setting, otherwise)

    def option(self, name: str) -> Optional[str]:
        """The value of an option that stands for no setting."""
        return next((value for given, value in reversed(self._given) if given == name), None)

    def number(self, setting: str, otherwise: int) -> int:
        """A setting that is a whole number. Raises ConfigError."""
        text = self.get(setting)
        try:
            return otherwise if text is None else int(text)
        except ValueError:
            raise ConfigError(f"submit: {setting} is a whole number, not '{text}'") from None

    def memory(self, setting: str, otherwise: int) -> int:
        """A setting that is an amount of memory, in MB. Raises ConfigError."""
        text = self.get(setting)
        return otherwise if text is None else megabytes(text, setting)

    def add(self, name: str, value: str) -> None:
        """Add an option (``--name``) or a setting."""
        self._given.append((name, value) if name.startswith("--") else ("--conf", f"{name}={value}"))

    def append(self, name: str, values: Sequence[str]) -> None:
        """Add to an option that is a comma-separated list."""
        if values:
            given = self.option(name)
            self._given = [pair for pair in self._given if pair[0] != name]
            self._given.append((name, ",".join([*([given] if given else []), *values])))

    def words(self) -> List[List[str]]:
        """Each option with its value, for a command line."""
        return [[name] if value is None else [name, value] for name, value in self._given]


def _defaults(properties: Optional[str]) -> Dict[str, str]:
    """What the properties file says, or else spark-defaults.conf, as spark-submit finds it."""
    folder = os.environ.get("SPARK_CONF_DIR") or os.path.join(os.environ.get("SPARK_HOME", ""), "conf")
    path = properties or os.path.join(folder, "spark-defaults.conf")
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = [line.strip() for line in f]
    except OSError as e:
        if properties is None:
            return {}
        raise ConfigError(f"submit: --properties-file {path}: {e.strerror}") from None
    words = [re.split(r"\s*=\s*|\s+", line, maxsplit=1) for line in lines if line and line[0] not in "#!"]
    return {pair[0]: pair[1] for pair in words if len(pair) == 2}


def megabytes(text: str, what: str) -> int:
    """An amount of memory as Spark writes it (``512m``, ``4g``; MB without a unit), in MB, rounded up."""
    match = re.fullmatch(r"\s*(\d+)\s*([bkmgtp]?)b?\s*", text.lower())
    if not match:
        raise ConfigError(f"submit: {what} is an amount of memory such as 512m or 4g, not '{text}'")
    return -int(-int(match.group(1)) * _UNITS[match.group(2)] // 1)
