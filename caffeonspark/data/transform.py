"""Caffe's DataTransformer (src/caffe/data_transformer.cpp) in numpy, equal to the bit.

The value of a pixel is ``(pixel - mean) * scale`` in float32, the mean taken from the mean file at the
pixel's position in the whole image or from the channel's ``mean_value``; then the crop, at random offsets in
the TRAIN phase and centred in the TEST phase; then, with ``mirror``, a left-right flip of every second
image on average, in both phases. Only the draws differ from Caffe's: here they are a function of seed,
rank, layer and batch, so that a resumed run draws them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Tuple

import numpy as np

from ..errors import ConfigError

__all__ = ["Transform", "make_transform"]

Shape = Tuple[int, int, int]


@dataclass(frozen=True)
class Transform:
    """What one top does to its images.

    Attributes
    ----------
    scale : float
    mirror : bool
    crop : int, side of the square crop, 0 for none
    mean : float32 array, (channels, height, width) from a mean file or (channels or 1, 1, 1) from
        ``mean_value``, or None
    train : bool, whether crops are random
    """

    scale: float = 1.0
    mirror: bool = False
    crop: int = 0
    mean: Optional[np.ndarray] = None
    train: bool = False

    @property
    def is_random(self) -> bool:
        """Whether the result depends on random draws."""
        return self.mirror or (self.train and self.crop > 0)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after the crop of an image of ``shape``."""
        return (shape[0], self.crop, self.crop) if self.crop else shape

    def problem_with(self, shape: Shape) -> Optional[str]:
        """Why an image of ``shape`` = (channels, height, width) cannot be transformed, or None."""
        if self.crop > min(shape[1], shape[2]):
            return f"is {shape[1]}x{shape[2]}, smaller than crop_size {self.crop}"
        if self.mean is not None and self.mean.shape[0] not in (1, shape[0]):
            return f"has {shape[0]} channels where the mean has {self.mean.shape[0]}"
        if self.mean is not None and self.mean.shape[1:] != (1, 1) and self.mean.shape != shape:
            size, other = ("x".join(map(str, one)) for one in (shape, self.mean.shape))
            return f"is {size} where the mean file is {other}: name the mean file of this data"
        return None

    def apply(self, image: np.ndarray, out: np.ndarray, draw: Tuple[float, float, float]) -> None:
        """Transform one image.

        Parameters
        ----------
        image : uint8 or float32, (channels, height, width)
        out : float32, ``output_shape``
        draw : three numbers in [0, 1) for the vertical offset, the horizontal offset and the mirror
        """
        mean = self.mean
        if self.crop:
            room = (image.shape[1] - self.crop, image.shape[2] - self.crop)
            if self.train:
                top, left = int(draw[0] * (room[0] + 1)), int(draw[1] * (room[1] + 1))
            else:
                top, left = room[0] // 2, room[1] // 2
            window = (slice(None), slice(top, top + self.crop), slice(left, left + self.crop))
            image = image[window]
            if mean is not None and mean.shape[1:] != (1, 1):
                mean = mean[window]
        target = out[:, :, ::-1] if self.mirror and draw[2] >= 0.5 else out
        self._arithmetic(image, mean, target)

    def apply_whole(self, images: np.ndarray, out: np.ndarray) -> None:
        """Transform (n, channels, height, width) at once; only where neither crop nor mirror is asked for."""
        self._arithmetic(images, self.mean, out)

    def _arithmetic(self, pixels: np.ndarray, mean: Optional[np.ndarray], out: np.ndarray) -> None:
        # dtype is given so that uint8 pixels become float32 before the operation, as in Caffe
        scale = np.float32(self.scale)
        if mean is not None:
            np.subtract(pixels, mean, out=out, dtype=np.float32)
            np.multiply(out, scale, out=out)
        else:
            np.multiply(pixels, scale, out=out, dtype=np.float32, casting="unsafe")


def make_transform(param: Any, mean: Optional[np.ndarray], train: bool, where: str) -> Transform:
    """A Transform from a ``TransformationParameter``.

    Parameters
    ----------
    param : TransformationParameter
    mean : the mean file's array, (channels, height, width), or None
    train : whether the phase is TRAIN
    where : file and layer, for errors
    """
    if mean is not None and len(param.mean_value):
        raise ConfigError(f"{where}: give mean_file or mean_value, not both")
    if not np.isfinite([param.scale, *param.mean_value]).all():
        raise ConfigError(f"{where}: scale and mean_value are finite numbers")
    if len(param.mean_value):
        mean = np.array(list(param.mean_value), np.float32).reshape(-1, 1, 1)
    return Transform(
        scale=float(param.scale), mirror=bool(param.mirror), crop=int(param.crop_size), mean=mean, train=train
    )
