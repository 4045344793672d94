"""Every kind of data source; importing this package makes them known to ``make_source``."""

from . import dataframe, hdf5, image_list, images, lmdb, sequence_file

__all__ = ["dataframe", "hdf5", "image_list", "images", "lmdb", "sequence_file"]
