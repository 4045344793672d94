"""Nets by phases, stages and levels, by where they stand, by sharing, and by how their text is written."""

from tests.corpus.case import (
    CONV,
    DATA,
    LOSS,
    REFUSED,
    SOLVER,
    TESTS,
    Case,
    after_conv,
    classified,
    database,
    inner_product,
    layer,
    numbers,
    over_numbers,
)

PLAIN = classified(CONV)
#: A net in which this decides whether there is a ReLU.
RELU = DATA + CONV + "%s" + inner_product("conv>ip", 10) + LOSS


def rule(rest, solver="", net=""):
    return Case(net + "\n" + RELU % layer("ReLU", "conv>conv", rest), f"{SOLVER} {TESTS} {solver}")


RULES = {
    "include TRAIN": rule("include { phase: TRAIN }"),
    "include TEST": rule("include { phase: TEST }"),
    "include both": rule("include { phase: TRAIN } include { phase: TEST }"),
    "exclude TEST": rule("exclude { phase: TEST }"),
    "exclude both": rule("exclude { phase: TEST } exclude { phase: TRAIN }"),
    "include with a colon": rule("include: { phase: TRAIN }"),
    "phase of the layer": rule("phase: TEST"),
    "stage that is on": rule('include { stage: "fast" }', 'train_state { stage: "fast" }'),
    "stage that is off": rule('include { stage: "fast" }', 'train_state { stage: "slow" }'),
    "two stages of which one is on": rule('include { stage: "a" stage: "b" }', 'train_state { stage: "a" }'),
    "two rules of a stage each": rule(
        'include { stage: "a" } include { stage: "b" }', 'train_state { stage: "b" } test_state { stage: "a" }'
    ),
    "not_stage": rule('include { not_stage: "a" }', 'train_state { stage: "a" } test_state { stage: "b" }'),
    "stage and not_stage": rule(
        'include { stage: "a" not_stage: "b" }', 'train_state { stage: "a" } test_state { stage: "a" stage: "b" }'
    ),
    "stage of the net": rule('exclude { stage: "a" }', net='state { stage: "a" }'),
    "stages of net and solver": rule(
        'include { stage: "a" stage: "b" }', 'train_state { stage: "b" }', net='state { stage: "a" }'
    ),
    "min_level": rule("include { min_level: 2 }", "train_state { level: 2 } test_state { level: 1 }"),
    "max_level": rule("include { max_level: 2 }", "train_state { level: 3 } test_state { level: 2 }"),
    "levels from to": rule("include { min_level: 1 max_level: 3 }", "train_state { level: 2 }"),
    "level of the net": rule("include { min_level: 2 }", net="state { level: 2 }"),
    "level, stage and phase": rule(
        'include { phase: TRAIN min_level: 1 stage: "a" }', 'train_state { level: 1 stage: "a" }'
    ),
    "phase of the net": rule("include { phase: TEST }", net="state { phase: TEST }"),
    "phase of train_state": rule("include { phase: TEST }", "train_state { phase: TEST }"),
    "phase of test_state": rule("include { phase: TRAIN }", "test_state { phase: TRAIN }"),
    "phase of the net and of its dropout": Case(
        "state { phase: TEST }\n" + after_conv(layer("Dropout", "conv>x")), f"{SOLVER} {TESTS}"
    ),
    "exclude by level": rule("exclude { min_level: 0 max_level: 0 }", "train_state { level: 1 }"),
}

