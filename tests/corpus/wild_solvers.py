"""Solvers as they are found in public repositories: their oddities, and how their text is written."""

from tests.corpus.case import (
    CONV,
    DATA,
    LOSS,
    REFUSED,
    SOLVER,
    TESTS,
    Case,
    classified,
    inner_product,
    layer,
)

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
    "snapshot_prefix with a folder that is not there": 'snapshot_prefix: "no/folder/x" snapshot_after_train: false',
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
    "sigmoid steep": 'lr_policy: "sigmoid" gamma: 5 stepsize: 2',
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
        f'test_net_param {{ {NET} }} test_net_param {{ name: "other" {STAGED} }}',
    ),
    "test_net and test_net_param": Case(
        NET,
        f'{SOLVER} test_iter: 1 test_iter: 2 test_interval: 3 test_initialization: false train_net: "@" test_net: "@" '
        f"test_net_param {{ {STAGED} }}",
    ),
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
        {
            f"found bad {name}": Case(NET, f"{PLAIN} {rest}", stock=REFUSED, ours=REFUSED)
            for name, rest in BAD_FIELDS.items()
        }
    )
    found.update({f"found {name}": case for name, case in PLACES.items()})
    found.update(
        {f"found bad {name}": Case(NET, solver, stock=REFUSED, ours=REFUSED) for name, solver in BAD_PLACES.items()}
    )
    return found
