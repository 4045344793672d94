"""What public nets are made of: one net of our own for each architecture's construct."""

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
)

XAVIER = 'weight_filler { type: "xavier" }'
OWN = "a layer that only the TEST net has starts with random numbers"
IP = inner_product("data>ip", 10)


def conv(blobs, outputs=4, size=3, rest="pad: 1"):
    return layer(
        "Convolution", blobs, f"convolution_param {{ num_output: {outputs} kernel_size: {size} {rest} {XAVIER} }}"
    )


def pool(blobs, rest="pool: MAX kernel_size: 2 stride: 2"):
    return layer("Pooling", blobs, f"pooling_param {{ {rest} }}")


def scaled(blobs):
    """BatchNorm as ResNet's files have it, and its Scale."""
    bottom, top = blobs.split(">")
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } "
    return (
        layer(
            "BatchNorm",
            f"{bottom}>{top}",
            frozen + "include { phase: TRAIN } batch_norm_param { use_global_stats: false }",
        )
        + layer(
            "BatchNorm",
            f"{bottom}>{top}",
            frozen + "include { phase: TEST } batch_norm_param { use_global_stats: true }",
        )
        + layer("Scale", f"{top}>{top}", "scale_param { bias_term: true }")
    )


def inception(bottom, name):
    """Four ways and what joins them."""
    return (
        conv(f"{bottom}>{name}/1x1", 2, 1, "")
        + conv(f"{bottom}>{name}/3x3_reduce", 2, 1, "")
        + layer("ReLU", f"{name}/3x3_reduce>{name}/3x3_reduce")
        + conv(f"{name}/3x3_reduce>{name}/3x3", 3)
        + pool(f"{bottom}>{name}/pool", "pool: MAX kernel_size: 3 stride: 1 pad: 1")
        + layer("Concat", f"{name}/1x1,{name}/3x3,{name}/pool>{name}")
    )


def auxiliary(bottom, name, weight):
    return (
        pool(f"{bottom}>{name}/pool", "pool: AVE kernel_size: 5 stride: 3")
        + inner_product(f"{name}/pool>{name}/ip", 10)
        + layer("SoftmaxWithLoss", f"{name}/ip,label>{name}/loss", f"loss_weight: {weight}")
        + layer("Accuracy", f"{name}/ip,label>{name}/top-5", "include { phase: TEST } accuracy_param { top_k: 5 }")
    )


def named(text, *names):
    """The layer with these names for its parameters."""
    params = " ".join(f'param {{ name: "{name}" }}' for name in names)
    return text.replace("inner_product_param", f"{params} inner_product_param")


def pixels(rest="", blobs="score,label"):
    """A loss for every pixel of ``score``; the labels are an image's grey values modulo what they are scaled to."""
    return layer("SoftmaxWithLoss", f"{blobs}>loss", rest)


GRID = numbers("data,grid") + conv("data>a", 4, 3, "pad: 1") + pool("a>b", "pool: MAX kernel_size: 6 stride: 6")
TWO_SIDES = "".join(
    named(inner_product(f"{x}>{a}", 6), "w1", "b1")
    + layer("ReLU", f"{a}>{a}")
    + named(inner_product(f"{a}>{f}", 3), "w2", "b2")
    for x, a, f in (("x", "a", "f"), ("x2", "a_p", "f_p"))
)
DIFFERENCE = layer("Eltwise", "f,f_p>d", "eltwise_param { operation: SUM coeff: 1 coeff: -1 }")

