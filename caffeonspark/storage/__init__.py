"""Files by path or URI: on the local disk, or on any file system that Hadoop's client reaches."""

from .hadoop import HadoopFiles, java_message
from .local import LocalFiles, whole_file
from .storage import Storage, all_or_nothing, find_file
from .uris import is_local, join, local_path, parent, scheme

__all__ = [
    "HadoopFiles",
    "LocalFiles",
    "Storage",
    "all_or_nothing",
    "find_file",
    "is_local",
    "java_message",
    "join",
    "local_path",
    "parent",
    "scheme",
    "whole_file",
]
