"""Caffe's language: its messages, prototxt files, and which layers a phase of a net has. Needs no Caffe.

For users it has nets that are made by a call, ``mlp``, ``lenet`` and ``stacked_autoencoder``; they are loaded when they
are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    from .models import lenet as lenet
    from .models import mlp as mlp
    from .models import stacked_autoencoder as stacked_autoencoder

__all__ = ["lenet", "mlp", "stacked_autoencoder"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from . import models

    value: object = getattr(models, name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
