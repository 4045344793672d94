"""Looking at process trees through /proc."""

import os
import pathlib
import signal


def parent_and_state(pid):
    """(parent's pid, state letter) or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def tree(root):
    """The pids of a process's descendants: {pid: parent}."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = parent_and_state(int(name))
            if found is not None and found[1] != "Z":
                parents[int(name)] = found[0]
    below = {}
    new = {root}
    while new:
        new = {pid: parent for pid, parent in parents.items() if parent in new and pid not in below}
        below.update(new)
    return below


def executors(root):
    """The executor JVMs under a driver."""
    return sorted(pid for pid in tree(root) if "CoarseGrainedExecutorBackend" in command(pid))


def daemons(root):
    """The processes that fork executors' Python workers."""
    below = tree(root)
    jvms = set(executors(root))
    return sorted(pid for pid in below if below[pid] in jvms and "pyspark.daemon" in command(pid))


def workers(root):
    """The Python workers of executors, those that Spark keeps for later tasks too: forked by their daemon."""
    below = tree(root)
    parents = set(daemons(root))
    return sorted(pid for pid in below if below[pid] in parents)


def ranks(root):
    """The workers that train: parents of the sidecars."""
    return sorted(set(workers(root)) & set(tree(root).values()))


def sidecars(root):
    """The ranks' sidecars: the children of ranks that ignore SIGTERM."""
    return [pid for pid in _helpers(root) if _ignores(pid, signal.SIGTERM)]


def decoders(root):
    """The ranks' processes that decode images: their other children."""
    return [pid for pid in _helpers(root) if not _ignores(pid, signal.SIGTERM)]


def _helpers(root):
    below = tree(root)
    parents = set(ranks(root))
    return sorted(pid for pid in below if below[pid] in parents)


def _ignores(pid, number):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    mask = int(text.partition("SigIgn:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def alive(pid):
    found = parent_and_state(pid)
    return found is not None and found[1] != "Z"
