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


def config_of(spark, folder, net, solver, ranks=2, **flags):
    """The configuration of training on so many ranks; its net and solver are written to the folder."""
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(solver)
    model = f"file:{folder}/model.caffemodel"
    return Config(spark, conf=str(folder / "solver.prototxt"), model=model, clusterSize=ranks, quiet=True, **flags)


def train(spark, folder, settings, net, ranks, observers=(), **flags):
    """Train through Spark; the result and the model's path."""
    config = config_of(spark, folder, net, f'net: "net.prototxt"\n{settings}', ranks, **flags)
    cos = CaffeOnSpark(spark, observers=list(observers))
    return cos.train(DataSource(spark).getSource(config, True)), folder / "model.caffemodel"