ARCHITECTURES = {
    "GoogLeNet with auxiliary losses": DATA
    + conv("data>conv")
    + inception("conv", "inception_3a")
    + auxiliary("inception_3a", "loss1", 0.3)
    + inception("inception_3a", "inception_3b")
    + auxiliary("inception_3b", "loss3", 1),
    "Network in Network": DATA
    + conv("data>conv1", 6)
    + layer("ReLU", "conv1>conv1")
    + conv("conv1>cccp1", 5, 1, "")
    + layer("ReLU", "cccp1>cccp1")
    + layer("Dropout", "cccp1>cccp1")
    + conv("cccp1>cccp2", 10, 1, "")
    + pool("cccp2>ip", "pool: AVE kernel_size: 12 stride: 1")
    + LOSS,
    "SqueezeNet": classified(
        conv("data>s", 3, 1, "")
        + conv("s>e1", 4, 1, "")
        + conv("s>e3", 4)
        + layer("Concat", "e1,e3>x")
        + layer("Dropout", "x>x", "dropout_param { dropout_ratio: 0.5 }")
    ),
    "ResNet": classified(
        conv("data>p", 4, 1, "stride: 2 bias_term: false")
        + scaled("p>p")
        + conv("data>a", 4, 3, "pad: 1 stride: 2 bias_term: false")
        + scaled("a>a")
        + layer("ReLU", "a>a")
        + conv("a>b", 4, 3, "pad: 1 bias_term: false")
        + scaled("b>b")
        + layer("Eltwise", "p,b>x")
        + layer("ReLU", "x>x")
    ),
    "DenseNet": classified(
        conv("data>a", 3)
        + scaled("a>n1")
        + layer("ReLU", "n1>n1")
        + conv("n1>c1", 2)
        + layer("Dropout", "c1>c1", "dropout_param { dropout_ratio: 0.2 }")
        + layer("Concat", "a,c1>d1")
        + scaled("d1>n2")
        + conv("n2>c2", 2)
        + layer("Concat", "d1,c2>d2", "concat_param { axis: 1 }")
        + pool("d2>x", "pool: AVE global_pooling: true")
    ),
    "MobileNet": classified(
        conv("data>a", 4)
        + conv("a>dw", 4, 3, "pad: 1 group: 4 engine: CAFFE bias_term: false")
        + scaled("dw>dw")
        + conv("dw>x", 6, 1, "bias_term: false")
    ),
    "SENet": classified(
        CONV
        + pool("conv>s", "pool: AVE global_pooling: true")
        + conv("s>down", 2, 1, "")
        + layer("ReLU", "down>down")
        + conv("down>up", 4, 1, "")
        + layer("Sigmoid", "up>up")
        + layer("Flatten", "up>gate")
        + layer("Scale", "conv,gate>x", "scale_param { axis: 0 bias_term: false }")
    ),
    "SENet's axpy as products": classified(
        CONV
        + pool("conv>s", "pool: AVE global_pooling: true")
        + inner_product("s>g", 4)
        + layer("Sigmoid", "g>g")
        + layer("Scale", "conv,g>m", "scale_param { axis: 0 }")
        + layer("Eltwise", "m,conv>x")
    ),
    "channels shuffled by Slice and Concat": classified(
        CONV + layer("Slice", "conv>s0,s1,s2,s3") + layer("Concat", "s0,s2,s1,s3>x")
    ),
    "U-Net": numbers("data,grid")
    + conv("data>down")
    + pool("down>low")
    + conv("low>deep", 4)
    + layer("Deconvolution", "deep>up", f"convolution_param {{ num_output: 4 kernel_size: 2 stride: 2 {XAVIER} }}")
    + layer("Crop", "down,up>cut", "crop_param { axis: 2 offset: 0 }")
    + layer("Concat", "up,cut>both")
    + conv("both>wide", 4)
    + pool("wide>score", "pool: AVE kernel_size: 6 stride: 6")
    + pixels(blobs="score,grid"),
    "FCN": numbers("data,grid")
    + conv("data>conv1_1", 4, 3, "pad: 10")
    + pool("conv1_1>pool1", "pool: MAX kernel_size: 4 stride: 4")
    + conv("pool1>fr", 4, 1, "pad: 0")
    + layer(
        "Deconvolution",
        "fr>up",
        "param { lr_mult: 0 } convolution_param { num_output: 4 bias_term: false kernel_size: 4 "
        'stride: 2 group: 4 weight_filler: { type: "bilinear" } }',
    )
    + layer("Crop", "up,grid4>score", "crop_param { axis: 2 offset: 1 }").replace("grid4", "data")
    + pool("score>small", "pool: AVE kernel_size: 6 stride: 6")
    + pixels("loss_param { ignore_label: 255 normalize: false }", "small,grid"),
    "SegNet's weights by class": GRID
    + conv("b>score", 4, 1, "")
    + pixels("softmax_param { engine: CAFFE } loss_param { ignore_label: 3 normalization: BATCH_SIZE }", "score,grid"),
    "ENet's asymmetric and dilated": classified(
        layer(
            "Convolution",
            "data>a",
            f"convolution_param {{ num_output: 4 kernel_h: 5 kernel_w: 1 pad_h: 2 pad_w: 0 stride: 1 {XAVIER} }}",
        )
        + layer("PReLU", "a>a")
        + layer(
            "Convolution",
            "a>b",
            f"convolution_param {{ num_output: 4 kernel_size: 3 pad: 2 dilation: 2 {XAVIER} bias_term: true }}",
        )
        + layer("PReLU", "b>b", "prelu_param { channel_shared: false }")
        + layer("Eltwise", "a,b>x", "eltwise_param { operation: SUM }")
    ),
    "siamese of one data layer": database("pair,unused", "colour_lmdb")
    + layer("Slice", "pair>data,data_p,third", "slice_param { slice_dim: 1 slice_point: 1 slice_point: 2 }")
    + named(inner_product("data>a", 4), "w", "b")
    + named(inner_product("data_p>a_p", 4), "w", "b")
    + layer("Power", "unused>near", "power_param { scale: 0.1 }")
    + layer("Threshold", "near>similar", "threshold_param { threshold: 0.5 }")
    + layer("Silence", "third>")
    + layer("ContrastiveLoss", "a,a_p,similar>loss", "contrastive_loss_param { margin: 1 }"),
    "siamese by HDF5": numbers("x,x2,similar") + TWO_SIDES + layer("ContrastiveLoss", "f,f_p,similar>loss"),
    "triplet by layers of today": numbers("x,x2")
    + TWO_SIDES
    + DIFFERENCE
    + layer("Reduction", "d>s", "reduction_param { operation: SUMSQ axis: 1 }")
    + layer("Power", "s>m", "power_param { scale: -1 shift: 5 }")
    + layer("ReLU", "m>h")
    + layer("Reduction", "h>loss", "loss_weight: 0.1 reduction_param { axis: 0 }"),
    "L2 by layers of today": numbers("x,label")
    + inner_product("x>f", 4)
    + layer("Power", "f>sq", "power_param { power: 2 }")
    + layer("Reduction", "sq>n", "reduction_param { axis: 1 }")
    + layer("Power", "n>r", "power_param { power: -0.5 shift: 0.001 }")
    + layer("Scale", "f,r>y", "scale_param { axis: 0 }")
    + inner_product("y>ip", 10)
    + LOSS,
    "autoencoder with tied losses": numbers("x,probability")
    + inner_product("probability>e1", 4, 'bias_filler { type: "constant" }')
    + layer("Sigmoid", "e1>e1n")
    + inner_product("e1n>d1", 5)
    + layer("SigmoidCrossEntropyLoss", "d1,probability>cross_entropy_loss", "loss_weight: 1")
    + layer("Sigmoid", "d1>d1n")
    + layer("EuclideanLoss", "d1n,probability>l2_error", "loss_weight: 0")
    + layer("Silence", "x>"),
    "GAN with a frozen side": numbers("x,x2")
    + inner_product("x>fake", 6).replace(
        "inner_product_param", "param { lr_mult: 0 } param { lr_mult: 0 } inner_product_param"
    )
    + layer("Concat", "fake,x2>all", "concat_param { axis: 0 }")
    + inner_product("all>score", 1)
    + layer(
        "DummyData",
        ">zero,one",
        "dummy_data_param { shape { dim: 10 dim: 1 } shape { dim: 10 dim: 1 } "
        "data_filler { value: 0 } data_filler { value: 1 } }",
    )
    + layer("Concat", "zero,one>is", "concat_param { axis: 0 }")
    + layer("SigmoidCrossEntropyLoss", "score,is>loss", "propagate_down: true propagate_down: false"),
    "OpenPose's stages": numbers("x,target,binary")
    + inner_product("x>s1", 5)
    + layer("Eltwise", "s1,binary>m1", "eltwise_param { operation: PROD }")
    + layer("EuclideanLoss", "m1,target>loss_stage1", "loss_weight: 1")
    + layer("Concat", "s1,x>c2")
    + inner_product("c2>s2", 5)
    + layer("Eltwise", "s2,binary>m2", "eltwise_param { operation: PROD }")
    + layer("EuclideanLoss", "m2,target>loss_stage2", "loss_weight: 1"),
    "multi-task by sliced labels": numbers("x,target")
    + layer("Slice", "target>t1,t2", "slice_param { axis: 1 slice_point: 2 }")
    + inner_product("x>f", 6)
    + inner_product("f>y1", 2)
    + inner_product("f>y2", 3)
    + layer("EuclideanLoss", "y1,t1>l1", "loss_weight: 0.7")
    + layer("EuclideanLoss", "y2,t2>l2", "loss_weight: 0.3"),
    "several labels by SigmoidCrossEntropyLoss": numbers("x,binary")
    + inner_product("x>y", 5)
    + layer("SigmoidCrossEntropyLoss", "y,binary>loss"),
    "smooth L1 by layers of today": numbers("x,target")
    + inner_product("x>y", 5)
    + layer("Eltwise", "y,target>d", "eltwise_param { coeff: 1 coeff: -1 }")
    + layer("AbsVal", "d>a")
    + layer("Power", "a>r", "power_param { shift: -0.5 }")
    + layer("ReLU", "r>r")
    + layer("Reduction", "r>loss", "loss_weight: 0.1 reduction_param { operation: SUM }"),
    "RPN's reshapes": numbers("data,grid")
    + conv("data>s", 8)
    + pool("s>p", "pool: AVE kernel_size: 6 stride: 6")
    + layer("Reshape", "p>r", "reshape_param { shape { dim: 0 dim: 4 dim: -1 dim: 0 } }")
    + layer("Slice", "r>score,rest", "slice_param { axis: 2 slice_point: 2 }")
    + layer("Silence", "rest>")
    + layer("SoftmaxWithLoss", "score,grid>loss", "loss_param { ignore_label: -1 normalize: true }"),
    "LRCN": numbers("words,clip")
    + layer("Reshape", "words>seq", "reshape_param { shape { dim: 10 dim: 4 } }")
    + layer("Embed", "seq>e", f"embed_param {{ input_dim: 7 num_output: 5 bias_term: false {XAVIER} }}")
    + layer("Tile", "clip1>cont", "tile_param { axis: 1 tiles: 4 }").replace(
        "layer {",
        'layer { name: "up" type: "Reshape" bottom: "clip" top: "clip1" '
        "reshape_param { shape { dim: 10 dim: 1 } } }\nlayer {",
        1,
    )
    + layer(
        "LSTM", "e,cont>h", f'recurrent_param {{ num_output: 6 {XAVIER} bias_filler {{ type: "constant" value: 0 }} }}'
    )
    + inner_product("h>score", 7, "axis: 2")
    + layer(
        "SoftmaxWithLoss", "score,seq>loss", "loss_weight: 10 softmax_param { axis: 2 } loss_param { ignore_label: -1 }"
    ),
    "two LSTMs in a row": numbers("x,label,clip")
    + layer("Reshape", "x>seq", "reshape_param { shape { dim: 5 dim: 2 dim: 6 } }")
    + layer("Reshape", "clip>cont", "reshape_param { shape { dim: 5 dim: 2 } }")
    + layer("LSTM", "seq,cont>h1", f"recurrent_param {{ num_output: 4 {XAVIER} }}")
    + layer("LSTM", "h1,cont>h2", f"recurrent_param {{ num_output: 4 {XAVIER} debug_info: false }}")
    + layer("Reshape", "label>steps", "reshape_param { shape { dim: 5 dim: 2 } }")
    + inner_product("h2>ip", 10, "axis: 2")
    + layer("SoftmaxWithLoss", "ip,steps>loss", "softmax_param { axis: 2 }"),
    "an attention over pixels": classified(
        CONV
        + conv("conv>q", 1, 1, "")
        + layer("Reshape", "q>flat", "reshape_param { shape { dim: 0 dim: -1 } }")
        + layer("Softmax", "flat>soft")
        + layer("Reshape", "soft>map", "reshape_param { shape { dim: 0 dim: 1 dim: 8 dim: 8 } }")
        + layer("Tile", "map>maps", "tile_param { tiles: 4 }")
        + layer("Eltwise", "conv,maps>x", "eltwise_param { operation: PROD }")
    ),
    "every engine CAFFE": classified(
        conv("data>conv", 4, 3, "engine: CAFFE")
        + layer("ReLU", "conv>conv", "relu_param { engine: CAFFE }")
        + pool("conv>p", "pool: MAX kernel_size: 2 stride: 2 engine: CAFFE")
        + layer("LRN", "p>n", "lrn_param { local_size: 3 engine: CAFFE }")
        + layer("Sigmoid", "n>s", "sigmoid_param { engine: CAFFE }")
        + layer("TanH", "s>t", "tanh_param { engine: CAFFE }")
        + layer("Softmax", "t>x", "softmax_param { engine: CAFFE }")
    ),
    "every engine DEFAULT": classified(
        conv("data>conv", 4, 3, "engine: DEFAULT") + layer("ReLU", "conv>x", "relu_param { engine: DEFAULT }")
    ),
    "Accuracy for each class": classified(CONV)
    + layer("Accuracy", "ip,label>accuracy,per_class", "include { phase: TEST }"),
    "Accuracy in both phases": classified(CONV) + layer("Accuracy", "ip,label>accuracy"),
    "Accuracy top 1 and top 5": classified(CONV)
    + layer("Accuracy", "ip,label>acc1", "include { phase: TEST } accuracy_param { top_k: 1 }")
    + layer("Accuracy", "ip,label>acc5", "include { phase: TEST } accuracy_param { top_k: 5 }"),
    "Accuracy of pixels with ignore_label": GRID
    + conv("b>score", 4, 1, "")
    + pixels(blobs="score,grid")
    + layer("Accuracy", "score,grid>accuracy", "accuracy_param { ignore_label: 0 axis: 1 }"),
    "labels of N x 1 x 1 x 1": numbers("data,label")
    + layer("Reshape", "label>l4", "reshape_param { shape { dim: -1 dim: 1 dim: 1 dim: 1 } }")
    + IP
    + layer("SoftmaxWithLoss", "ip,l4>loss"),
    "one layer's name in both phases": DATA
    + CONV
    + layer("InnerProduct", "conv>ip", f"include {{ phase: TRAIN }} inner_product_param {{ num_output: 10 {XAVIER} }}")
    + layer("InnerProduct", "conv>ip", f"include {{ phase: TEST }} inner_product_param {{ num_output: 10 {XAVIER} }}")
    + LOSS,
    "another layer for TEST with the same parameters": DATA
    + CONV
    + layer("Dropout", "conv>d", "include { phase: TRAIN }")
    + layer("Power", "conv>d", "include { phase: TEST }")
    + inner_product("d>ip", 10)
    + LOSS,
    "a loss for TEST only": DATA
    + IP
    + LOSS
    + layer("HingeLoss", "ip,label>hinge", "include { phase: TEST } hinge_loss_param { norm: L2 }"),
    "two losses of one kind": DATA
    + IP
    + LOSS
    + inner_product("data>ip2", 10)
    + layer("SoftmaxWithLoss", "ip2,label>loss2", "loss_weight: 0.25"),
    "loss_weight of a layer that is no loss": DATA
    + CONV
    + layer("Reduction", "conv>sparse", "loss_weight: 0.0001 reduction_param { operation: ASUM }")
    + inner_product("conv>ip", 10)
    + LOSS,
    "loss_weight for a blob of many numbers": numbers("x,target")
    + inner_product("x>y", 5)
    + layer("Power", "y>sq", "loss_weight: 0.01 power_param { power: 2 }")
    + layer("EuclideanLoss", "y,target>loss"),
    "Swish and Clip": after_conv(
        layer("Swish", "conv>s", "swish_param { beta: 1.5 }") + layer("Clip", "s>x", "clip_param { min: -1 max: 0.5 }")
    ),
    "ReLU6 by Clip in place": after_conv(layer("Clip", "conv>conv", "clip_param { min: 0 max: 6 }")),
    "kernel in a list": after_conv(
        layer(
            "Convolution",
            "conv>x",
            "convolution_param { num_output: 2 kernel_size: [3, 5] pad: [1, 2] stride: [1, 1] dilation: [1, 1] axis: 1 "
            f"{XAVIER} }}",
        )
    ),
    "Deconvolution of two bottoms": DATA
    + conv("data>a", 2)
    + conv("data>b", 2)
    + layer(
        "Deconvolution", "a,b>c,d", f"convolution_param {{ num_output: 2 kernel_size: 2 stride: 2 pad: 1 {XAVIER} }}"
    )
    + layer("Concat", "c,d>x")
    + inner_product("x>ip", 10)
    + LOSS,
    "Concat along the batch": numbers("x,x2,label")
    + layer("Concat", "x,x2>both", "concat_param { axis: 0 }")
    + inner_product("both>y", 10)
    + layer("Slice", "y>ip,other", "slice_param { axis: 0 }")
    + layer("Silence", "other>")
    + LOSS,
    "Slice without points": after_conv(
        layer("Slice", "conv>a,b") + layer("Eltwise", "a,b>x", "eltwise_param { operation: MAX }")
    ),
    "Slice at negative axes": after_conv(
        layer("Slice", "conv>a,b", "slice_param { axis: -1 }") + layer("Concat", "a,b>x", "concat_param { axis: -1 }")
    ),
    "Flatten to the end": after_conv(layer("Flatten", "conv>x", "flatten_param { axis: 1 end_axis: 3 }")),
    "InnerProduct of a negative axis": after_conv(inner_product("conv>x", 3, "axis: -1")),
    "Softmax over pixels": after_conv(layer("Softmax", "conv>x", "softmax_param { axis: -1 }")),
    "Reduction to a number beside a loss": DATA
    + CONV
    + inner_product("conv>ip", 10)
    + LOSS
    + layer("Reduction", "ip>sum", "reduction_param { operation: MEAN }"),
    "MVN, LRN and TanH in a row": after_conv(
        layer("MVN", "conv>m", "mvn_param { eps: 0.01 }") + layer("LRN", "m>l") + layer("TanH", "l>x")
    ),
    "Dropout of several in place": after_conv(
        "".join(
            layer("Dropout", "conv>conv", f"dropout_param {{ dropout_ratio: 0.{n} }}").replace('"conv_D', f'"c{n}_D')
            for n in (1, 5, 9)
        )
    ),
    "a bias of its own rate": after_conv(
        layer(
            "Bias",
            "conv>x",
            "param { lr_mult: 10 decay_mult: 0 } "
            'bias_param { axis: 1 num_axes: -1 filler { type: "gaussian" std: 0.1 } }',
        )
    ),
    "Scale of one number": after_conv(
        layer(
            "Scale",
            "conv>x",
            "scale_param { axis: 0 num_axes: 0 filler { value: 0.5 } bias_term: true bias_filler { value: 0.1 } }",
        )
    ),
    "an ELU, a BNLL and an Exp": after_conv(
        layer("ELU", "conv>e", "elu_param { alpha: 0 }")
        + layer("BNLL", "e>b")
        + layer("Exp", "b>x", "exp_param { base: 1.1 }")
    ),
    "Embed of a label": numbers("x,label5,target")
    + layer("Embed", "label5>e", f"embed_param {{ input_dim: 5 num_output: 6 {XAVIER} }}")
    + layer("Eltwise", "x,e>s")
    + inner_product("s>y", 5)
    + layer("EuclideanLoss", "y,target>loss"),
    "InfogainLoss with its matrix as a blob": numbers("x,label5")
    + inner_product("x>y", 5)
    + layer("DummyData", ">H", "dummy_data_param { shape { dim: 1 dim: 1 dim: 5 dim: 5 } data_filler { value: 0.3 } }")
    + layer("InfogainLoss", "y,label5,H>loss"),
    "a Parameter as weights": numbers("x,target")
    + layer("Parameter", ">w", "param { lr_mult: 2 } parameter_param { shape { dim: 6 } }")
    + layer("Scale", "x,w>s", "scale_param { axis: 1 }")
    + inner_product("s>y", 5)
    + layer("EuclideanLoss", "y,target>loss"),
    "Silence of a label": DATA
    + layer("Silence", "label>")
    + IP
    + layer("Reduction", "ip>loss", "loss_weight: 0.1 reduction_param { operation: SUMSQ }"),
    "Split of a label": DATA
    + layer("Split", "label>l1,l2")
    + IP
    + layer("SoftmaxWithLoss", "ip,l1>loss")
    + layer("Accuracy", "ip,l2>acc"),
    "a label as a float target": DATA
    + inner_product("data>y", 1)
    + layer("EuclideanLoss", "y,label>loss", "loss_weight: 0.01"),
    "V1 with everything old": 'name: "old" force_backward: false\n'
    + as_v1(after_conv(layer("ReLU", "conv>conv") + layer("Dropout", "conv>x"))),
    "a net's state with an empty stage": 'state { phase: TRAIN level: 0 stage: "" }\n' + classified(CONV),
    "Data layers of other names": database(
        "data,label", "images_lmdb", "include { phase: TRAIN } transform_param { scale: 0.01 }"
    ).replace("data_Data", "CAL")
    + database("data,label", "images_lmdb", "include { phase: TEST } transform_param { scale: 0.01 }").replace(
        "data_Data", "VAL"
    )
    + IP
    + LOSS,
    "names of one letter, digits and dots": classified(CONV)
    .replace('"conv"', '"1.5"')
    .replace('"ip"', '"-"')
    .replace('"conv_Conv', '"0'),
    "names in other languages": classified(CONV).replace('"conv"', '"слой"').replace('"conv_Conv', '"畳み込み'),
    "names with blanks": classified(CONV).replace('"conv"', '"my conv"').replace('"conv_Conv', '"my first conv'),
    "names with quotes": classified(CONV).replace('"conv"', "'a\"b'").replace('"conv_Conv', "\"it's a conv"),
}

