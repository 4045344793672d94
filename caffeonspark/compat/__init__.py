"""CaffeOnSpark's Python modules by their old names, for programs that were written for it.

>>> import caffeonspark.compat
>>> from com.yahoo.ml.caffe.CaffeOnSpark import CaffeOnSpark
>>> from com.yahoo.ml.caffe.DisplayUtils import show_df, show_network

From then on modules below ``com.yahoo.ml.caffe`` are found, where no others of these names are installed, and a
``caffe.NetSpec`` whose layers have fields of CaffeOnSpark's (``source_class``, ``cos_data_param``, …) has a
``to_proto``.
"""

from __future__ import annotations

from .captions import DFConversions, Vocab, get_image, show_captions
from .display import get_np_array, image_tag, show_df, show_network
from .finder import install
from .udfs import floatarray2doubleUDF, floatarray2doublevectorUDF

__all__ = [
    "DFConversions",
    "Vocab",
    "floatarray2doubleUDF",
    "floatarray2doublevectorUDF",
    "get_image",
    "get_np_array",
    "image_tag",
    "show_captions",
    "show_df",
    "show_network",
]

install()
