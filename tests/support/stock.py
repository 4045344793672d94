"""Stock Caffe in one process: what the distributed runs are compared with."""

import os
import tempfile
import warnings

import numpy as np

os.environ.setdefault("GLOG_minloglevel", "2")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import caffe

LAYERS = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 8 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 150 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SCALE = 0.00390625


def lmdb_net(path, batch, test_batch=50, test_path=None, layers=LAYERS):
    """A net over LMDBs, as Caffe users write it."""
    return (
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}\n'
        f"  transform_param {{ scale: {SCALE} }}\n"
        f'  data_param {{ source: "{path}" batch_size: {batch} backend: LMDB }} }}\n'
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}\n'
        f"  transform_param {{ scale: {SCALE} }}\n"
        f'  data_param {{ source: "{test_path or path}" batch_size: {test_batch} backend: LMDB }} }}\n' + layers
    )


def input_net(batch, shape=(1, 12, 12), layers=LAYERS):
    """The same net fed through Input layers."""
    dims = " ".join(f"dim: {n}" for n in (batch, *shape))
    return (
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
        f'layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: {batch} }} }} }}\n' + layers
    )


def make_solver(settings, net):
    """A plain pycaffe solver; ``settings`` is the solver's text without its net."""
    with tempfile.TemporaryDirectory() as folder:
        net_path, solver_path = os.path.join(folder, "net.prototxt"), os.path.join(folder, "solver.prototxt")
        with open(net_path, "w") as f:
            f.write(net)
        with open(solver_path, "w") as f:
            f.write(f'train_net: "{net_path}"\n{settings}')
        return caffe.get_solver(solver_path)


def parameters(net):
    """Every parameter blob, in Caffe's order."""
    return [blob for blobs in net.params.values() for blob in blobs]


def weights(net):
    return [blob.data.copy() for blob in parameters(net)]


def load_weights(path, net_text):
    """The weights in a model file, through plain pycaffe."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write(net_text)
        f.flush()
        net = caffe.Net(f.name, caffe.TRAIN)
    net.copy_from(str(path))
    return weights(net)


def mean_outputs(trained, net, passes):
    """The mean of each output of a test net over so many batches, with the weights of the net that is trained."""
    net.share_with(trained)
    found = {}
    for _ in range(passes):
        for name, values in net.forward().items():
            found.setdefault(name, []).append(values.reshape(-1).astype(np.float64))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def share(count, ranks, rank):
    """The records of a rank: contiguous, as DESIGN says."""
    return [i for i in range(count) if i * ranks // count == rank]


def batches(images, labels, ranks, rank, batch):
    """The endless batches of a rank: its records over and over."""
    mine = share(len(images), ranks, rank)
    at = 0
    while True:
        chosen = [mine[(at + k) % len(mine)] for k in range(batch)]
        at += batch
        yield images[chosen].astype(np.float32) * np.float32(SCALE), labels[chosen].astype(np.float32)


def load(net, batch):
    net.blobs["data"].data[...], net.blobs["label"].data[...] = batch


def documented_sum(parts):
    """The sum over ranks of concatenated arrays, in the order Communicator.all_reduce documents."""
    size, n = len(parts), len(parts[0])
    if n * 4 <= 65536:
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    total = np.empty(n, np.float32)
    for k in range(size):
        segment = slice(n * k // size, n * (k + 1) // size)
        value = parts[k][segment]
        for step in range(1, size):
            value = value + parts[(k + step) % size][segment]
        total[segment] = value
    return total


def train_in_turn(settings, ranks, batch, iterations, images, labels, iter_size=1, layers=LAYERS):
    """One pycaffe solver that computes every rank's gradient in turn and applies their mean; also the losses."""
    solver = make_solver(settings, input_net(batch, images.shape[1:], layers))
    feeds = [batches(images, labels, ranks, rank, batch) for rank in range(ranks)]
    blobs = parameters(solver.net)
    losses = []
    for _ in range(iterations):
        parts = []
        for feed in feeds:
            solver.net.clear_param_diffs()
            loss = 0.0
            for _ in range(iter_size):
                load(solver.net, next(feed))
                loss += float(solver.net.forward()["loss"])
                solver.net.backward()
            gradient = [blob.diff.reshape(-1) for blob in blobs]
            # the loss and the votes to stop travel behind the gradient
            parts.append(np.concatenate([*gradient, np.float32([loss / iter_size, 0])]))
        mean = documented_sum(parts) * np.float32(1 / ranks) if ranks > 1 else parts[0]
        at = 0
        for blob in blobs:
            blob.diff[...] = mean[at : at + blob.count].reshape(blob.diff.shape)
            at += blob.count
        losses.append(float(mean[-2]))
        solver.apply_update()
    assert solver.iter == iterations
    return solver, losses


def forward_all(net_text, model, images, labels, batch, blobs):
    """Blobs of plain pycaffe's TEST net for every record, in batches; the last one smaller."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write(net_text)
        f.flush()
        net = caffe.Net(f.name, str(model), caffe.TEST)
    found = {name: [] for name in blobs}
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        net.blobs["data"].reshape(*part.shape)
        net.blobs["label"].reshape(len(part))
        load(net, (part.astype(np.float32) * np.float32(SCALE), labels[start : start + batch]))
        net.forward()
        for name in blobs:
            value = net.blobs[name].data
            rows = value.reshape(len(part), -1) if value.ndim and len(value) == len(part) else [value.reshape(-1)]
            found[name] += [np.array(row) for row in rows] * (1 if len(rows) == len(part) else len(part))
    return {name: np.stack(values) for name, values in found.items()}
