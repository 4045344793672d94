"""The flags as Params of Spark ML."""

from __future__ import annotations

from typing import Any, Dict

from pyspark.ml.param import Param, Params, TypeConverters

from ..api.keywords import FlagParams
from ..flags import Flag
from ..settings import FLAGS, NOT_PARAMS

__all__ = ["FLAG_NAMES", "CaffeParams"]

FLAG_NAMES = [name for name in FLAGS if name not in NOT_PARAMS]


class CaffeParams(FlagParams, Params):
    """A Param for every flag that means something in a pipeline."""

    def flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        return {name: self.getOrDefault(name) for name in FLAG_NAMES if self.isDefined(self.getParam(name))}


def _converter(flag: Flag) -> Any:
    if flag.alone is not None:
        return flag.convert  # True, as well as text
    converters = {
        "int": TypeConverters.toInt,
        "float": TypeConverters.toFloat,
        "switch": TypeConverters.toBoolean,
        "names": TypeConverters.toListString,
    }
    return converters.get(flag.kind, TypeConverters.toString)


for _name in FLAG_NAMES:
    _flag = FLAGS[_name]
    setattr(CaffeParams, _name, Param(Params._dummy(), _name, _flag.help, _converter(_flag)))
