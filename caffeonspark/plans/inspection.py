"""What planning asks of whatever is going to compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Protocol, Sequence, Tuple

__all__ = ["Inspection", "NetInspector", "SolverInspection"]


@dataclass(frozen=True)
class Inspection:
    """What a look at a net found.

    Attributes
    ----------
    shapes : every blob's shape at the net's own batch size
    flexible : whether the net can be reshaped to another batch size
    batch_axes : for each blob that grows with the batch, its axis and how many entries of it one sample has;
        blobs that do not (losses, accuracies) are missing
    parameters : how many numbers the net learns
    layers : for each layer of the net, in its order, the shapes of its parameters: none where it has none; those that
        layers share are there for each of them
    """

    shapes: Mapping[str, Tuple[int, ...]]
    flexible: bool
    batch_axes: Mapping[str, Tuple[int, int]]
    parameters: int
    layers: Sequence[Sequence[Tuple[int, ...]]]


@dataclass(frozen=True)
class SolverInspection:
    """What a look at a solver found.

    Attributes
    ----------
    layers : (name, shapes of its parameters) of each layer that is saved, the engine's own between them; () where
        that is not known
    model_bytes : how large the parameters in a model file are
    state_bytes : how large the history in a solver state is
    """

    layers: Tuple[Tuple[str, Tuple[Tuple[int, ...], ...]], ...] = ()
    model_bytes: int = 0
    state_bytes: int = 0

    @property
    def learned(self) -> Tuple[Tuple[str, Tuple[Tuple[int, ...], ...]], ...]:
        """The layers that have parameters."""
        return tuple(layer for layer in self.layers if layer[1])


class NetInspector(Protocol):
    """Looks at nets before they are used; every engine does."""

    def layer_types(self) -> Sequence[str]:
        """The layer types it can compute."""

    def weighable_losses(self) -> Sequence[str]:
        """The types of losses in which it can weigh samples."""

    def inspect(self, net: Any, larger: Mapping[str, Tuple[int, ...]], batch: int, where: str) -> Inspection:
        """Look at a net; see ``engines.base.Engine``."""
