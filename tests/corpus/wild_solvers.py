"""Solvers as they are found in public repositories: their oddities, and how their text is written."""

from tests.corpus.case import CONV, DATA, LOSS, REFUSED, RUNS, SOLVER, TESTS, Case, classified, inner_product, layer, numbers

NET = classified(CONV)
PLAIN = f'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" {TESTS}'
RELU = DATA + CONV + "%s" + inner_product("conv>ip", 10) + LOSS
STAGED = RELU % layer("ReLU", "conv>conv", 'include { stage: "with-relu" }')

#: What is put behind a plain solver.
FIELDS = {
    "solver_mode CPU": "solver_mode: CPU",
    "solver_mode as a number": "solver_mode: 0",
    "solver_mode 1 and device_id": "solver_mode: 1 device_id: 3",
    "device_id -1": "device_id: -1",
    "snapshot_prefix with a folder that is not there": 'snapshot: 0 snapshot_prefix: "no/such/folder/x" snapshot_after_train: false',
    "snapshot_prefix with blanks": 'snapshot_prefix: "my nets/a b" snapshot_after_train: false',
    "snapshot_prefix empty": 'snapshot_prefix: "" snapshot_after_train: false',
    "snapshot_format as a number": "snapshot_format: 0 snapshot_after_train: false",
    "train_state with an empty stage": 'train_state { level: 0 stage: "" }',
    "train_state empty": "train_state { }",
    "test_state empty": "test_state { }",
    "test_state with a colon": 'test_state: { stage: "a" stage: "b" level: 7 }',
    "debug_info as a number": "debug_info: 0",
    "debug_info and display": "debug_info: 1 display: 1",
    "display 0": "display: 0",
    "average_loss larger than the run": "average_loss: 1000 display: 1",
    "average_loss smaller": "average_loss: 2 display: 1",
    "iter_size and average_loss": "iter_size: 4 average_loss: 3 display: 1",
    "test_compute_loss": "test_compute_loss: true",
    "momentum2 and delta for SGD": "momentum2: 0.999 delta: 1e-8 rms_decay: 0.9",
    "weight_decay 0": "weight_decay: 0",
    "clip_gradients of -1": "clip_gradients: -1",
    "clip_gradients of 0": "clip_gradients: 0",
    "clip_gradients of -5": "clip_gradients: -5",
    "layer_wise_reduce": "layer_wise_reduce: true",
    "power and gamma for fixed": "power: 0.75 gamma: 0.1 stepsize: 100 stepvalue: 5",
    "random_seed twice in other places": "",
    "type as SGD": 'type: "SGD"',
    "solver_type 0": "solver_type: 0",
    "solver_type 1": "solver_type: 1",
    "solver_type NESTEROV": "solver_type: NESTEROV",
}
POLICIES = {
    "step of 1": 'lr_policy: "step" gamma: 0.1 stepsize: 1',
    "step that never comes": 'lr_policy: "step" gamma: 0.1 stepsize: 1000000',
    "step gamma 1": 'lr_policy: "step" gamma: 1 stepsize: 1',
    "multistep without values": 'lr_policy: "multistep" gamma: 0.5',
    "multistep equal values": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 1',
    "multistep beginning at 0": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 0 stepvalue: 2',
    "multistep in a list": 'lr_policy: "multistep" gamma: 0.5 stepvalue: [1, 2]',
    "poly of power 0": 'lr_policy: "poly" power: 0',
    "poly without power": 'lr_policy: "poly"',
    "inv without power": 'lr_policy: "inv" gamma: 0.1',
    "exp of 0": 'lr_policy: "exp" gamma: 0',
    "sigmoid falling": 'lr_policy: "sigmoid" gamma: -5 stepsize: 2',
    "exp above 1": 'lr_policy: "exp" gamma: 1.01',
    "fixed in quotes of one kind": "lr_policy: 'fixed'",
}
BAD_POLICIES = {
    "step stepsize 0": 'lr_policy: "step" gamma: 0.1 stepsize: 0',
    "step stepsize negative": 'lr_policy: "step" gamma: 0.1 stepsize: -1',
    "step without gamma": 'lr_policy: "step" stepsize: 2 gamma: -0.1',
    "upper case": 'lr_policy: "Step" gamma: 0.1 stepsize: 1',
    "of a fork": 'lr_policy: "plateau" gamma: 0.1 plateau_winsize: 5',
    "empty": 'lr_policy: ""',
    "cosine": 'lr_policy: "cosine"',
    "burnin": 'lr_policy: "poly" power: 4 burn_in: 1000',
    "without quotes": "lr_policy: fixed",
}
TYPES = {
    "AdaDelta without momentum": ('type: "AdaDelta" delta: 1e-6', "fixed"),
    "AdaDelta with delta": ('type: "AdaDelta" momentum: 0.9 delta: 1e-4', "fixed"),
    "Adam without momentum": ('type: "Adam"', "fixed"),
    "Adam with delta": ('type: "Adam" momentum: 0.9 momentum2: 0.999 delta: 0.0001', "fixed"),
    "RMSProp with delta": ('type: "RMSProp" rms_decay: 0.98 delta: 1e-4', "fixed"),
    "AdaGrad with delta": ('type: "AdaGrad" delta: 1e-4', "fixed"),
    "Nesterov without momentum": ('type: "Nesterov"', "fixed"),
    "Adam's old name": ("solver_type: ADAM momentum: 0.9", "fixed"),
    "RMSProp's old name": ("solver_type: RMSPROP rms_decay: 0.9", "fixed"),
}
#: As pycaffe's own examples name them, and mistakes.
BAD_FIELDS = {
    "type lower case": 'type: "adam"',
    "type ADAM": 'type: "ADAM"',
    "type without quotes": "type: Adam",
    "solver_mode of another word": "solver_mode: gpu",
    "max_iter in quotes": 'gamma: "0.1"',
    "max_iter as a float": "display: 20.0",
    "max_iter as 1e5": "display: 1e5",
    "base_lr twice": "base_lr: 0.1",
    "two snapshot_prefixes": 'snapshot_prefix: "a" snapshot_prefix: "b"',
    "a number with a comma": "delta: 0,001",
    "an equals sign": "delta = 0.001",
    "json": '"delta": 0.001',
    "a field of NVIDIA's": "global_grad_scale: 1000",
    "a field of SSD's": 'eval_type: "detection"',
    "a field of SSD's, ap_version": 'ap_version: "11point"',
    "momentum_policy of Intel's": 'momentum_policy: "fixed"',
    "a comment of C++": "// display: 3",
    "plateau_winsize": "plateau_winsize: 3",
    "test_iter 0 for one net of two": "test_iter: 0 test_iter: 1 test_iter: 2",
}
PLACES = {
    "two test_iters and two test_states": Case(
        STAGED,
        f'{SOLVER} test_iter: 2 test_iter: 1 test_interval: 3 test_initialization: false net: "@" '
        'test_state { stage: "with-relu" } test_state { }',
    ),
    "train_state for a stage": Case(STAGED, f'{SOLVER} {TESTS} net: "@" train_state: {{ stage: "with-relu" }}'),
    "net_param inline with its own state": Case(
        NET, f'{SOLVER} {TESTS} net_param {{ state {{ stage: "with-relu" }} {STAGED} }}'
    ),
    "net_param and train_state": Case(
        NET, f'{SOLVER} {TESTS} net_param {{ {STAGED} }} train_state {{ stage: "with-relu" level: 1 }}'
    ),
    "test_net_params of two": Case(
        NET,
        f'{SOLVER} test_iter: 1 test_iter: 2 test_interval: 3 test_initialization: false train_net: "@" '
        f"test_net_param {{ {NET} }} test_net_param {{ name: \"other\" {STAGED} }}",
    ),
    "test_net and test_net_param": Case(
        NET,
        f'{SOLVER} test_iter: 1 test_iter: 2 test_interval: 3 test_initialization: false train_net: "@" test_net: "@" '
        f"test_net_param {{ {STAGED} }}",
    ),
    "test_interval larger than the run": Case(NET, f"{SOLVER} test_iter: 2 test_interval: 1000 test_initialization: false"),
    "net in quotes of one kind": Case(NET, f"{SOLVER} {TESTS} net: '@'"),
    "net with ./": Case(NET, f'{SOLVER} {TESTS} net: "./@"'),
    "net in pieces": Case(NET, f'{SOLVER} {TESTS} net: "./" "@"'),
    "net with an absolute part": Case(NET, f'{SOLVER} {TESTS} net: "pictures/../@"'),
}
BAD_PLACES = {
    "net of an empty name": f'{SOLVER} {TESTS} net: "" # @',
    "net that is a folder": f'{SOLVER} {TESTS} net: "pictures" # @',
    "net that is a solver": f'{SOLVER} {TESTS} net: "solver_itself.prototxt" # @',
    "net with a blank behind": f'{SOLVER} {TESTS} net: "@ "',
    "net_param empty": f"{SOLVER} {TESTS} net_param {{ }} # @",
    "train_net twice": f'{SOLVER} train_net: "@" train_net: "@"',
    "max_iter negative as unsigned": f'{SOLVER} {TESTS} net: "@" test_iter: -1',
}


