"""A net for each layer type and its ways."""

from tests.corpus.case import (
    CONV,
    DATA,
    LOSS,
    REFUSED,
    Case,
    after_conv,
    as_v1,
    classified,
    database,
    inner_product,
    layer,
    numbers,
    over_numbers,
)

XAVIER = 'weight_filler { type: "xavier" }'
WIDE = layer("Convolution", "data>wide", f"convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 {XAVIER} }}")
SIDE = layer("Convolution", "data>side", f"convolution_param {{ num_output: 4 kernel_size: 5 {XAVIER} }}")


def conv(rest, blobs="conv>x"):
    return layer("Convolution", blobs, f"convolution_param {{ {rest} }}")


#: Layers over a convolution (4 x 8 x 8), whose gradient goes through them.
AFTER_CONV = {
    "AbsVal": layer("AbsVal", "conv>x"),
    "BNLL": layer("BNLL", "conv>x"),
    "Convolution pad stride group": conv(f"num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 2 {XAVIER}"),
    "Convolution h and w": conv(
        f"num_output: 2 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_h: 2 stride_w: 1 {XAVIER}"
    ),
    "Convolution repeated fields": conv(f"num_output: 2 kernel_size: 3 kernel_size: 5 stride: 1 stride: 2 {XAVIER}"),
    "Convolution dilation": conv(f"num_output: 2 kernel_size: 3 dilation: 2 {XAVIER}"),
    "Convolution without bias": conv(f"num_output: 2 kernel_size: 1 bias_term: false {XAVIER}"),
    "Convolution engine CAFFE": conv(f"num_output: 2 kernel_size: 2 engine: CAFFE {XAVIER}"),
    "Convolution force_nd_im2col": conv(f"num_output: 2 kernel_size: 2 force_nd_im2col: true {XAVIER}"),
    "Convolution two bottoms": SIDE
    + conv(f"num_output: 2 kernel_size: 2 {XAVIER}", "conv,side>a,b")
    + layer("Concat", "a,b>x"),
    "Deconvolution": layer(
        "Deconvolution", "conv>x", f"convolution_param {{ num_output: 2 kernel_size: 2 stride: 2 {XAVIER} }}"
    ),
    "Deconvolution bilinear": layer(
        "Deconvolution",
        "conv>x",
        "param { lr_mult: 0 } convolution_param { num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 "
        'bias_term: false weight_filler { type: "bilinear" } }',
    ),
    "Dropout": layer("Dropout", "conv>x", "dropout_param { dropout_ratio: 0.3 }"),
    "Dropout in place": layer("Dropout", "conv>conv"),
    "ELU": layer("ELU", "conv>x", "elu_param { alpha: 0.5 }"),
    "Eltwise SUM with coeff": SIDE + layer("Eltwise", "conv,side>x", "eltwise_param { coeff: 1 coeff: -0.5 }"),
    "Eltwise PROD": SIDE + layer("Eltwise", "conv,side>x", "eltwise_param { operation: PROD }"),
    "Eltwise PROD stable": SIDE
    + layer("Eltwise", "conv,side>x", "eltwise_param { operation: PROD stable_prod_grad: false }"),
    "Eltwise MAX": SIDE + layer("Eltwise", "conv,side>x", "eltwise_param { operation: MAX }"),
    "Exp": layer("Exp", "conv>x", "exp_param { base: 2 scale: 0.5 shift: 0.1 }"),
    "Flatten": layer("Flatten", "conv>x"),
    "Flatten axes": layer("Flatten", "conv>x", "flatten_param { axis: 2 end_axis: -1 }"),
    "Im2col": layer("Im2col", "conv>x", "convolution_param { kernel_size: 3 stride: 2 }"),
    "InnerProduct axis": inner_product("conv>x", 3, "axis: 2"),
    "InnerProduct transposed": inner_product("conv>x", 3, "transpose: true"),
    "InnerProduct without bias": inner_product("conv>x", 3, "bias_term: false"),
    "LRN": layer("LRN", "conv>x", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 }"),
    "LRN within channel": layer(
        "LRN", "conv>x", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 norm_region: WITHIN_CHANNEL }"
    ),
    "Log": layer("Sigmoid", "conv>s") + layer("Log", "s>x", "log_param { base: 10 scale: 2 shift: 0.5 }"),
    "MVN": layer("MVN", "conv>x"),
    "MVN across channels": layer("MVN", "conv>x", "mvn_param { across_channels: true normalize_variance: false }"),
    "PReLU": layer("PReLU", "conv>x", "prelu_param { filler { value: 0.1 } }"),
    "PReLU channel_shared": layer("PReLU", "conv>conv", "prelu_param { channel_shared: true }"),
    "Pooling MAX": layer("Pooling", "conv>x", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"),
    "Pooling AVE padded": layer("Pooling", "conv>x", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    "Pooling h and w": layer("Pooling", "conv>x", "pooling_param { kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 }"),
    "Pooling global": layer("Pooling", "conv>x", "pooling_param { pool: AVE global_pooling: true }"),
    "Power": layer("Sigmoid", "conv>s") + layer("Power", "s>x", "power_param { power: 1.5 scale: 2 shift: 1 }"),
    "Reduction SUM": layer("Reduction", "conv>x", "reduction_param { axis: 2 }"),
    "Reduction ASUM": layer("Reduction", "conv>x", "reduction_param { operation: ASUM axis: 2 coeff: 0.5 }"),
    "Reduction SUMSQ": layer("Reduction", "conv>x", "reduction_param { operation: SUMSQ axis: 2 }"),
    "Reduction MEAN": layer("Reduction", "conv>x", "reduction_param { operation: MEAN axis: 2 }"),
    "ReLU": layer("ReLU", "conv>conv"),
    "ReLU leaky": layer("ReLU", "conv>x", "relu_param { negative_slope: 0.1 }"),
    "Reshape": layer("Reshape", "conv>x", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }"),
    "Reshape part": layer("Reshape", "conv>x", "reshape_param { shape { dim: 64 } axis: 2 num_axes: 2 }"),
    "Scale": layer("Scale", "conv>x", "scale_param { bias_term: true }"),
    "Scale axes": layer("Scale", "conv>x", "scale_param { axis: 2 num_axes: 2 filler { value: 2 } }"),
    "Bias": layer("Bias", "conv>x", "bias_param { filler { value: 0.2 } }"),
    "Sigmoid": layer("Sigmoid", "conv>x"),
    "Slice and Concat": layer("Slice", "conv>a,b", "slice_param { axis: 1 slice_point: 1 }")
    + layer("Concat", "b,a>x", "concat_param { axis: 1 }"),
    "Slice and Concat by old names": layer("Slice", "conv>a,b", "slice_param { slice_dim: 1 }")
    + layer("Concat", "b,a>x", "concat_param { concat_dim: 1 }"),
    "Softmax": layer("Softmax", "conv>x", "softmax_param { axis: 1 }"),
    "SPP": layer("SPP", "conv>x", "spp_param { pyramid_height: 2 pool: MAX }"),
    "Split": layer("Split", "conv>a,b") + layer("Eltwise", "a,b>x"),
    "TanH": layer("TanH", "conv>x"),
    "Tile": layer("Tile", "conv>x", "tile_param { axis: 1 tiles: 2 }"),
    "Crop": WIDE + layer("Crop", "wide,conv>x", "crop_param { axis: 2 offset: 1 offset: 2 }"),
    "BatchNorm and Scale": layer("BatchNorm", "conv>conv")
    + layer("Scale", "conv>x", "scale_param { bias_term: true }"),
    "BatchNorm fraction": layer("BatchNorm", "conv>x", "batch_norm_param { moving_average_fraction: 0.9 eps: 0.001 }"),
    "BatchNorm three params": layer(
        "BatchNorm", "conv>x", "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }"
    ),
    "Parameter and Bias": layer("Parameter", ">w", "parameter_param { shape { dim: 4 } }") + layer("Bias", "conv,w>x"),
    "Scale by a blob": layer("Reduction", "conv>r", "reduction_param { axis: 2 operation: MEAN }")
    + layer("Scale", "conv,r>x", "scale_param { axis: 0 }"),
}

#: Those that there were in 2014, with the names they had then.
OF_2014 = [
    "AbsVal",
    "BNLL",
    "Dropout",
    "Exp",
    "Flatten",
    "Im2col",
    "LRN",
    "MVN",
    "Power",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Split",
    "TanH",
    "Convolution pad stride group",
    "Deconvolution",
    "Eltwise MAX",
    "InnerProduct without bias",
    "Pooling MAX",
    "Pooling AVE padded",
    "Slice and Concat by old names",
]

FILLERS = {
    "constant": 'type: "constant" value: 0.03',
    "uniform": 'type: "uniform" min: -0.2 max: 0.2',
    "gaussian": 'type: "gaussian" std: 0.1',
    "gaussian sparse": 'type: "gaussian" std: 0.1 sparse: 1',
    "positive_unitball": 'type: "positive_unitball"',
    "xavier": 'type: "xavier" variance_norm: AVERAGE',
    "msra": 'type: "msra" variance_norm: FAN_OUT',
}

LSTM_DATA = (
    numbers("x,label,clip")
    + layer("Reshape", "x>seq", "reshape_param { shape { dim: 5 dim: 2 dim: 6 } }")
    + layer("Reshape", "clip>cont", "reshape_param { shape { dim: 5 dim: 2 } }")
    + layer("Reshape", "label>steps", "reshape_param { shape { dim: 5 dim: 2 } }")
)
RECURRENT = f"recurrent_param {{ num_output: 4 {XAVIER} }}"
STEPS = inner_product("h>ip", 10, "axis: 2") + layer("SoftmaxWithLoss", "ip,steps>loss", "softmax_param { axis: 2 }")


def embedded(rest):
    words = layer("Embed", "words>e", f"embed_param {{ input_dim: 7 num_output: 3 {XAVIER} {rest} }}")
    beside = layer("Flatten", "e>f") + layer("Concat", "y,f>z")
    return over_numbers(words + beside + inner_product("z>ip", 10) + LOSS, "x,label,words")


OTHERS = {
    "Embed": embedded(""),
    "Embed without bias": embedded("bias_term: false"),
    "LSTM": LSTM_DATA + layer("LSTM", "seq,cont>h", RECURRENT) + STEPS,
    "RNN": LSTM_DATA + layer("RNN", "seq,cont>h", RECURRENT) + STEPS,
    "LSTM with a static input": LSTM_DATA
    + layer("Slice", "seq>first,rest", "slice_param { axis: 0 slice_point: 1 }")
    + layer("Reshape", "first>static", "reshape_param { shape { dim: 2 dim: 6 } }")
    + layer("Silence", "rest>")
    + layer("LSTM", "seq,cont,static>h", RECURRENT)
    + STEPS,
    "Filter": numbers("x,label,kept")
    + inner_product("x>z", 10)
    + layer("Filter", "z,label,kept>ip,those")
    + layer("SoftmaxWithLoss", "ip,those>loss", "propagate_down: true propagate_down: false"),
    "BatchReindex": numbers("x,label,place") + inner_product("x>z", 10) + layer("BatchReindex", "z,place>ip") + LOSS,
    "Threshold": classified(layer("Threshold", "data>x", "threshold_param { threshold: 0.5 }")),
    "ArgMax in TEST": classified(CONV)
    + layer("ArgMax", "ip>best", "argmax_param { top_k: 2 } include { phase: TEST }"),
    "ArgMax axis": classified(CONV)
    + layer("ArgMax", "ip>best", "argmax_param { axis: 1 out_max_val: true } include { phase: TEST }"),
    "Silence": over_numbers(
        layer("Silence", "target,binary>") + layer("EuclideanLoss", "y,probability>loss"), "x,probability,target,binary"
    ),
    "Pooling with its mask": after_conv(
        layer("Pooling", "conv>x,mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("Silence", "mask>")
        + layer("ReLU", "x>x")
    ),
    "BatchNorm use_global_stats": after_conv(
        layer("BatchNorm", "conv>x", "batch_norm_param { use_global_stats: true }")
    ),
    "InnerProduct over floats": classified(
        inner_product("data>x", 7), data=database("data,label", "float_lmdb", "transform_param { scale: 2 }")
    ),
}

#: What Caffe takes no part of, or ends at.
BAD = {
    "Convolution without kernel": classified(conv("num_output: 3", "data>x")),
    "Convolution without num_output": classified(conv("kernel_size: 3", "data>x")),
    "Convolution group": classified(conv("num_output: 4 kernel_size: 3 group: 3", "conv>x"), DATA + CONV),
    "Convolution kernel twice": classified(conv("num_output: 2 kernel_size: 3 kernel_h: 3", "data>x")),
    "Convolution kernel too large": classified(conv("num_output: 2 kernel_size: 15", "data>x")),
    "Convolution engine CUDNN": classified(conv("num_output: 2 kernel_size: 3 engine: CUDNN", "data>x")),
    "Concat of other sizes": after_conv(WIDE + layer("Concat", "conv,wide>x")),
    "Crop of a smaller blob": after_conv(WIDE + layer("Crop", "conv,wide>x", "crop_param { axis: 2 }")),
    "Eltwise of other sizes": after_conv(WIDE + layer("Eltwise", "conv,wide>x")),
    "Eltwise coeff for one": after_conv(SIDE + layer("Eltwise", "conv,side>x", "eltwise_param { coeff: 1 }")),
    "EuclideanLoss of other sizes": over_numbers(layer("EuclideanLoss", "y,x>loss")),
    "Reshape that does not fit": classified(layer("Reshape", "data>x", "reshape_param { shape { dim: 7 dim: -1 } }")),
    "LRN even": after_conv(layer("LRN", "conv>x", "lrn_param { local_size: 4 }")),
    "Pooling pad": after_conv(layer("Pooling", "conv>x", "pooling_param { kernel_size: 2 pad: 2 }")),
    "Slice points": after_conv(layer("Slice", "conv>a,x", "slice_param { slice_point: 5 }")),
    "SoftmaxWithLoss labels": numbers("x,target")
    + inner_product("x>ip", 10)
    + layer("SoftmaxWithLoss", "ip,target>loss"),
    "unknown filler": classified(conv('num_output: 2 kernel_size: 3 weight_filler { type: "xaver" }', "data>x")),
    "unknown type": after_conv(layer("ReLu", "conv>x")),
    "Tile 0": after_conv(layer("Tile", "conv>x", "tile_param { tiles: 0 }")),
    "MultinomialLogisticLoss labels": over_numbers(
        layer("Softmax", "y>p") + layer("MultinomialLogisticLoss", "p,target>loss"), "x,target"
    ),
}

#: What Caffe finds out when it computes.
LATE = {
    "Pooling STOCHASTIC on a CPU": after_conv(
        layer("Pooling", "conv>x", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")
    ),
}
NO_GRADIENT = {
    "Threshold in the way": after_conv(layer("Threshold", "conv>x")),
    "ArgMax in the way": after_conv(layer("ArgMax", "conv>x")),
    "labels that depend on what is learned": numbers("x,label,kept")
    + inner_product("x>z", 10)
    + layer("Filter", "z,label,kept>ip,those")
    + layer("SoftmaxWithLoss", "ip,those>loss"),
    "Accuracy with loss_weight": classified(CONV) + layer("Accuracy", "ip,label>accuracy", "loss_weight: 1"),
}


def cases():
    found = {name: Case(after_conv(text)) for name, text in AFTER_CONV.items()}
    found.update({f"V1 {name}": Case(as_v1(after_conv(AFTER_CONV[name]))) for name in OF_2014})
    for name, text in FILLERS.items():
        found[f"filler {name}"] = Case(
            classified(conv(f"num_output: 2 kernel_size: 3 weight_filler {{ {text} }}", "data>x"))
        )
    found.update({name: Case(net) for name, net in OTHERS.items()})
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in BAD.items()})
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED, late=True) for name, net in LATE.items()})
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in NO_GRADIENT.items()})
    found["Dropout ratio 1"] = Case(
        after_conv(layer("Dropout", "conv>x", "dropout_param { dropout_ratio: 1 }")),
        ours=REFUSED,
        why="the loss is no number, which ends a run",
    )
    return found
