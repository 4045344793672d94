"""The solvers: their types, learning rate policies, and what else they say; and those that Caffe refuses."""

from tests.corpus.case import CONV, REFUSED, TESTS, Case, classified

NET = classified(CONV)
RULES = {
    "SGD": 'type: "SGD" momentum: 0.9',
    "Nesterov": 'type: "Nesterov" momentum: 0.9',
    "AdaGrad": 'type: "AdaGrad"',
    "RMSProp": 'type: "RMSProp" rms_decay: 0.95',
    "AdaDelta": 'type: "AdaDelta" momentum: 0.95 delta: 1e-6',
    "Adam": 'type: "Adam" momentum: 0.9 momentum2: 0.99',
}
POLICIES = {
    "fixed": "",
    "step": "gamma: 0.5 stepsize: 2",
    "exp": "gamma: 0.5",
    "inv": "gamma: 0.1 power: 0.75",
    "multistep": "gamma: 0.5 stepvalue: 1 stepvalue: 2",
    "poly": "power: 2",
    "sigmoid": "gamma: 0.5 stepsize: 2",
}
PLAIN = f'lr_policy: "fixed" base_lr: 0.01 momentum: 0.9 {TESTS}'
OTHERS = {
    "weight_decay L1": 'weight_decay: 0.001 regularization_type: "L1"',
    "weight_decay L2": 'weight_decay: 0.001 regularization_type: "L2"',
    "weight_decay 0 with any regularization": 'weight_decay: 0 regularization_type: "L3"',
    "clip_gradients": "clip_gradients: 0.1",
    "iter_size": "iter_size: 3",
    "iter_size with everything": "iter_size: 2 clip_gradients: 1 weight_decay: 0.01",
    "average_loss": "average_loss: 10 display: 1",
    "debug_info": "debug_info: true",
    "test_compute_loss": "test_compute_loss: true",
    "snapshot fields": 'snapshot: 0 snapshot_prefix: "s" snapshot_diff: true snapshot_after_train: false',
    "display": "display: 1",
    "layer_wise_reduce": "layer_wise_reduce: false",
    "device_id": "device_id: 0",
}
BAD = {
    "type": f'{PLAIN} type: "sgd"',
    "type and solver_type": f'{PLAIN} type: "SGD" solver_type: SGD',
    "no lr_policy": f"base_lr: 0.01 {TESTS}",
    "lr_policy": f'base_lr: 0.01 lr_policy: "stepp" {TESTS}',
    "step without stepsize": f'base_lr: 0.01 lr_policy: "step" gamma: 0.1 {TESTS}',
    "gamma below 0": f'base_lr: 0.01 lr_policy: "exp" gamma: -1 {TESTS}',
    "sigmoid with gamma below 0": f'base_lr: 0.02 lr_policy: "sigmoid" gamma: -0.5 stepsize: 2 {TESTS}',
    "regularization_type": f'{PLAIN} weight_decay: 0.1 regularization_type: "L3"',
    "AdaGrad with momentum": f'{PLAIN} type: "AdaGrad"',
    "RMSProp with momentum": f'{PLAIN} type: "RMSProp"',
    "RMSProp with rms_decay 1": f'base_lr: 0.01 lr_policy: "fixed" type: "RMSProp" rms_decay: 1 {TESTS}',
    "average_loss 0": f"{PLAIN} average_loss: 0",
    "unknown field": f"{PLAIN} learning_rate: 3",
    "a semicolon for a colon": f"{PLAIN} display; 3",
}


def cases():
    found = {}
    for name, text in RULES.items():
        found[f"solver {name}"] = Case(NET, f'{text} base_lr: 0.01 lr_policy: "fixed" weight_decay: 0.0005 {TESTS}')
        old = text.replace(f'type: "{name}"', f"solver_type: {name.upper()}")
        found[f"solver_type {name}"] = Case(NET, f'{old} base_lr: 0.01 lr_policy: "fixed" {TESTS}')
        found[f"solver {name} with everything"] = Case(
            NET,
            f'{text} base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 2 iter_size: 2 clip_gradients: 0.5 '
            f'weight_decay: 0.002 regularization_type: "L1" {TESTS}',
        )
    for name, text in POLICIES.items():
        found[f"lr_policy {name}"] = Case(NET, f'base_lr: 0.02 momentum: 0.9 lr_policy: "{name}" {text} {TESTS}')
    found.update({f"solver {name}": Case(NET, f"{PLAIN} {text}") for name, text in OTHERS.items()})
    found["solver without base_lr"] = Case(NET, f'lr_policy: "fixed" {TESTS}')
    found["solver step without gamma"] = Case(NET, f'base_lr: 0.02 lr_policy: "step" stepsize: 2 {TESTS}')
    found["solver stepvalues that fall"] = Case(
        NET, f'base_lr: 0.02 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 1 {TESTS}'
    )
    found["solver GPU without one"] = Case(NET, f"{PLAIN} solver_mode: GPU")  # the mode is Caffe's programs' affair
    found.update({f"bad solver {name}": Case(NET, text, stock=REFUSED, ours=REFUSED) for name, text in BAD.items()})
    found["bad solver iter_size 0"] = Case(
        NET, f"{PLAIN} iter_size: 0", ours=REFUSED, why="nothing would be trained, and the loss be 0/0"
    )
    return found
