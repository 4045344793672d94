"""Plans of nets whose data is not at hand: what their layers say of it by themselves stands for it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from ..data.records import BadRecords, Records
from ..data.sources.base import FrameSource, RangeReader, RangeSource, Source
from ..data.tops import Top
from ..errors import CaffeOnSparkError, ConfigError, StorageError
from ..nets.net import Net
from ..nets.prototxt import Files
from .net_plan import NetPlan
from .net_source import NetSource
from .run_config import Configured

__all__ = ["Looked", "Stated", "look_at_net"]

#: How the messages end that are about something that is not there.
_ABSENT = ("does not exist", "No such file or directory")


@dataclass
class Looked:
    """What was found in a net.

    Attributes
    ----------
    plan : its plan; None where it could not be built
    unseen : lines about what could not be looked at
    """

    plan: Optional[NetPlan] = None
    unseen: List[str] = field(default_factory=list)


def look_at_net(config: Configured, net: Net, build: bool = True) -> Looked:
    """Make the plan of a net as a run does, as far as its data is at hand.

    Where data is missing, or needs Spark, the layers' own words tell the size of a sample; a Data layer without any is
    tried with colour and with grey images. A net of which the data alone tells is not built.

    Parameters
    ----------
    config, net : as for NetSource
    build : whether there is an engine to build the net with

    Raises
    ------
    CaffeOnSparkError
        For what a run would refuse, but for data that is not here.
    """
    looked = Looked()
    files = config.run_config.files
    net, built = _without_missing_files(net, files, looked.unseen)
    choices = [_look_at(source, looked.unseen) for source in NetSource(config, net).sources]
    if any(tops is not None and not tops for tops in choices) or not (built and build):
        net.check(config.load_engine().layer_types() if build else {layer.type for layer in net.message.layer})
        return looked
    looked.plan = _first_plan(config, net, choices)
    return looked


def _first_plan(config: Configured, net: Net, choices: Sequence[Optional[Sequence[Tuple[Top, ...]]]]) -> NetPlan:
    """The plan with the first choice of tops that can be computed. Raises what the first one raised."""
    problem: Optional[CaffeOnSparkError] = None
    for chosen in itertools.product(*((None,) if tops is None else tops for tops in choices)):
        data = NetSource(config, net)
        data.sources = [s if tops is None else Stated(s, tops) for s, tops in zip(data.sources, chosen)]
        try:
            return data.plan
        except ConfigError as e:
            problem = problem or e
    assert problem is not None
    raise problem


def _look_at(source: Source, unseen: List[str]) -> Optional[Sequence[Tuple[Top, ...]]]:
    """None where the source's data is on this machine; otherwise what its tops may be. Raises what is wrong with it."""
    if isinstance(source, FrameSource):
        if source.layer.type != "Input":  # a deploy net does not name what fills it
            unseen.append(f"{source.where}: its rows were not looked at, which needs Spark: -dryRun does")
        return source.stated_tops()
    try:
        source.open()
    except CaffeOnSparkError as e:
        if not (isinstance(e, StorageError) or e.message.endswith(_ABSENT)):
            raise
        line = e.message if e.message.startswith(source.where) else f"{source.where}: {e.message}"
        stated = source.stated_tops()
        unseen.append(
            line + ("" if stated else ", and only the data tells how large a sample is: the net was not built")
        )
        return stated
    return None


def _without_missing_files(net: Net, files: Files, unseen: List[str]) -> Tuple[Net, bool]:
    """The net without the mean files that are not here; and whether a layer could be built without other files."""
    message, built = type(net.message)(), True
    message.CopyFrom(net.message)
    for layer in message.layer:
        where = f"{net.path}: layer '{layer.name}'"
        for param in (layer.transform_param, *(top.transform_param for top in layer.cos_data_param.top)):
            if param.mean_file and not is_here(files, param.mean_file, net.path):
                unseen.append(f"{where}: mean_file {param.mean_file} does not exist")
                param.ClearField("mean_file")
        source = layer.infogain_loss_param.source
        if layer.type == "InfogainLoss" and len(layer.bottom) < 3 and source and not is_here(files, source, net.path):
            unseen.append(f"{where}: infogain_loss_param.source {source} does not exist: the net was not built")
            built = False
    return replace(net, message=message), built


def is_here(files: Files, name: str, beside: str) -> bool:
    """Whether a file can be looked at from here."""
    try:
        return files.find(name, beside=beside) is not None
    except StorageError:  # it is on a file system that Spark reaches
        return False


class _NoRecords(RangeReader):
    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        return iter(())


class Stated(RangeSource):
    """A source with tops that nobody looked up in its data."""

    def __init__(self, source: Source, tops: Tuple[Top, ...]) -> None:
        self.__dict__.update(source.__dict__)
        self._source = source
        self.tops = tops

    @property
    def description(self) -> str:
        return self._source.description

    def parameters(self) -> Any:
        return self._source.parameters()

    def open(self) -> None:
        return

    def count(self) -> int:
        return 0

    def reader(self) -> RangeReader:
        return _NoRecords()