TRAIN_ONLY = database("data,label", "images_lmdb", "include { phase: TRAIN } transform_param { scale: 0.00390625 }")
TRAIN_NET = classified(CONV, data=TRAIN_ONLY)
PLACES = {
    "net_param": Case(PLAIN, f"{SOLVER} {TESTS} net_param {{ {PLAIN} }}"),
    "train_net_param": Case(PLAIN, f"{SOLVER} train_net_param {{ {PLAIN} }}"),
    "train_net": Case(PLAIN, f'{SOLVER} train_net: "@"'),
    "train_net and test_net": Case(PLAIN, f'{SOLVER} {TESTS} train_net: "@" test_net: "@"'),
    "train_net and test_net_param": Case(PLAIN, f'{SOLVER} {TESTS} train_net: "@" test_net_param {{ {PLAIN} }}'),
    "train_net_param and test_net": Case(PLAIN, f'{SOLVER} {TESTS} test_net: "@" train_net_param {{ {PLAIN} }}'),
    "net and two test_iters": Case(PLAIN, f'{SOLVER} {TESTS} net: "@" test_iter: 1'),
    "two test_nets": Case(PLAIN, f'{SOLVER} {TESTS} test_iter: 1 train_net: "@" test_net: "@" test_net: "@"'),
    "test_net beside net": Case(PLAIN, f'{SOLVER} {TESTS} test_iter: 3 net: "@" test_net: "@"'),
    "test_states of two test nets": Case(
        RELU % layer("ReLU", "conv>conv", 'include { stage: "a" }'),
        f'{SOLVER} {TESTS} net: "@" test_iter: 1 test_state {{ stage: "a" }} test_state {{ stage: "b" }}',
    ),
    "no TEST phase": Case(TRAIN_NET, SOLVER),
    "name of the net": Case('name: "my net"\n' + PLAIN),
}
BAD_PLACES = {
    "no net": f"{SOLVER} test_iter: 1 test_interval: 1 # @",
    "net and net_param": f'{SOLVER} net: "@" net_param {{ {PLAIN} }}',
    "net and train_net": f'{SOLVER} net: "@" train_net: "@"',
    "test_iter too few": f'{SOLVER} {TESTS} train_net: "@" test_net: "@" test_net: "@"',
    "test_state too few": f'{SOLVER} {TESTS} net: "@" test_iter: 1 test_state {{ stage: "a" }}',
    "net missing": f'{SOLVER} net: "missing.prototxt" # @',
}


def shared(first="", second="", shape=4):
    """Two InnerProducts in a row, of which the parameters have these names."""
    return (
        numbers("x,target")
        + inner_product("x>a", 4)
        + layer(
            "InnerProduct", "a>b", f'{first} inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }}'
        )
        + layer(
            "InnerProduct",
            "b>c",
            f'{second} inner_product_param {{ num_output: {shape} weight_filler {{ type: "xavier" }} }}',
        )
        + inner_product("c>y", 5)
        + layer("EuclideanLoss", "y,target>loss")
    )


