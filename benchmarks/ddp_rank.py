"""One rank of PyTorch's DistributedDataParallel over gloo: a program, started in the rivals' environment.

    ddp_rank.py REQUEST RANK

REQUEST is a JSON file:

    folder      of files NAME.npy: train_images (uint8), train_labels, test_images, test_labels; of some nets mean
    meeting     a file that the ranks meet by; it is not there yet
    net         of NETS
    ranks       how many; with "alone" they do not know of each other
    batch       of a rank
    iterations, skipped   how many, and the first ones that are not timed
    rate        base_lr
    seed        of the weights and of the ranks' order
    until, every, when given: validate every so many iterations, and end at this accuracy

Each rank prints a line of JSON: {"milliseconds": of an iteration, "curve": [[iteration, seconds of training,
accuracy]…]}.

The data is in memory as one tensor and a batch is a slice of it: what a DataLoader would cost is not counted. The nets,
their fillers and the solvers are those of the project's prototxts; PyTorch's momentum has the rate outside, which makes
a difference only while the rate changes.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
from typing import Any, Dict, NamedTuple

import numpy as np
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Net(NamedTuple):
    """Layers in order, what images are multiplied by or the mean that is taken off them, and the solver's fields."""

    layers: Any
    scale: float
    mean: bool
    weight_decay: float
    gamma: float
    power: float


def lenet() -> nn.Sequential:
    return nn.Sequential(
        _xavier(nn.Conv2d(1, 20, 5)),
        nn.MaxPool2d(2, 2),
        _xavier(nn.Conv2d(20, 50, 5)),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        _xavier(nn.Linear(800, 500)),
        nn.ReLU(inplace=True),
        _xavier(nn.Linear(500, 10)),
    )


def cifar10_quick() -> nn.Sequential:
    return nn.Sequential(
        _gaussian(nn.Conv2d(3, 32, 5, padding=2), 0.0001),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(inplace=True),
        _gaussian(nn.Conv2d(32, 32, 5, padding=2), 0.01),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        _gaussian(nn.Conv2d(32, 64, 5, padding=2), 0.01),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        _gaussian(nn.Linear(1024, 64), 0.1),
        _gaussian(nn.Linear(64, 10), 0.1),
    )


def _xavier(layer: Any) -> Any:
    """Caffe's filler: uniform with the variance 1 / inputs."""
    bound = (3 / layer.weight[0].numel()) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


def _gaussian(layer: Any, deviation: float) -> Any:
    nn.init.normal_(layer.weight, 0, deviation)
    nn.init.zeros_(layer.bias)
    return layer


NETS = {
    "lenet_lmdb": Net(lenet, 0.00390625, False, 0.0005, 0.0001, 0.75),
    "cifar10_quick": Net(cifar10_quick, 1.0, True, 0.004, 0.0, 0.0),
}


class Data:
    """Images and labels in memory, as the net takes them."""

    def __init__(self, folder: pathlib.Path, phase: str, net: Net, mean: np.ndarray) -> None:
        self.images = torch.from_numpy(np.load(folder / f"{phase}_images.npy"))
        self.labels = torch.from_numpy(np.load(folder / f"{phase}_labels.npy").astype(np.int64))
        self._scale, self._mean = net.scale, torch.from_numpy(mean)

    def part(self, rank: int, ranks: int) -> None:
        """Keep a rank's contiguous range."""
        own = slice(len(self.labels) * rank // ranks, len(self.labels) * (rank + 1) // ranks)
        self.images, self.labels = self.images[own], self.labels[own]

    def batch(self, number: int, size: int) -> Any:
        """(images, labels) of the number-th batch, around and around."""
        start = number * size % len(self.labels)
        images, labels = self.images[start : start + size], self.labels[start : start + size]
        if len(labels) < size:
            left = size - len(labels)
            images = torch.cat([images, self.images[:left]])
            labels = torch.cat([labels, self.labels[:left]])
        return (images.float() - self._mean) * self._scale, labels


def solver_of(net: Net, model: Any, rate: float) -> Any:
    """Caffe's SGD with the nets' lr_mult, 1 for weights and 2 for biases."""
    weights = [one for one in model.parameters() if one.dim() > 1]
    biases = [one for one in model.parameters() if one.dim() == 1]
    solver = torch.optim.SGD([{"params": weights}, {"params": biases}], rate, 0.9, weight_decay=net.weight_decay)
    set_rate(solver, rate)
    return solver


def set_rate(solver: Any, rate: float) -> None:
    for group, multiplier in zip(solver.param_groups, (1, 2)):
        group["lr"] = multiplier * rate


def accuracy(model: Any, data: Data, batch: int = 100) -> float:
    right = 0
    model.eval()
    with torch.no_grad():
        for number in range(len(data.labels) // batch):
            images, labels = data.batch(number, batch)
            right += int((model(images).argmax(1) == labels).sum())
    model.train()
    return right / (len(data.labels) // batch * batch)


def train(request: Dict[str, Any], rank: int) -> Dict[str, Any]:
    folder, net, ranks = pathlib.Path(request["folder"]), NETS[request["net"]], int(request["ranks"])
    torch.set_num_threads(1)
    torch.manual_seed(request["seed"])
    mean = np.load(folder / "mean.npy") if net.mean else np.zeros(1, np.float32)
    data, test = Data(folder, "train", net, mean), Data(folder, "test", net, mean)
    data.part(rank, ranks)
    model = net.layers()
    plain = model
    if not request["alone"]:
        meeting = f"file://{request['meeting']}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
        model = DistributedDataParallel(model)
    rate = float(request["rate"])
    solver = solver_of(net, model, rate)
    loss_of = nn.CrossEntropyLoss()
    seconds, begun, curve = 0.0, 0.0, []  # type: float, float, List[List[float]]
    every = request.get("every", 0)
    for iteration in range(int(request["iterations"]) + 1):
        if every and iteration and iteration % every == 0:
            curve.append([iteration, seconds, accuracy(plain, test)])  # each rank, so that none runs ahead
            if curve[-1][2] >= request["until"]:
                break
        if iteration == request["iterations"]:
            break
        if iteration == request["skipped"]:
            begun = seconds
        begin = time.perf_counter()
        set_rate(solver, rate * (1 + net.gamma * iteration) ** -net.power)
        images, labels = data.batch(iteration, int(request["batch"]))
        solver.zero_grad()
        loss_of(model(images), labels).backward()
        solver.step()
        seconds += time.perf_counter() - begin
    timed = iteration - int(request["skipped"])
    return {"milliseconds": (seconds - begun) / timed * 1000 if timed > 0 else 0.0, "curve": curve}


if __name__ == "__main__":
    found = train(json.loads(pathlib.Path(sys.argv[1]).read_text()), int(sys.argv[2]))
    print(json.dumps(found), flush=True)
    os._exit(0)  # gloo's threads end the process with an error when Python's way out is taken
