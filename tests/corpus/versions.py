"""Nets as of before 2014 (V0) and 2015 (V1), and what old files mix."""

from tests.corpus.case import CONV, DATA, LOSS, REFUSED, SOLVER, TESTS, Case, as_v1, classified, inner_product


def v0(kind, blobs, rest=""):
    """A layer as of 2013."""
    bottoms, tops = (side.split(",") if side else [] for side in blobs.split(">"))
    name = f"{(tops or bottoms)[0]}_{kind}"
    ends = [f'bottom: "{blob}"' for blob in bottoms] + [f'top: "{blob}"' for blob in tops]
    return f'layers {{ layer {{ name: "{name}" type: "{kind}" {rest} }} {" ".join(ends)} }}\n'


XAVIER = 'weight_filler { type: "xavier" }'
V0_DATA = v0("hdf5_data", ">data,label", 'source: "numbers.txt" batchsize: 10')
V0_CONV = v0("conv", "data>conv", f"num_output: 4 kernelsize: 5 {XAVIER}")
V0_END = v0("innerproduct", "%s>ip", f"num_output: 10 {XAVIER}") + v0("softmax_loss", "ip,label>loss")


def v0_net(text, last="x", data=V0_DATA):
    return data + text + V0_END % last


V0 = {
    "V0 conv": v0_net(V0_CONV, "conv"),
    "V0 conv with everything": v0_net(
        v0(
            "conv",
            "data>x",
            "num_output: 4 kernelsize: 3 pad: 1 stride: 2 group: 1 biasterm: true blobs_lr: 1 blobs_lr: 2 "
            f'weight_decay: 1 weight_decay: 0 {XAVIER} bias_filler {{ type: "constant" value: 0.2 }}',
        )
    ),
    "V0 conv without bias": v0_net(v0("conv", "data>x", f"num_output: 4 kernelsize: 3 biasterm: false {XAVIER}")),
    "V0 padding": v0_net(
        v0("padding", "data>p", "pad: 2") + v0("conv", "p>x", f"num_output: 4 kernelsize: 5 {XAVIER}")
    ),
    "V0 pool MAX": v0_net(V0_CONV + v0("pool", "conv>x", "pool: MAX kernelsize: 2 stride: 2")),
    "V0 pool AVE": v0_net(V0_CONV + v0("pool", "conv>x", "pool: AVE kernelsize: 3 stride: 2 pad: 1")),
    "V0 lrn": v0_net(V0_CONV + v0("lrn", "conv>x", "local_size: 3 alpha: 0.01 beta: 0.5 k: 2")),
    "V0 dropout": v0_net(V0_CONV + v0("dropout", "conv>conv", "dropout_ratio: 0.4"), "conv"),
    "V0 concat": v0_net(V0_CONV + v0("relu", "conv>a") + v0("tanh", "conv>b") + v0("concat", "a,b>x", "concat_dim: 1")),
    "V0 split": v0_net(V0_CONV + v0("split", "conv>a,b") + v0("concat", "a,b>x")),
    "V0 multinomial_logistic_loss": V0_DATA
    + v0("innerproduct", "data>ip", f"num_output: 10 {XAVIER}")
    + v0("softmax", "ip>p")
    + v0("multinomial_logistic_loss", "p,label>loss"),
    "V0 infogain_loss": V0_DATA
    + v0("innerproduct", "data>ip", f"num_output: 10 {XAVIER}")
    + v0("softmax", "ip>p")
    + v0("infogain_loss", "p,label>loss", 'source: "infogain.binaryproto"'),
    "V0 euclidean_loss": V0_DATA.replace('"data"', '"x"').replace('"label"', '"target"')
    + v0("innerproduct", "x>y", f"num_output: 5 {XAVIER}")
    + v0("euclidean_loss", "y,target>loss"),
    "V0 accuracy": v0_net(V0_CONV, "conv") + v0("accuracy", "ip,label>accuracy"),
    "V0 images": v0_net(
        v0("innerproduct", "data>x", f"num_output: 4 {XAVIER}"),
        data=v0("images", ">data,label", 'source: "colour.txt" batchsize: 10 scale: 0.01 new_height: 12 new_width: 12'),
    ),
    "V0 blobs_lr 0": v0_net(v0("conv", "data>x", f"num_output: 4 kernelsize: 3 blobs_lr: 0 blobs_lr: 0 {XAVIER}")),
}
for _kind in ("relu", "sigmoid", "tanh", "bnll", "flatten", "softmax"):
    V0[f"V0 {_kind}"] = v0_net(V0_CONV + v0(_kind, "conv>x"))