SHARING = {
    "shared weights and biases": shared(*['param { name: "w" } param { name: "b" }'] * 2),
    "shared weights": shared(*['param { name: "w" }'] * 2),
    "shared bias": shared(*['param { } param { name: "b" }'] * 2),
    "shared with lr_mult in the owner": shared('param { name: "w" lr_mult: 2 decay_mult: 0 }', 'param { name: "w" }'),
    "shared with lr_mult in the other": shared('param { name: "w" }', 'param { name: "w" lr_mult: 0.5 }'),
    "shared PERMISSIVE": shared('param { name: "w" }', 'param { name: "w" share_mode: PERMISSIVE }'),
    "shared STRICT": shared(*['param { name: "w" share_mode: STRICT }'] * 2),
    "shared with a transposed layer": numbers("x")
    + layer(
        "InnerProduct",
        "x>code",
        'param { name: "w" } inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } }',
    )
    + layer(
        "InnerProduct",
        "code>y",
        'param { name: "w" } inner_product_param { num_output: 6 bias_term: false transpose: true }',
    )
    + layer("EuclideanLoss", "y,x>loss"),
    "parameters of one name in one layer": shared('param { name: "w" } param { name: "v" }'),
    "lr_mult and decay_mult": shared("param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"),
    "lr_mult 0": shared("param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 }"),
    "propagate_down false": shared("propagate_down: false"),
    "propagate_down true": shared("propagate_down: true"),
    "in place twice": after_conv(layer("ReLU", "conv>conv") + layer("Dropout", "conv>conv")),
    "a blob used three times": after_conv(
        layer("ReLU", "conv>a") + layer("TanH", "conv>b") + layer("Eltwise", "conv,a,b>x")
    ),
    "an output nobody uses": PLAIN + layer("Sigmoid", "ip>probability"),
    "layers without names": over_numbers(layer("EuclideanLoss", "y,target>loss"), "x,target").replace(
        'name: "x_HDF5Data"', ""
    ),
    "blobs named as layers": over_numbers(layer("EuclideanLoss", "y,target>loss"), "x,target").replace(
        "y_Inner", "x_Inner"
    ),
    "names with slashes": PLAIN.replace('"conv"', '"block1/conv_3x3"').replace('"conv_Conv', '"block1/conv_Conv'),
    "force_backward": "force_backward: true\n" + PLAIN,
    "debug_info of the net": "debug_info: true\n" + PLAIN,
}
BAD_SHARING = {
    "shared of other shapes": shared('param { name: "w" }', 'param { name: "w" }', 5),
    "shared PERMISSIVE of other counts": shared('param { name: "w" }', 'param { name: "w" share_mode: PERMISSIVE }', 5),
    "shared with two lr_mults": shared('param { name: "w" lr_mult: 2 }', 'param { name: "w" lr_mult: 3 }'),
    "three params for two": shared("param { } param { } param { }"),
    "propagate_down too often": shared("propagate_down: false propagate_down: true"),
    "include and exclude": RELU % layer("ReLU", "conv>conv", "include { phase: TRAIN } exclude { phase: TEST }"),
    "unknown bottom": PLAIN.replace('bottom: "conv"', 'bottom: "convolution"'),
    "bottom before its layer": DATA + inner_product("conv>ip", 10) + CONV + LOSS,
    "top of two layers": DATA + CONV + inner_product("data>conv", 10) + inner_product("conv>ip", 10) + LOSS,
    "a bottom that is left out": RELU % "" + layer("Accuracy", "no,label>accuracy"),
    "two bottoms for one": PLAIN.replace('bottom: "data"', 'bottom: "data" bottom: "label"'),
    "no top": PLAIN.replace('top: "conv"', ""),
    "unknown field": PLAIN.replace("kernel_size", "kernelsize"),
    "unknown enum value": PLAIN.replace("backend: LMDB", "backend: LMDBB"),
    "text for a number": PLAIN.replace("kernel_size: 5", 'kernel_size: "5"'),
    "negative unsigned": PLAIN.replace("kernel_size: 5", "kernel_size: -5"),
    "a bracket too few": PLAIN.rstrip().rstrip("}"),
    "a bracket too many": PLAIN + "}",
    "a field given twice": PLAIN.replace("kernel_size: 5", "num_output: 4 kernel_size: 5"),
}
PHASE_NUMBER = PLAIN + layer("Accuracy", "ip,label>accuracy", "include { phase: 1 }")
WRITTEN = {
    "single quotes": PLAIN.replace('"', "'"),
    "semicolons and commas": PLAIN.replace("batch_size: 10 ", "batch_size: 10; ").replace(
        "kernel_size: 5", "kernel_size: 5,"
    ),
    "colons before braces": PLAIN.replace("_param {", "_param: {"),
    "angle brackets": PLAIN.replace("convolution_param {", "convolution_param <").replace(
        '"xavier" } }', '"xavier" } >', 1
    ),
    "one line": PLAIN.replace("\n", " "),
    "comments": "# first\n" + PLAIN.replace("\n", " # of the layer {\n"),
    "an enum as a number": PHASE_NUMBER,
    "hexadecimal and octal": PLAIN.replace("kernel_size: 5", "kernel_size: 0x5").replace(
        "batch_size: 10", "batch_size: 012"
    ),
    "lists in brackets": after_conv(layer("Reshape", "conv>x", "reshape_param { shape { dim: [0, -1, 4] } }")),
    "floats": PLAIN.replace("0.00390625", "3.90625e-3f"),
    "strings in pieces": PLAIN.replace('"images_lmdb"', '"images_" "lmdb"'),
    "escapes in strings": PLAIN.replace('"images_lmdb"', '"images\\x5flmdb"'),
    "booleans": after_conv(layer("Scale", "conv>x", "scale_param { bias_term: t }")),
    "windows line ends": PLAIN.replace("\n", "\r\n"),
}


UNUSED = "it is trained without validation"


def cases():
    found = {**RULES, **PLACES}
    found["test_iter for no test net"] = Case(PLAIN, f'{SOLVER} {TESTS} train_net: "@"', stock=REFUSED, why=UNUSED)
    found["test_interval missing"] = Case(PLAIN, f'{SOLVER} net: "@" test_iter: 1', stock=REFUSED, why=UNUSED)
    found["in place with parameters"] = Case(
        PLAIN.replace('top: "ip"', 'top: "conv"').replace('bottom: "ip"', 'bottom: "conv"')
    )
    found.update(
        {f"bad {name}": Case(PLAIN, solver, stock=REFUSED, ours=REFUSED) for name, solver in BAD_PLACES.items()}
    )
    found.update({name: Case(net) for name, net in {**SHARING, **WRITTEN}.items()})
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in BAD_SHARING.items()})
    return found
