"""Training through Spark, with every rule that solvers have."""

from caffeonspark import CaffeOnSpark, Config, DataSource

RULES = {
    "SGD": 'type: "SGD" base_lr: 0.05 momentum: 0.9',
    "Nesterov": 'type: "Nesterov" base_lr: 0.05 momentum: 0.9',
    "AdaGrad": 'type: "AdaGrad" base_lr: 0.02',
    "RMSProp": 'type: "RMSProp" base_lr: 0.002 rms_decay: 0.95',
    "AdaDelta": 'type: "AdaDelta" base_lr: 1.0 momentum: 0.95 delta: 1e-6',
    "Adam": 'type: "Adam" base_lr: 0.002 momentum: 0.9 momentum2: 0.999',
}
EVERYTHING = 'weight_decay: 0.002 iter_size: 2 clip_gradients: 3 lr_policy: "step" gamma: 0.5 stepsize: 20'


def train(spark, folder, settings, net, ranks, observers=(), **flags):
    """Train through Spark; the result and the model's path."""
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt"\n{settings}')
    model = folder / "model.caffemodel"
    config = Config(
        spark, conf=str(folder / "solver.prototxt"), model=f"file:{model}", clusterSize=ranks, quiet=True, **flags
    )
    return CaffeOnSpark(spark, observers=list(observers)).train(DataSource(spark).getSource(config, True)), model
