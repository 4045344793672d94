"""The top of a TRAIN net's data layer that weighs the samples."""

from __future__ import annotations

__all__ = ["SAMPLE_WEIGHT"]

#: Its name. It weighs where no layer has it as a bottom.
SAMPLE_WEIGHT = "sample_weight"
