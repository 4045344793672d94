"""A deep autoencoder by SGD, L-BFGS, averaging and elastic averaging: reconstruction loss over time, and the figure."""

from __future__ import annotations

import pathlib
import re
from typing import Dict, List, NamedTuple, Tuple

from .common import BUILD, ROOT, SHORT, mnist_lmdbs
from .results import Result
from .trainings import Training, train

RANKS, BATCH = 2, 100
ROWS = 1_000 if SHORT else 10_000
SECONDS = 20.0 if SHORT else 240.0
FIGURE = (BUILD if SHORT else ROOT / "docs" / "images") / "autoencoder.png"
OUTPUT = "cross_entropy_loss"


class Side(NamedTuple):
    """How it is trained.

    Attributes
    ----------
    solver : fields of the solver
    every : iterations between two validations
    flags : more flags
    """

    solver: str
    every: int
    flags: Dict[str, object]


SGD = 'type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" '
SIDES: Dict[str, Side] = {
    "SGD, all_reduce": Side(SGD, 20, {}),
    "SGD, average, T = 10": Side(SGD, 20, {"sync": "average", "syncInterval": 10}),
    "SGD, elastic, T = 10": Side(SGD, 20, {"sync": "elastic", "syncInterval": 10}),
    "L-BFGS": Side('type: "LBFGS" ', 1, {}),
}


def some_digits(rows: int) -> pathlib.Path:
    """An LMDB of the first digits for training."""
    from caffeonspark.tools import datasets

    path = BUILD / f"mnist_{rows}_lmdb"
    if not path.exists():
        from dataset_paths import mnist_folder
        from make_mnist import read_mnist

        images, labels = read_mnist(str(mnist_folder()))["train"]
        datasets.write_lmdb(str(path), images[:rows].reshape(-1, 1, 28, 28), labels[:rows])
    return path


def prepare(name: str, side: Side) -> str:
    """The prototxts of a side: the project's autoencoder, over some of the digits, tested on others; the solver's
    path."""
    folder = mnist_lmdbs()
    text = (ROOT / "prototxt" / "mnist_autoencoder_train_test.prototxt").read_text()
    text = text.replace("../data/mnist_train_lmdb", str(some_digits(ROWS)), 1).replace("../data/", f"{folder}/")
    text = re.sub(r"batch_size: \d+", f"batch_size: {BATCH}", text)
    (BUILD / f"{name}.prototxt").write_text(text)
    path = BUILD / f"{name}_solver.prototxt"
    path.write_text(
        f'net: "{BUILD}/{name}.prototxt" {side.solver} weight_decay: 0.0005 max_iter: 1000000 random_seed: 1 '
        f'test_interval: {side.every} test_iter: {5 if SHORT else 20} test_state {{ stage: "test-on-test" }} '
        "snapshot_after_train: false solver_mode: CPU\n"
    )
    return str(path)


def curve(training: Training) -> List[Tuple[float, float]]:
    """(seconds in iterations, loss) of each validation."""
    return [(training.seconds_at(at), loss) for at, loss in training.tests(OUTPUT)]


def draw(curves: Dict[str, List[Tuple[float, float]]], path: pathlib.Path) -> None:
    """The losses over the seconds, in one figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        seconds, losses = zip(*points)
        axes.plot(seconds, losses, marker="o", markersize=2.5, linewidth=1, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("seconds in iterations")
    axes.set_ylabel("cross entropy of a test row")
    axes.set_title(f"Autoencoder 784-1000-500-250-30, {ROWS:,} digits, {RANKS} ranks", fontsize=10)
    axes.grid(alpha=0.2, which="both")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(path), dpi=100)


def run() -> List[Result]:
    curves: Dict[str, List[Tuple[float, float]]] = {}
    rows = []
    for number, (name, side) in enumerate(SIDES.items()):
        file = f"autoencoder_{number}"
        solver = prepare(file, side)

        def enough(training: Training) -> bool:
            newest = max((one["training"] for one in training.of("pace")), default=0.0)
            return newest >= SECONDS

        training = train(file, solver, RANKS, side.flags, enough, 2.5 * SECONDS + 60)
        curves[name] = curve(training)
        seconds, loss = curves[name][-1]
        rows.append((name, (loss, seconds, f"{training.tests(OUTPUT)[-1][0]}")))
    draw(curves, FIGURE)
    about = (
        f"784-1000-500-250-30 and back, {ROWS:,} MNIST digits, {RANKS} ranks, batch {BATCH} a rank, one BLAS thread "
        f"each, about {SECONDS:g} s in iterations each; the loss of {500 if SHORT else 2000:,} other digits; figure: "
        f"{FIGURE.name}"
    )
    columns = ("cross entropy", "after s", "iterations")
    return [Result("autoencoder", "A deep autoencoder", about, columns, tuple(rows))]
