"""Files by path or URI: on the local disk, or on any file system that Spark reaches."""

from .storage import Storage, is_local, java_message, join, local_path, parent, scheme

__all__ = ["Storage", "is_local", "java_message", "join", "local_path", "parent", "scheme"]
