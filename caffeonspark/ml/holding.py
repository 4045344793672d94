"""What parts of models ask of the model they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

from ..errors import ConfigError
from ..nets.net import Net

__all__ = ["HoldsNet"]


class HoldsNet:
    """A model with a net of the TEST phase and a model file."""

    _net: Optional[Net]
    uid: str

    def _held(self) -> Net:
        """The net. Raises ConfigError where there is none yet."""
        if self._net is None:
            raise ConfigError(f"{self.uid} holds no net: fit or load one")
        return self._net

    @property
    def caffemodel(self) -> Tuple[bytes, str]:
        """The content of the model file, and how its name ends: ``.caffemodel`` or ``.caffemodel.h5``."""
        raise NotImplementedError

    def _reading(self, blobs: Sequence[str]) -> Net:
        """The part of the net for the blobs, with the names of the columns that fill it."""
        raise NotImplementedError

    def _flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        raise NotImplementedError

    if TYPE_CHECKING:  # of Spark's Params, which come later in the order of bases

        def extractParamMap(self) -> Dict[Any, Any]: ...
