"""Deploy nets: what ``-net`` takes of them, and that their rows are scored as ``net.forward`` does."""

from tests.corpus.case import REFUSED, RUNS, as_v1, inner_product, last_top, layer

__all__ = ["DEPLOY", "STATED"]

IMAGE, X = "dim: 10 dim: 1 dim: 12 dim: 12", "dim: 10 dim: 6"
CONV = layer(
    "Convolution",
    "data>conv",
    'convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } }',
)


def given(*shapes, tops="data"):
    """An Input layer."""
    return layer("Input", f">{tops}", "input_param { " + " ".join(f"shape {{ {one} }}" for one in shapes) + " }")


def classes(text):
    """These layers, an InnerProduct over the last top, and probabilities."""
    return text + inner_product(f"{last_top(text)}>ip", 10) + layer("Softmax", "ip>prob")


INPUT = given(IMAGE)
OLD = 'input: "data" input_dim: 10 input_dim: 1 input_dim: 12 input_dim: 12\n'
TWO = given(X, X, tops="x,x2") + inner_product("x>a", 5) + inner_product("x2>b", 5) + layer("Eltwise", "a,b>prob")
#: Nets by name: the text, and what stock Caffe and we make of it.
RUN = {
    "Input": classes(INPUT + CONV),
    "input_dim": OLD + classes(CONV),
    "input_shape": f'input: "data" input_shape {{ {IMAGE} }}\n' + classes(CONV),
    "V1 input_dim": OLD + as_v1(classes(CONV)),
    "two tops": TWO,
    "one shape for two tops": TWO.replace(f"shape {{ {X} }} shape {{ {X} }}", f"shape {{ {X} }}"),
    "two Input layers": given(X, tops="x") + given(X, tops="x2") + TWO.partition("\n")[2],
    "two input fields": f'input: "x" input: "x2" input_shape {{ {X} }} input_shape {{ {X} }}\n'
    + TWO.partition("\n")[2],
    "Input behind other layers": given(X, tops="x")
    + inner_product("x>a", 5)
    + given(X, tops="x2")
    + inner_product("x2>b", 5)
    + layer("Eltwise", "a,b>prob"),
    "numbers as 1 x 1 pixels": given("dim: 10 dim: 6 dim: 1 dim: 1", tops="x") + inner_product("x>prob", 3),
    "without parameters": given(X, tops="x") + layer("Softmax", "x>prob"),
    "in place": classes(INPUT + CONV + layer("ReLU", "conv>conv") + layer("Dropout", "conv>conv")),
    "in place over the input": given(X, tops="x") + layer("ReLU", "x>x") + inner_product("x>prob", 3),
    "shared": given(X, X, tops="x,x2")
    + "".join(
        inner_product(f"{one}>{one}a", 5).replace(" inner", ' param { name: "w" } param { name: "b" } inner')
        for one in ("x", "x2")
    )
    + layer("Concat", "xa,x2a>prob"),
    "BatchNorm and Scale": classes(
        INPUT + CONV + layer("BatchNorm", "conv>bn") + layer("Scale", "bn>s", "scale_param { bias_term: true }")
    ),
    "DummyData beside": given(X, tops="x")
    + inner_product("x>y", 5)
    + layer("DummyData", ">n", "dummy_data_param { shape { dim: 10 dim: 5 } data_filler { value: 2 } }")
    + layer("Eltwise", "y,n>prob"),
    "Parameter": given(X, tops="x")
    + layer("Parameter", ">w", "parameter_param { shape { dim: 6 } }")
    + layer("Scale", "x,w>prob", "scale_param { axis: 1 }"),
    "layers of one phase": classes(
        INPUT
        + CONV
        + layer("Silence", "conv>", "include { phase: TRAIN }")
        + layer("TanH", "conv>t", "include { phase: TEST }")
    ),
    "batch stated by Reshape": classes(
        INPUT + CONV + layer("Reshape", "conv>r", "reshape_param { shape { dim: 10 dim: 256 } }")
    ),
    "ArgMax": given(X, tops="x") + inner_product("x>y", 4) + layer("ArgMax", "y>prob"),
}
OTHER = {
    "batches that differ": (  # a row of data fills one sample of each input
        given(X, "dim: 5 dim: 6", tops="x,x2") + inner_product("x>a", 5) + inner_product("x2>b", 5),
        RUNS,
        REFUSED,
    ),
    "three shapes for two": (TWO.replace("shape {", f"shape {{ {X} }} shape {{", 1), REFUSED, REFUSED),
    "no shape": (TWO.replace(f"input_param {{ shape {{ {X} }} shape {{ {X} }} }}", ""), REFUSED, REFUSED),
    "unknown bottom": (INPUT + inner_product("dat>prob", 3), REFUSED, REFUSED),
    "too small": (given("dim: 10 dim: 1 dim: 4 dim: 4") + CONV, REFUSED, REFUSED),
    "unknown type": (INPUT + layer("Convolute", "data>prob"), REFUSED, REFUSED),
    "input_dim too few": (OLD.replace("input_dim: 10 ", "", 1) + classes(CONV), REFUSED, REFUSED),
    "a top twice": (INPUT + given(X) + inner_product("data>prob", 3), REFUSED, REFUSED),
}
#: Whose last batch is filled up.
STATED = ("DummyData beside", "batch stated by Reshape")
DEPLOY = {name: (net, RUNS, RUNS) for name, net in RUN.items()}
DEPLOY.update({f"bad {name}": case for name, case in OTHER.items()})