PLAIN = classified(CONV)
V1_PLAIN = as_v1(PLAIN)
V1_OLD_FIELDS = V1_PLAIN.replace("transform_param { scale: 0.00390625 }", "").replace(
    "batch_size: 10", "batch_size: 10 scale: 0.00390625"
)
V1 = {
    "V1": V1_PLAIN,
    "V1 scale in data_param": V1_OLD_FIELDS,
    "V1 mean_file in data_param": V1_OLD_FIELDS.replace("scale:", 'mean_file: "mean.binaryproto" scale:'),
    "V1 crop_size in data_param": V1_OLD_FIELDS.replace("scale:", "crop_size: 12 mirror: false scale:"),
    "V1 scale in image_data_param": V1_OLD_FIELDS.replace("type: DATA", "type: IMAGE_DATA")
    .replace("data_param {", "image_data_param {")
    .replace("images_lmdb", "colour.txt")
    .replace("backend: LMDB", "new_height: 12 new_width: 12"),
    "V1 blobs_lr and weight_decay": V1_PLAIN.replace(
        "convolution_param", "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 convolution_param"
    ),
    "V1 blobs_lr 0": V1_PLAIN.replace("convolution_param", "blobs_lr: 0 blobs_lr: 0 convolution_param"),
    "V1 loss_weight": V1_PLAIN.replace('top: "loss"', 'top: "loss" loss_weight: 0.5'),
    "V1 loss without a top": V1_PLAIN.replace('top: "loss"', ""),
    "V1 phases": V1_PLAIN
    + 'layers { name: "a" type: ACCURACY bottom: "ip" bottom: "label" top: "a" include: { phase: TEST } }',
    "V1 shared by param": as_v1(
        DATA
        + inner_product("data>a", 12)
        + inner_product("a>b", 12)
        + inner_product("b>c", 12)
        + inner_product("c>ip", 10)
        + LOSS
    )
    .replace('bottom: "a"', 'param: "w" param: "b" bottom: "a"')
    .replace('bottom: "b"', 'param: "w" param: "b" bottom: "b"'),
    "V1 blob_share_mode": as_v1(
        DATA + inner_product("data>a", 12) + inner_product("a>b", 12) + inner_product("b>ip", 10) + LOSS
    ).replace('bottom: "a"', 'param: "w" blob_share_mode: STRICT bottom: "a"'),
    "V1 concat and eltwise": as_v1(
        DATA
        + CONV
        + 'layer { name: "a" type: "Sigmoid" bottom: "conv" top: "a" }\n'
        + 'layer { name: "e" type: "Eltwise" bottom: "conv" bottom: "a" top: "e" eltwise_param { operation: SUM } }\n'
        + 'layer { name: "c" type: "Concat" bottom: "e" bottom: "a" top: "c" concat_param { concat_dim: 1 } }\n'
        + inner_product("c>ip", 10)
        + LOSS
    ),
    "V1 HINGE_LOSS": V1_PLAIN.replace("SOFTMAX_LOSS", "HINGE_LOSS"),
    "V1 HDF5_DATA": V1_PLAIN.replace("transform_param { scale: 0.00390625 }", "")
    .replace("type: DATA", "type: HDF5_DATA")
    .replace("data_param {", "hdf5_data_param {")
    .replace("images_lmdb", "numbers.txt")
    .replace("backend: LMDB", ""),
}
BAD = {
    "V0 im2col": v0_net(V0_CONV + v0("im2col", "conv>x", "kernelsize: 2 stride: 2")),  # no field says its kernel
    "V0 type": v0_net(v0("convolution", "data>x", f"num_output: 4 kernelsize: 3 {XAVIER}")),
    "V1 type": V1_PLAIN.replace("CONVOLUTION", "CONVOLUTIONS"),
    "V1 type as text": V1_PLAIN.replace("type: CONVOLUTION", 'type: "Convolution"'),
    "today's type as an enum": PLAIN.replace('type: "Convolution"', "type: CONVOLUTION"),
    "V1 and today's layers": V1_PLAIN + CONV.replace('"conv', '"conv2'),
    "V0 and V1 layers": V1_PLAIN + v0("relu", "ip>y"),
    "blobs_lr in a layer of today": PLAIN.replace("convolution_param", "blobs_lr: 1 convolution_param"),
    "V0 padding before pooling": v0_net(v0("padding", "data>p", "pad: 2") + v0("lrn", "p>x")),
}


def cases():
    found = {name: Case(net) for name, net in {**V0, **V1}.items()}
    found["V1 in net_param"] = Case(
        V1_PLAIN,
        f"{SOLVER} {TESTS} net_param {{ {V1_PLAIN} }}",
        stock=REFUSED,
        why="Caffe brings nets up to date that are files; here those in a solver are, too",
    )
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in BAD.items()})
    return found
