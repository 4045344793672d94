"""Which layer it is that Caffe refuses: a failed native CHECK ends the process, and its words name none."""

from __future__ import annotations

from typing import Any, Callable, Optional

__all__ = ["refusing_layer"]


def refusing_layer(net: Any, why: str, refusal: Callable[[Any], str]) -> Optional[Any]:
    """The first layer with which Caffe refuses the beginning of a net; None where that has other reasons.

    Parameters
    ----------
    net : NetParameter that is refused, of one phase
    why : the words of its refusal
    refusal : what Caffe says of a net, "" of one that it takes
    """
    taken, refused, words = 0, len(net.layer), why
    while refused - taken > 1:
        count = (taken + refused) // 2
        beginning = type(net)()
        beginning.CopyFrom(net)
        del beginning.layer[count:]
        said = refusal(beginning)
        if said:
            refused, words = count, said
        else:
            taken = count
    return net.layer[refused - 1] if refused and words == why else None
