"""``caffeonspark predict``: what a net says of image files, on this machine, without Spark."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import re
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ..errors import ConfigError
from ..flags import Flag, FlagTable
from ..nets.text import decoded, printable
from ..settings import FLAGS
from ..storage import Storage, expand, find_file, local_path, scheme

__all__ = ["main"]

_log = logging.getLogger(__name__)

_USAGE = """usage: caffeonspark predict -net deploy.prototxt -model m.caffemodel [FLAGS] IMAGE …
       caffeonspark predict -model FOLDER [FLAGS] IMAGE …

Says what a net makes of image files: of each the classes with the highest scores, the best first. The net is a deploy
net with its weights, or a model that Spark ML saved into a folder of this machine. It computes here, without Spark.
"""

_FLAGS = FlagTable(
    (
        "Flags",
        [
            Flag("net", "text", "", "the net's prototxt, such as a deploy net", "FILE"),
            Flag("model", "text", "", "its weights (.caffemodel, .caffemodel.h5), or a saved model's folder", "PATH"),
            Flag("labels", "text", "", "the names of the classes, one a line", "FILE"),
            Flag("top", "int", 5, "show the N best classes", "N", minimum=1),
            Flag("features", "text", "", "the blob with the scores (default: the net's output)", "BLOB"),
            Flag("transform", "text", "", "with -net: what images go through: 'scale: 0.0039 …'", "FIELDS"),
            Flag(
                "outputFormat",
                "choice",
                "text",
                "text, or json: an object for each image, in a line of its own",
                "text|json",
                choices=("text", "json"),
            ),
            *(FLAGS[name] for name in ("resize", "maxPixels", "engine", "blasKernel")),
        ],
    )
)
#: The flags that are the model's Params.
_PARAMS = ("resize", "maxPixels", "engine", "blasKernel")
#: What ``export`` writes above a deploy net.
_TAKES = re.compile(r"^# input '.*' takes images after -transform '(.*)'$", re.MULTILINE)


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status. Raises CaffeOnSparkError."""
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(f"{_USAGE}\n{_FLAGS.help_text()}")
        return 0 if argv else 1
    words, images = _split(argv)
    given = _FLAGS.parse_args(words)
    values = {flag.name: given.get(flag.name, flag.default) for flag in _FLAGS.values()}
    _check_images(images)
    names = _read_labels(values["labels"]) if values["labels"] else []
    model = _model(values, {name: given[name] for name in _PARAMS if name in given})
    if not names:
        names = list(getattr(model, "labels", ()))
    for number, image in enumerate(images):
        scores = _scores(model, image)
        if values["labels"] and len(names) != len(scores):
            raise ConfigError(
                f"-labels {values['labels']} has {len(names)} names, and the net gives {len(scores)} scores: one name "
                "a line, in the order of the classes"
            )
        best = np.argsort(-scores, kind="stable")[: values["top"]] if len(scores) > 1 else np.array([0])
        show = _as_json if values["outputFormat"] == "json" else _as_text
        if number and values["outputFormat"] == "text":
            print()
        print(show(image, scores, best, names), flush=True)
    return 0


def _split(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The words of flags, and those that name images."""
    flags: List[str] = []
    images: List[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            images.append(word)
            continue
        flags.append(word)
        name, equals, _ = word[1:].partition("=")
        flag = _FLAGS.get(name)
        if flag is None or equals:
            continue
        if rest and (flag.kind != "switch" or rest[0] in ("true", "false")):
            flags.append(rest.pop(0))
    return flags, images


def _check_images(images: Sequence[str]) -> None:
    """Raise ConfigError for what cannot be an image, before anything is computed."""
    if not images:
        raise ConfigError("no image is named: predict takes image files. See -help.")
    for image in images:
        if scheme(image) not in ("", "file"):
            raise ConfigError(f"{image}: predict reads files of this machine: fetch it first")
        path = local_path(image)
        if not os.path.exists(path):
            raise ConfigError(f"{image} does not exist")
        if os.path.isdir(path):
            raise ConfigError(f"{image} is a folder: name the images in it")


def _read_labels(path: str) -> List[str]:
    """The names of classes, one a line."""
    place = find_file(Storage(), os.path.abspath(local_path(expand(path))), "-labels")
    lines = decoded(Storage().read(place)).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ConfigError(f"-labels {path} is empty: give the names of the classes, one a line")
    return [printable(line.strip(), 200) for line in lines]


def _model(values: Mapping[str, Any], params: Dict[str, Any]) -> Any:
    """The model that -net and -model, or -model alone, name."""
    from ..ml.model import CaffeModel, NetModel

    net, path = values["net"], values["model"]
    if not path:
        raise ConfigError("-model is missing: name the weights of -net, or a saved model's folder")
    features = [values["features"]] if values["features"] else []
    if net:
        model: Any = CaffeModel.fromCaffe(net, path, transform=values["transform"], features=features, **params)
        if not values["transform"]:
            _note_transformation(net)
        return model
    if os.path.isfile(local_path(expand(path))):
        raise ConfigError(f"-net is missing: -model {path} is a file of weights, which goes with a net")
    if values["transform"]:
        raise ConfigError("-transform goes with -net: a saved model says itself what its images go through")
    model = NetModel.loadLocal(path)
    for name, value in params.items():
        model._set(**{name: value})
    if features:
        if not isinstance(model, CaffeModel):
            raise ConfigError(f"-features chooses a blob of a CaffeModel, and {path} is a {type(model).__name__}")
        model.setFeatures(features)
    return model


def _note_transformation(net: str) -> None:
    """Say what the net's file says of its images."""
    found = _TAKES.search(decoded(Storage().read(os.path.abspath(local_path(expand(net))))))
    if found is not None:
        _log.warning(
            "caffeonspark: %s says that its images go through -transform '%s', and none is given", net, found.group(1)
        )


def _scores(model: Any, image: str) -> np.ndarray:
    """The numbers of an image's classes, or the one number that is predicted."""
    outputs = model._made().outputs
    path = pathlib.Path(local_path(image))
    if outputs.probability is not None:
        return np.asarray(model.predictProbability([path])[0], np.float64)
    if len(outputs.prediction) > 1:
        raise ConfigError(
            f"the net has {len(outputs.prediction)} outputs ({', '.join(one.name for one in outputs.prediction)}): "
            "-features names the one with the scores"
        )
    return np.atleast_1d(np.asarray(model.predict([path])[0], np.float64))


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _as_text(image: str, scores: np.ndarray, best: np.ndarray, names: Sequence[str]) -> str:
    """The image, and below it a line for each class: its score and its name."""
    lines = [printable(image, 1000)]
    shown = [f"{scores[number]:.4f}" if abs(scores[number]) < 1e4 else f"{scores[number]:.4g}" for number in best]
    width = max(map(len, shown))
    for score, number in zip(shown, best):
        name = f"  {_name(names, int(number))}" if len(scores) > 1 else ""
        lines.append(f"    {score:>{width}}{name}")
    return "\n".join(lines)


def _as_json(image: str, scores: np.ndarray, best: np.ndarray, names: Sequence[str]) -> str:
    if len(scores) == 1:
        return json.dumps({"image": image, "prediction": float(scores[0])}, ensure_ascii=False)
    found: List[Dict[str, Any]] = []
    for number in map(int, best):
        label = {"label": names[number]} if number < len(names) else {}
        found.append({"class": number, **label, "score": float(scores[number])})
    return json.dumps({"image": image, "predictions": found}, ensure_ascii=False)
