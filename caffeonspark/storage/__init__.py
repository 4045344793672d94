"""Files by path or URI: on the local disk, or on any file system that Hadoop's client reaches."""

from .disks import (
    DRIVER_SETTING,
    EXECUTOR_SETTING,
    check_room,
    naming_full_disks,
    reserved,
    scratch_folder,
    temporary_folder,
)
from .expand import expand
from .hadoop import HadoopFiles, java_message
from .local import LocalFiles, special_file, whole_file
from .storage import Storage, all_or_nothing, find_file, spark_path
from .uris import is_local, join, local_path, parent, scheme

__all__ = [
    "DRIVER_SETTING",
    "EXECUTOR_SETTING",
    "HadoopFiles",
    "LocalFiles",
    "Storage",
    "all_or_nothing",
    "check_room",
    "expand",
    "find_file",
    "is_local",
    "java_message",
    "join",
    "local_path",
    "naming_full_disks",
    "parent",
    "reserved",
    "scheme",
    "scratch_folder",
    "spark_path",
    "special_file",
    "temporary_folder",
    "whole_file",
]
