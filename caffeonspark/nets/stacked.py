"""A deep autoencoder taken apart: for each of its encoders the small net that pre-trains it with its own decoder.

Encoder k is the k-th inner product and what follows it, decoder k the k-th from the end: it makes again what encoder k
takes. ``nets.stacked_autoencoder`` makes such nets; others may be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

from ..errors import ConfigError
from .columns import data_of
from .net import Net
from .schema import NetParameter

__all__ = ["Pair", "encoders", "pairs_of"]

_BATCH = 64  # in the Input layer's shape; estimators have batchSize


@dataclass(frozen=True)
class Pair:
    """An encoder and its decoder.

    Attributes
    ----------
    code : the blob that the encoder makes
    net : NetParameter that trains the two; its data is the whole net's, or the code of the pair before
    layers : the names of their layers
    """

    code: str
    net: Any
    layers: Tuple[str, ...]


def pairs_of(net: Net) -> List[Pair]:
    """The pairs of an autoencoder, from the one at its data on.

    Parameters
    ----------
    net : in the TRAIN phase

    Raises
    ------
    ConfigError
        Where it is no autoencoder of inner products, or not its own mirror image.
    """
    data = data_of(net)
    if len(data.blobs) != 1:
        names = ", ".join(blob.name for blob in data.blobs)
        raise ConfigError(f"{net.path}: an autoencoder takes one blob and makes it again, and this net takes {names}")
    source = data.blobs[0].name
    chain, losses = _chain(net, data.rest.message.layer, source)
    parts = _parts(chain)
    if not parts or len(parts) % 2:
        raise ConfigError(
            f"{net.path}: as many InnerProduct layers encode as decode, and there are {len(parts)}: "
            "nets.stacked_autoencoder(layers=[…]) makes such a net"
        )
    depth = len(parts) // 2
    encoding, decoding = parts[:depth], parts[: depth - 1 : -1]
    for number in range(1, depth):
        _check_mirrored(net, encoding[number - 1], decoding[number])
    inputs = [layer for layer in net.message.layer if source in layer.top and not layer.bottom]
    pairs: List[Pair] = []
    for number, (encoder, decoder) in enumerate(zip(encoding, decoding)):
        made = NetParameter(name=f"{net.message.name or 'autoencoder'}_{number + 1}")
        if number:
            made.layer.append(_input(pairs[-1].code, _size(encoding[number - 1])))
            made.layer.extend([*encoder, *_decoder(decoder, encoder[-1].top[0])])
            made.layer.append(_loss(made.layer, pairs[-1].code))
        else:
            made.layer.extend([*inputs, *encoder, *_decoder(decoder, encoder[-1].top[0]), *losses])
        learned = tuple(layer.name for layer in (*encoder, *decoder))
        pairs.append(Pair(encoder[-1].top[0], made, learned))
    return pairs


def encoders(net: Net) -> Any:
    """NetParameter of an autoencoder's data and encoders, without what makes the data again."""
    pairs = pairs_of(net)
    chain, _ = _chain(net, data_of(net).rest.message.layer, data_of(net).blobs[0].name)
    parts = _parts(chain)[: len(pairs)]
    made = NetParameter(name=net.message.name)
    made.layer.extend(layer for layer in net.message.layer if not layer.bottom)
    made.layer.extend(layer for part in parts for layer in part)
    return made


def _chain(net: Net, layers: Sequence[Any], source: str) -> Tuple[List[Any], List[Any]]:
    """The layers that take each other's top, from the data on, and the losses."""
    blob, chain, losses = source, [], []
    for layer in layers:
        if source in layer.bottom and len(layer.bottom) > 1:
            losses.append(layer)
        elif list(layer.bottom) == [blob] and len(layer.top) == 1:
            chain.append(layer)
            blob = layer.top[0]
        else:
            raise ConfigError(
                f"{net.where(layer)} ({layer.type}) takes {', '.join(layer.bottom) or 'nothing'}: the layers of an "
                f"autoencoder that is trained layer by layer follow one another, and here '{blob}' comes before"
            )
    return chain, losses


def _parts(chain: Sequence[Any]) -> List[List[Any]]:
    """The chain cut before each inner product; what stands before the first goes with it."""
    parts: List[List[Any]] = []
    before: List[Any] = []
    for layer in chain:
        if layer.type == "InnerProduct":
            parts.append(before)
            before = []
        (parts[-1] if parts else before).append(layer)
    return parts


def _product(part: Sequence[Any]) -> Any:
    return next(layer for layer in part if layer.type == "InnerProduct")


def _size(part: Sequence[Any]) -> int:
    return int(_product(part).inner_product_param.num_output)


def _check_mirrored(net: Net, encoder: Sequence[Any], decoder: Sequence[Any]) -> None:
    """Raise ConfigError unless the decoder makes numbers such as the encoder does."""
    mirrored = f"'{_product(encoder).name}', of which it is the mirror image,"
    sizes = [_size(part) for part in (encoder, decoder)]
    if sizes[0] != sizes[1]:
        raise ConfigError(f"{net.where(decoder[0])} makes {sizes[1]} numbers, and {mirrored} {sizes[0]}")
    kinds = [[layer.type for layer in part if layer.type != "Dropout"][-1] for part in (encoder, decoder)]
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"{net.where(decoder[-1])}: '{decoder[0].name}' ends in {kinds[1]}, and {mirrored} in {kinds[0]}"
        )


def _input(blob: str, size: int) -> Any:
    layer = NetParameter().layer.add(name="data", type="Input", top=[blob])
    layer.input_param.shape.add().dim.extend((_BATCH, size))
    return layer


def _decoder(decoder: Sequence[Any], code: str) -> List[Any]:
    """The decoder on the code itself."""
    first = type(decoder[0])()
    first.CopyFrom(decoder[0])
    first.bottom[:] = [code]
    return [first, *decoder[1:]]


def _loss(layers: Any, target: str) -> Any:
    """How far the last layer's numbers are from the target, of which that layer's type tells the kind.

    What a Sigmoid made is between 0 and 1: its cross entropy, which computes the Sigmoid itself. A Dropout at the end
    is for what comes next in the whole net, and no part of what is made again.
    """
    while layers[-1].type == "Dropout":
        del layers[-1]
    last = layers[-1]
    kind, bottom = "EuclideanLoss", last.top[0]
    if last.type == "Sigmoid":
        kind = "SigmoidCrossEntropyLoss"
        bottom = last.bottom[0]
        del layers[-1]
    return NetParameter().layer.add(name="loss", type=kind, bottom=[bottom, target], top=["loss"])
