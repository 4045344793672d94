"""What the driver knows of a run before it starts: settings, the parsed solver and nets, the size of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Protocol

from ..data.sources.base import SourceConfig
from ..errors import ConfigError
from ..formats.endings import model_uri
from ..nets.net import TRAIN, Net, SolverNets
from ..nets.prototxt import Files
from ..settings import Settings
from ..storage import Storage
from .inspection import NetInspector

__all__ = ["Configured", "RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """A run, as its flags and prototxts describe it: what the library works with.

    Attributes
    ----------
    session : the SparkSession, or None
    settings : every flag
    storage, files : how files are read and found
    solver : the SolverParameter; None without ``-conf``
    solver_path : the file it came from
    nets : the nets it names
    executors : how many executors train together
    executors_from : the setting that says so
    """

    session: Any
    settings: Settings
    storage: Storage
    files: Files
    solver: Any
    solver_path: str
    nets: SolverNets
    executors: int
    executors_from: str

    @property
    def spark(self) -> Any:
        """The SparkSession; raises ConfigError where there is none."""
        if self.session is None:
            raise ConfigError("this Config was made without a SparkSession: use Config(spark, …)")
        return self.session

    @property
    def ranks(self) -> int:
        """How many solvers train together: executors times devices."""
        return self.executors * self.settings.devices

    @property
    def for_sources(self) -> SourceConfig:
        """What data sources get of it."""
        settings = self.settings
        options = {}
        for option in settings.readerOptions:
            name, equals, value = option.partition("=")
            if not (name and equals):
                raise ConfigError(f"-readerOptions: '{option}' is no option with a value: write NAME=VALUE,…")
            options[name] = value
        return SourceConfig(
            self.files,
            self.storage,
            self.session,
            settings.resize,
            options,
            settings.quiet,
            settings.maxPixels,
            settings.badRecords == "skip",
        )

    @property
    def model_uri(self) -> str:
        """Where ``-model`` goes: its suffix follows the solver's snapshot_format, as in CaffeOnSpark."""
        if not self.settings.model:
            raise ConfigError("-model is missing: name the file to save the model to")
        return model_uri(self.settings.model, self.solver)

    @property
    def validation_nets(self) -> List[Net]:
        """The test nets to run while training: those that the solver gives a test_interval and a test_iter above 0."""
        iterations = list(self.solver.test_iter)
        if not self.solver.test_interval:
            return []
        nets = [net for net in self.nets.tests if net.number >= len(iterations) or iterations[net.number] > 0]
        # one that makes its data has no end; without test_iter, stock Caffe has no such test net either
        return [net for net in nets if net.number < len(iterations) or net.data_layers()]

    def net(self, phase: int) -> Net:
        """The net of a phase; TEST is the first test net. Raises ConfigError where there is none."""
        if self.solver is None:
            raise ConfigError("no solver is given: set -conf to the solver prototxt, or -net to a net to test")
        if phase == TRAIN and self.settings.net:
            raise ConfigError("a net cannot be trained without a solver: give -conf instead of -net")
        if phase == TRAIN:
            return self.nets.train
        if not self.nets.tests:
            raise ConfigError(
                f"{self.nets.train.path}: the net has no data layer in the TEST phase, which -test, -features and "
                "validation need: add a data layer with include { phase: TEST }"
            )
        return self.nets.tests[0]

    def describe_cluster(self) -> str:
        """One line that says how many ranks there are and why."""

        def count(number: int, noun: str) -> str:
            return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

        return (
            f"{count(self.ranks, 'rank')}: {count(self.executors, 'executor')} (from {self.executors_from}) "
            f"x {count(self.settings.devices, 'device')}"
        )


class Configured(Protocol):
    """What gives a run's configuration and engine as they are at the moment: ``Config``, whose flags may change."""

    @property
    def run_config(self) -> RunConfig: ...

    def load_engine(self) -> NetInspector: ...
