"""A net for each loss, and for the ways in which losses are weighted and normalised."""

from tests.corpus.case import CONV, DATA, REFUSED, Case, classified, inner_product, layer, numbers, over_numbers

IP = inner_product("data>ip", 10)
SIGMOID = layer("Sigmoid", "y>p")


def softmax(rest, tops="loss"):
    return DATA + IP + layer("SoftmaxWithLoss", f"ip,label>{tops}", rest)


def pair(rest):
    """A siamese net: two branches with the same parameters."""
    shared = 'param { name: "w" } param { name: "b" }'
    return (
        numbers("x,x2,similar")
        + "".join(
            layer(
                "InnerProduct",
                f"{bottom}>{top}",
                f'{shared} inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }}',
            )
            for bottom, top in (("x", "a"), ("x2", "b"))
        )
        + layer("ContrastiveLoss", "a,b,similar>loss", rest)
    )


def accuracy(blobs, rest=""):
    return classified(CONV) + layer("Accuracy", blobs, rest)


NETS = {
    "SoftmaxWithLoss ignore_label": softmax("loss_param { ignore_label: 3 }"),
    "SoftmaxWithLoss FULL": softmax("loss_param { normalization: FULL }"),
    "SoftmaxWithLoss BATCH_SIZE": softmax("loss_param { normalization: BATCH_SIZE }"),
    "SoftmaxWithLoss NONE": softmax("loss_weight: 0.05 loss_param { normalization: NONE }"),
    "SoftmaxWithLoss normalize false": softmax("loss_param { normalize: false }"),
    "SoftmaxWithLoss axis": numbers("data,grid")
    + layer(
        "Convolution",
        "data>s",
        'convolution_param { num_output: 4 kernel_size: 6 stride: 6 weight_filler { type: "xavier" } }',
    )
    + layer("SoftmaxWithLoss", "s,grid>loss", "softmax_param { axis: 1 }"),
    "EuclideanLoss": over_numbers(layer("EuclideanLoss", "y,target>loss"), "x,target"),
    "HingeLoss": DATA + IP + layer("HingeLoss", "ip,label>loss"),
    "HingeLoss L2": DATA + IP + layer("HingeLoss", "ip,label>loss", "hinge_loss_param { norm: L2 }"),
    "ContrastiveLoss": pair("contrastive_loss_param { margin: 2 }"),
    "ContrastiveLoss of before": pair("contrastive_loss_param { legacy_version: true }"),
    "InfogainLoss": DATA
    + IP
    + layer("InfogainLoss", "ip,label>loss", 'infogain_loss_param { source: "infogain.binaryproto" }'),
    "MultinomialLogisticLoss": DATA + IP + layer("Softmax", "ip>p") + layer("MultinomialLogisticLoss", "p,label>loss"),
    "SigmoidCrossEntropyLoss": over_numbers(layer("SigmoidCrossEntropyLoss", "y,binary>loss"), "x,binary"),
    "SigmoidCrossEntropyLoss ignore_label": over_numbers(
        layer("SigmoidCrossEntropyLoss", "y,marked>loss", "loss_param { ignore_label: -1 }"), "x,marked"
    ),
    "SigmoidCrossEntropyLoss VALID": over_numbers(
        layer("SigmoidCrossEntropyLoss", "y,binary>loss", "loss_param { normalization: VALID }"), "x,binary"
    ),
    "Reduction as the loss": over_numbers(
        SIGMOID
        + layer("Eltwise", "p,target>d", "eltwise_param { coeff: 1 coeff: -1 }")
        + layer("Reduction", "d>loss", "reduction_param { operation: SUMSQ } loss_weight: 0.1"),
        "x,target",
    ),
    "loss_weight of a blob": over_numbers(
        layer("Power", "y>cost", "power_param { power: 2 } loss_weight: 0.01") + layer("Silence", "target>"), "x,target"
    ),
    "loss_weight 0": classified(CONV) + layer("HingeLoss", "ip,label>hinge", "loss_weight: 0"),
    "several losses": over_numbers(
        layer("EuclideanLoss", "y,target>distance", "loss_weight: 0.3")
        + inner_product("y>ip", 10)
        + layer("SoftmaxWithLoss", "ip,label>loss", "loss_weight: 0.7"),
        "x,target,label",
    ),
    "loss in TRAIN only": classified(CONV).replace('top: "loss"', 'top: "loss" include { phase: TRAIN }'),
    "a loss without a top": classified(CONV).replace('top: "loss"', ""),
    "Accuracy": accuracy("ip,label>accuracy"),
    "Accuracy top_k": accuracy("ip,label>top3", "accuracy_param { top_k: 3 } include { phase: TEST }"),
    "Accuracy ignore_label": accuracy("ip,label>accuracy", "accuracy_param { ignore_label: 2 }"),
    "Accuracy by class": accuracy("ip,label>accuracy,each", "include { phase: TEST }"),
    "two Accuracies of one name": accuracy("ip,label>accuracy", "include { phase: TEST }")
    + layer("Accuracy", "ip,label>top5", "accuracy_param { top_k: 5 } include { phase: TEST }").replace(
        "top5_Accuracy", "accuracy_Accuracy"
    ),
    "no loss": DATA + CONV + layer("Silence", "conv,label>"),
}
BAD = {
    "loss_weight too often": softmax("loss_weight: 1 loss_weight: 1"),
    # its inner layer has one top, and gets both weights
    "SoftmaxWithLoss with its softmax": softmax("loss_weight: 1 loss_weight: 0", "loss,probability"),
    "SoftmaxWithLoss with its softmax and one loss_weight": softmax("loss_weight: 1", "loss,probability"),
    "SoftmaxWithLoss with its softmax and no loss_weight": softmax("", "loss,probability"),
    "InfogainLoss of another size": over_numbers(
        layer("InfogainLoss", "y,label5>loss", 'infogain_loss_param { source: "infogain.binaryproto" }'), "x,label5"
    ),
    "InfogainLoss without its file": over_numbers(
        layer("InfogainLoss", "y,label5>loss", 'infogain_loss_param { source: "missing.binaryproto" }'), "x,label5"
    ),
    "SigmoidCrossEntropyLoss sizes": over_numbers(layer("SigmoidCrossEntropyLoss", "y,label5>loss"), "x,label5"),
    "ContrastiveLoss with two bottoms": over_numbers(layer("ContrastiveLoss", "y,target>loss"), "x,target"),
}


def cases():
    found = {name: Case(net) for name, net in NETS.items()}
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in BAD.items()})
    return found
