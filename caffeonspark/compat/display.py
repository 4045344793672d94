"""What CaffeOnSpark's notebooks show: rows of images, and a net as a graph. Drawn here, with no other program."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

import numpy as np

from ..causes import explained
from ..data.decode import MAX_PIXELS, CannotDecode, decode_image
from ..errors import ConfigError
from ..nets.given import net_of_spec
from ..nets.prototxt import parse_net

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["HTML", "get_np_array", "image_tag", "show_df", "show_network"]


class HTML(str):
    """Text that notebooks show as a part of a page."""

    def _repr_html_(self) -> str:
        return str(self)


def get_np_array(row: Any) -> np.ndarray:
    """The pixels of a row of a DataFrame of images: uint8, (height, width), or (height, width, channels) in Caffe's
    order blue, green, red. Raises ConfigError where there are none."""
    fields = row.asDict()
    data = fields.get("data")
    if not isinstance(data, (bytes, bytearray)):
        raise ConfigError(f"a row to be shown has no column 'data' of bytes; it has {', '.join(fields)}")
    if fields.get("encoded") or not fields.get("height") or not fields.get("width"):
        try:
            pixels = decode_image(bytes(data), 0, True, MAX_PIXELS)
        except CannotDecode as e:
            raise ConfigError(f"the image of row '{fields.get('id', '')}' cannot be shown: {e}") from None
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)).squeeze()
    height, width = int(fields["height"]), int(fields["width"])
    channels = int(fields.get("channels") or 1)
    if len(data) != height * width * channels:
        raise ConfigError(
            f"the image of row '{fields.get('id', '')}' has {len(data)} bytes, not {height}x{width}x{channels}"
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.frombuffer(data, np.uint8).reshape(shape)


def image_tag(np_array: np.ndarray) -> str:
    """An ``<img>`` with a picture of these pixels, as ``get_np_array`` gives them."""
    from PIL import Image

    pixels = np.asarray(np_array, np.uint8)
    image = Image.fromarray(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1]))
    content = io.BytesIO()
    image.save(content, format="png")
    return f"<img src='data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}' />"


@explained()
def show_df(df: DataFrame, nrows: int = 10) -> HTML:
    """A table of the first rows of a DataFrame of images, with ids, labels and pictures, for a notebook to show.

    Parameters
    ----------
    df : with the columns of the tools: ``id``, ``label`` and ``data``; ``height``, ``width``, ``channels`` and
        ``encoded`` where the data is no image file
    nrows : how many, at most

    Raises
    ------
    ConfigError
        Where there is no image in a row.
    """
    lines = ["<table><tr><th>Index</th><th>Label</th><th>Image</th></tr>"]
    for number, row in enumerate(df.take(nrows)):
        fields = row.asDict()
        texts = fields.get("id", fields.get("SampleID", number)), fields.get("label", "")
        cells = [*(html.escape(str(text)) for text in texts), image_tag(get_np_array(row))]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return HTML("\n".join([*lines, "</table>"]))


def show_network(net: Any, rankdir: str = "LR") -> HTML:
    """A net as a graph of its layers, for a notebook to show.

    Parameters
    ----------
    net : the path of its prototxt, a NetParameter, or a ``caffe.NetSpec``
    rankdir : LR from left to right, TB from top to bottom

    Raises
    ------
    ConfigError
        For a file that is no net, and for other directions.
    """
    if rankdir not in ("LR", "TB"):
        raise ConfigError(
            f"show_network: rankdir is LR (from left to right) or TB (from top to bottom), not {rankdir!r}"
        )
    if hasattr(net, "to_proto"):
        message = net_of_spec(net)
    elif hasattr(net, "DESCRIPTOR"):
        message = net
    else:
        try:
            with open(net, "rb") as f:
                message = parse_net(f.read(), str(net))
        except OSError as e:
            raise ConfigError(f"show_network: {net}: {e.strerror}") from None
    return HTML(_svg(list(message.layer), rankdir == "LR"))


_WIDTH, _HEIGHT, _GAP = 170, 44, 36  # of a layer's box, and what is between two, in pixels


def _svg(layers: Sequence[Any], across: bool) -> str:
    places, edges = _places(layers)
    step = (_WIDTH + _GAP, _HEIGHT + _GAP)

    def corner(number: int) -> Tuple[int, int]:
        rank, lane = places[number]
        return (rank * step[0], lane * step[1]) if across else (lane * step[0], rank * step[1])

    size = [max((corner(number)[axis] for number in places), default=0) + step[axis] for axis in (0, 1)]
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{size[0]}' height='{size[1]}' font-family='sans-serif'>"]
    for start, end, blob in edges:
        (x1, y1), (x2, y2) = corner(start), corner(end)
        x1, y1 = (x1 + _WIDTH, y1 + _HEIGHT // 2) if across else (x1 + _WIDTH // 2, y1 + _HEIGHT)
        x2, y2 = (x2, y2 + _HEIGHT // 2) if across else (x2 + _WIDTH // 2, y2)
        parts.append(
            f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='#888'><title>{html.escape(blob)}</title></line>"
        )
    for number, layer in enumerate(layers):
        x, y = corner(number)
        parts.append(
            f"<g><title>{html.escape(f'{layer.name} ({layer.type})')}</title>"
            f"<rect x='{x}' y='{y}' width='{_WIDTH}' height='{_HEIGHT}' rx='6' fill='#e8eef7' stroke='#446'/>"
            f"<text x='{x + 8}' y='{y + 18}' font-size='13'>{html.escape(layer.name[:22])}</text>"
            f"<text x='{x + 8}' y='{y + 35}' font-size='11' fill='#555'>{html.escape(layer.type[:24])}</text></g>"
        )
    return "".join([*parts, "</svg>"])


def _places(layers: Sequence[Any]) -> Tuple[Dict[int, Tuple[int, int]], List[Tuple[int, int, str]]]:
    """For each layer its rank, one behind those it takes blobs from, and its lane there; and the lines between them.

    Layers of both phases may make a blob: all of them are joined to those that take it.
    """
    makers: Dict[str, List[int]] = {}
    ranks: List[int] = []
    edges: List[Tuple[int, int, str]] = []
    for number, layer in enumerate(layers):
        before = [(maker, str(blob)) for blob in layer.bottom for maker in makers.get(blob, [])]
        edges += [(maker, number, blob) for maker, blob in before]
        ranks.append(max((ranks[maker] + 1 for maker, _ in before), default=0))
        for top in layer.top:
            others = makers.get(top, [])
            in_other_phase = not layer.bottom and not any(layers[other].bottom for other in others)
            makers[top] = [*others, number] if in_other_phase else [number]
    lanes: Dict[int, int] = {}
    places = {}
    for number, rank in enumerate(ranks):
        places[number] = (rank, lanes.get(rank, 0))
        lanes[rank] = lanes.get(rank, 0) + 1
    return places, edges