def text(name, solver, net=NET, **options):
    return {name: Case(net, solver, **options)}


#: Texts of solvers, with @ where the net's file stands.
LINES = "net: \"@\"\nbase_lr: 0.01\nmomentum: 0.9\nlr_policy: \"fixed\"\nweight_decay: 0.0005\ntest_iter: 2\ntest_interval: 3\ntest_initialization: false\n"
WRITTEN = {
    "comments behind everything": LINES.replace("\n", "   # as of 2015: { \" ' }\n"),
    "comments between a name and its value": LINES.replace("momentum:", "momentum # the\n  :  # value\n "),
    "a comment at the end without a line's end": LINES + "# end",
    "a comment with a BOM": "\ufeff# made by an editor\n" + LINES,
    "a BOM": "\ufeff" + LINES,
    "CRLF": LINES.replace("\n", "\r\n"),
    "CR in comments": LINES.replace("\n", " # c\r\n"),
    "tabs": LINES.replace("\n", "\t\n\t").replace(": ", ":\t\t"),
    "form feeds and vertical tabs": LINES.replace("\n", "\f\n").replace(": ", ":\v"),
    "no blanks": LINES.replace(": ", ":"),
    "blanks before colons": LINES.replace(": ", "   : "),
    "semicolons": LINES.replace("\n", ";\n"),
    "commas": LINES.replace("\n", ",\n"),
    "a plus sign": LINES.replace("0.9", "+0.9"),
    "a minus sign with a blank": LINES + "clip_gradients: - 1\n",
    "floats that end in f": LINES.replace("0.9", "0.9f"),
    "floats that end in F": LINES.replace("0.9", "0.9F"),
    "an integer that ends in f": LINES + "gamma: 1f\n",
    "floats without a zero": LINES.replace("0.9", ".9"),
    "floats that end in a point": LINES + "gamma: 1.\n",
    "floats in exponents": LINES.replace("0.01", "1E-2").replace("0.0005", "+5e-4").replace("+5", "5"),
    "hexadecimal": LINES.replace("test_iter: 2", "test_iter: 0x2").replace("test_iter: 0x2", "test_iter: 2") + "display: 0xA\n",
    "octal": LINES + "display: 012\n",
    "octal of 8": LINES + "display: 08\n",
    "hexadecimal for a float": LINES + "gamma: 0x10\n",
    "octal for a float": LINES + "gamma: 010\n",
    "inf": LINES + "gamma: inf\n",
    "infinity": LINES + "gamma: infinity\n",
    "-inf": LINES + "gamma: -inf\n",
    "nan": LINES + "gamma: nan\n",
    "NaN": LINES + "gamma: NaN\n",
    "Infinity": LINES + "gamma: Infinity\n",
    "a number that is too large": LINES + "gamma: 1e50\n",
    "an integer that is too large": LINES + "display: 3000000000\n",
    "an integer of 1e400": LINES + "gamma: 1e400\n",
    "booleans as T": LINES + "debug_info: f test_compute_loss: t\n",
    "booleans as True": LINES + "test_compute_loss: True\n",
    "booleans as TRUE": LINES + "test_compute_loss: TRUE\n",
    "booleans as 1 and 0": LINES + "test_compute_loss: 1 debug_info: 0\n",
    "booleans as 2": LINES + "test_compute_loss: 2\n",
    "booleans as 0x1": LINES + "test_compute_loss: 0x1\n",
    "booleans in quotes": LINES + 'test_compute_loss: "true"\n',
    "enums in quotes": LINES + 'solver_mode: "GPU"\n',
    "enums in lower case": LINES + "snapshot_format: hdf5\n",
    "enums of unknown numbers": LINES + "solver_mode: 7\n",
    "enums of negative numbers": LINES + "solver_mode: -1\n",
    "strings of two kinds in pieces": LINES.replace('"fixed"', "\"fi\" 'xed'"),
    "strings in pieces on two lines": LINES.replace('"fixed"', '"fi"\n   "xed"'),
    "strings in pieces with a comment": LINES.replace('"fixed"', '"fi" # and\n   "xed"'),
    "strings over two lines": LINES.replace('"fixed"', '"fix\ned"'),
    "strings that go on with a backslash": LINES.replace('"fixed"', '"fix\\\ned"'),
    "escapes": LINES.replace('"fixed"', '"\\146i\\x78\\145d"'),
    "escapes in upper case": LINES.replace('"fixed"', '"fi\\X78ed"'),
    "unknown escapes": LINES.replace('"fixed"', '"\\fixed"'),
    "an escape that is none": LINES + 'snapshot_prefix: "a\\q"\nsnapshot_after_train: false\n',
    "Windows' paths": LINES + 'snapshot_prefix: "C:\\new\\table"\nsnapshot_after_train: false\n',
    "Windows' paths, unknown escape": LINES + 'snapshot_prefix: "D:\\models\\x"\nsnapshot_after_train: false\n',
    "a quote not closed": LINES.replace('"fixed"', '"fixed'),
    "typographic quotes": LINES.replace('"fixed"', "“fixed”"),
    "a quote within the other kind": LINES + "snapshot_prefix: \"it's\"\nsnapshot_after_train: false\n",
    "lists": LINES.replace("test_iter: 2", "test_iter: [2]"),
    "lists that are empty": LINES + "stepvalue: []\n",
    "lists with a comma behind": LINES + "stepvalue: [1, 2,]\n",
    "lists of what is no list": LINES + "gamma: [1]\n",
    "a colon twice": LINES.replace("momentum:", "momentum::"),
    "no colon": LINES.replace("momentum:", "momentum"),
    "a colon and a brace": LINES + 'train_state: { stage: "a" }\n',
    "angle brackets": LINES + 'train_state < stage: "a" >\n',
    "a colon and an angle bracket": LINES + 'train_state: < stage: "a" >\n',
    "braces that do not match": LINES + 'train_state { stage: "a" >\n',
    "names in upper case": LINES.replace("momentum", "Momentum"),
    "names with a hyphen": LINES.replace("weight_decay", "weight-decay"),
    "names in quotes": LINES.replace("momentum", '"momentum"'),
    "field numbers": LINES + "4: 0.5\n",
    "an extension": LINES + "[caffe.nothing]: 3\n",
    "a non-breaking space": LINES.replace("momentum: ", "momentum:\u00a0"),
    "a zero-width space": LINES.replace("momentum: ", "momentum: \u200b"),
    "other letters in comments": "# обучение 训练 é\n" + LINES,
    "blanks at the ends": LINES.replace("\n", "   \n   ") + "\n\n\n",
    "nothing but a comment": "# @\n",
    "two solvers in one": LINES + "test_iter: 3\n",
    "a semicolon alone": LINES + ";\n",
    "two semicolons": LINES.replace("\n", ";;\n"),
    "a brace at the end": LINES + "}\n",
    "a solver in braces": "{\n" + LINES + "}\n",
    "numbers with an underscore": LINES + "display: 1_000\n",
    "numbers with an l": LINES + "display: 10l\n",
    "a negative zero": LINES + "gamma: -0\n",
    "leading zeros in floats": LINES.replace("0.9", "00.9"),
    "a float of zeros": LINES.replace("0.9", "0.9000000000000000000000000000001"),
}


def cases():
    found = {f"found solver {name}": Case(NET, f"{PLAIN} {rest}") for name, rest in FIELDS.items()}
    for name, rest in POLICIES.items():
        found[f"found policy {name}"] = Case(NET, f"base_lr: 0.01 momentum: 0.9 {TESTS} {rest}")
    for name, rest in BAD_POLICIES.items():
        found[f"found bad policy {name}"] = Case(
            NET, f"base_lr: 0.01 momentum: 0.9 {TESTS} {rest}", stock=REFUSED, ours=REFUSED
        )
    for name, (rest, policy) in TYPES.items():
        found[f"found type {name}"] = Case(NET, f'base_lr: 0.01 lr_policy: "{policy}" {rest} {TESTS}')
    found.update(
        {f"found bad {name}": Case(NET, f"{PLAIN} {rest}", stock=REFUSED, ours=REFUSED) for name, rest in BAD_FIELDS.items()}
    )
    found.update({f"found {name}": case for name, case in PLACES.items()})
    found.update({f"found bad {name}": Case(NET, solver, stock=REFUSED, ours=REFUSED) for name, solver in BAD_PLACES.items()})
    found.update({f"text {name}": Case(NET, solver) for name, solver in WRITTEN.items()})
    return found