#: Whose TEST net has weights of its own, which are random.
RANDOM = {
    "a layer with parameters for TEST only": DATA
    + inner_product("data>ip", 10)
    + LOSS
    + inner_product("data>other", 10).replace("inner_product_param", "include { phase: TEST } inner_product_param"),
}
#: Of forks, and mistakes.
UNKNOWN = {
    "loss_weights of two tops": DATA
    + IP
    + layer("SoftmaxWithLoss", "ip,label>loss,prob", "loss_weight: 1 loss_weight: 0"),
    "HDF5Output in TEST": classified(CONV)
    + layer("HDF5Output", "ip,label>", 'include { phase: TEST } hdf5_output_param { file_name: "scores.h5" }'),
    "SSD Normalize": after_conv(layer("Normalize", "conv>x", "norm_param { across_spatial: false }")),
    "SSD Permute": after_conv(layer("Permute", "conv>x", "permute_param { order: 0 order: 2 order: 3 order: 1 }")),
    "SSD Permute without fields": after_conv(layer("Permute", "conv>x")),
    "DeepLab hole": after_conv(
        layer("Convolution", "conv>x", f"convolution_param {{ num_output: 2 kernel_size: 3 hole: 2 {XAVIER} }}")
    ),
    "DeepLab Interp": after_conv(layer("Interp", "conv>x", "interp_param { height: 9 width: 9 }")),
    "SegNet Upsample": after_conv(layer("Upsample", "conv>x", "upsample_param { scale: 2 }")),
    "SegNet BN": after_conv(layer("BN", "conv>x", "bn_param { bn_mode: INFERENCE }")),
    "Fast R-CNN ROIPooling": after_conv(layer("ROIPooling", "conv>x", "roi_pooling_param { pooled_w: 7 pooled_h: 7 }")),
    "ShuffleNet ShuffleChannel": after_conv(layer("ShuffleChannel", "conv>x", "shuffle_channel_param { group: 2 }")),
    "MobileNet ConvolutionDepthwise": after_conv(
        layer("ConvolutionDepthwise", "conv>x", f"convolution_param {{ num_output: 4 kernel_size: 3 {XAVIER} }}")
    ),
    "face CenterLoss": classified(CONV) + layer("CenterLoss", "ip,label>c", "center_loss_param { num_output: 10 }"),
    "NVIDIA's BatchNorm field": after_conv(layer("BatchNorm", "conv>x", "batch_norm_param { scale_bias: true }")),
    "Dropout scale_train": after_conv(layer("Dropout", "conv>x", "dropout_param { scale_train: false }")),
    "Python layer that is not there": after_conv(
        layer("Python", "conv>x", 'python_param { module: "rpn.no" layer: "L" }')
    ),
    "a layer without a type": after_conv('layer { name: "n" bottom: "conv" top: "x" }\n'),
    "a layer without a type in another phase": classified(CONV)
    + 'layer { name: "n" bottom: "conv" top: "x" include { phase: TEST } }\n',
    "unknown phase": after_conv(layer("ReLU", "conv>x", "include { phase: VALIDATE }")),
    "Softmax and labels of other counts": numbers("data,grid") + IP + layer("SoftmaxWithLoss", "ip,grid>loss"),
    "top twice in one layer": after_conv(layer("Split", "conv>x,x")),
}


def cases():
    found = {f"wild {name}": Case(net) for name, net in ARCHITECTURES.items()}
    found.update({f"wild {name}": Case(net, random=True, why=OWN) for name, net in RANDOM.items()})
    found.update({f"wild bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in UNKNOWN.items()})
    return found
