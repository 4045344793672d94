"""Looking at a net before it is used, in a process of its own, where a failed native CHECK does no harm."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, Callable, Dict, List, Mapping, Tuple

from ...errors import ConfigError
from ...nets.schema import NetParameter
from ...plans.inspection import Inspection
from ...process import fork
from .crash import fatal_message
from .pycaffe import caffe, prototxt, unique

__all__ = ["inspect_net"]


def inspect_net(net: Any, larger: Mapping[str, Tuple[int, ...]], batch: int, where: str) -> Inspection:
    """What ``Engine.inspect`` says. Raises ConfigError with the CHECK's own words when Caffe refuses the net."""
    plain = NetParameter()
    plain.CopyFrom(net)
    for layer in plain.layer:  # nobody looks at the values, and random ones take time
        for field in ("convolution_param", "inner_product_param", "embed_param"):
            if layer.HasField(field):
                getattr(layer, field).ClearField("weight_filler")
    with prototxt(plain) as path:
        output, errors, status = _in_child(lambda send: _report_shapes(path, int(plain.state.phase), larger, send))
    stages = [json.loads(line) for line in output.decode().splitlines()]
    if not stages:
        raise ConfigError(f"{where}: Caffe refuses the net: {_reason(errors, status)}")
    return _inspection(stages, batch)


def _inspection(stages: List[Dict[str, Any]], batch: int) -> Inspection:
    """What the child found at the net's own batch size and, where it survived that, at a larger one."""
    shapes = {name: tuple(shape) for name, shape in stages[0]["blobs"].items()}
    flexible = len(stages) > 1
    axes: Dict[str, Tuple[int, int]] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            grown = stages[1]["blobs"][name][axis] - size if flexible else int(size == batch)
            if grown > 0:
                axes[name] = (axis, grown)
                break
    return Inspection(shapes, flexible, axes, int(stages[0]["parameters"]))


def _report_shapes(path: str, phase: int, larger: Mapping[str, Tuple[int, ...]], send: Callable[[bytes], None]) -> None:
    net = caffe.Net(path, phase)
    for reshaping in (False, True):
        if reshaping:
            for name, shape in larger.items():
                net.blobs[name].reshape(*shape)
            net.reshape()
        found = {name: list(blob.data.shape) for name, blob in net.blobs.items()}
        parameters = sum(int(blob.count) for blob in unique([blob for blobs in net.params.values() for blob in blobs]))
        send(json.dumps({"blobs": found, "parameters": parameters}).encode() + b"\n")


def _reason(errors: bytes, status: int) -> str:
    """The words of a failed CHECK, or what else is known."""
    lines = errors.decode(errors="replace").strip().splitlines()
    message = fatal_message(lines)
    if message:
        return message
    if os.WIFSIGNALED(status):
        return f"its process ended with signal {os.WTERMSIG(status)}"
    return lines[-1] if lines else f"its process ended with status {status}"


def _in_child(run: Callable[[Callable[[bytes], None]], None], timeout: float = 300.0) -> Tuple[bytes, bytes, int]:
    """Run a function in a forked process: what it sent, what it wrote to standard error, its wait status."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()

    def child() -> None:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.dup2(err_write, 2)
        run(lambda data: _write_all(out_write, data))

    pid = fork(child, keep=(out_write, err_write))
    os.close(out_write)
    os.close(err_write)
    collected = {out_read: b"", err_read: b""}
    deadline = time.monotonic() + timeout
    try:
        left = [out_read, err_read]
        while left:
            ready, _, _ = select.select(left, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
            for fd in ready:
                piece = os.read(fd, 1 << 16)
                collected[fd] += piece
                if not piece:
                    left.remove(fd)
    finally:
        os.close(out_read)
        os.close(err_read)
        _, status = os.waitpid(pid, 0)
    return collected[out_read], collected[err_read], status


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
