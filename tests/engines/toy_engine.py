"""An engine in numpy: linear regression (an InnerProduct layer, a EuclideanLoss) by SGD with momentum. No Caffe."""

import os

import numpy as np

from caffeonspark import ConfigError, Engine, Inspection, Predictor, Trainer
from caffeonspark.formats.caffemodel import LayerWeights, read_caffemodel, write_caffemodel
from caffeonspark.formats.endings import model_ending, state_ending
from caffeonspark.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffeonspark.nets.schedule import learning_rate
from caffeonspark.nets.schema import SolverParameter


class Net(Predictor):
    """Blobs, and the parameters of the InnerProduct layer."""

    def __init__(self, message, weights=None):
        self.layers = {layer.type: layer for layer in message.layer if layer.type != "Input"}
        self.line = self.layers["InnerProduct"]
        self._blobs = {
            layer.top[0]: np.zeros(tuple(layer.input_param.shape[0].dim), np.float32)
            for layer in message.layer
            if layer.type == "Input"
        }
        self.inputs = list(self._blobs)
        outputs = self.line.inner_product_param.num_output
        inputs = int(np.prod(self._blobs[self.line.bottom[0]].shape[1:]))
        self.weights = weights or [np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32)]
        self.forward()

    @property
    def blobs(self):
        return self._blobs

    def reshape(self, shapes):
        for name, shape in shapes.items():
            if self._blobs[name].shape != shape:
                self._blobs[name] = np.zeros(shape, np.float32)

    def forward(self):
        x = self._blobs[self.line.bottom[0]]
        line = self._blobs[self.line.top[0]] = x.reshape(len(x), -1) @ self.weights[0].T + self.weights[1]
        if "EuclideanLoss" in self.layers:
            loss = self.layers["EuclideanLoss"]
            self.difference = (line - self._blobs[loss.bottom[1]].reshape(line.shape)) / len(line)
            self._blobs[loss.top[0]] = np.float32((self.difference**2).sum() * len(line) / 2).reshape(())

    def load(self, path):
        for layer in read_caffemodel(path):
            if layer.name == self.line.name:
                for mine, theirs in zip(self.weights, layer.blobs):
                    mine[...] = theirs


class Regression(Trainer):
    def __init__(self, solver, train_net, test_nets, rank, folder):
        self._solver = solver
        self._net = Net(train_net)
        self._tests = [Net(net, self._net.weights) for net in test_nets]
        self._folder = folder
        self._gradients = [np.zeros_like(array) for array in self._net.weights]
        self._history = [np.zeros_like(array) for array in self._net.weights]
        self._iteration = 0
        rng = np.random.default_rng(max(0, solver.random_seed) + rank)
        self._net.weights[0][...] = rng.normal(0, 0.1, self._net.weights[0].shape)

    @property
    def inputs(self):
        return {name: self._net.blobs[name] for name in self._net.inputs}

    @property
    def weights(self):
        return self._net.weights

    @property
    def gradients(self):
        return self._gradients

    @property
    def statistics(self):
        return []

    @property
    def iteration(self):
        return self._iteration

    @property
    def rate(self):
        return learning_rate(self._solver, self._iteration)

    def step(self, load, gradients_ready):
        net, losses = self._net, []
        for gradient in self._gradients:
            gradient[...] = 0
        for _ in range(self._solver.iter_size):
            load()
            net.forward()
            losses.append(float(net.blobs["loss"]))
            x = net.blobs[net.line.bottom[0]]
            self._gradients[0] += net.difference.T @ x.reshape(len(x), -1)
            self._gradients[1] += net.difference.sum(axis=0)
        gradients_ready(sum(losses) / len(losses))
        rate, momentum = np.float32(self.rate), np.float32(self._solver.momentum)
        for weight, gradient, history in zip(net.weights, self._gradients, self._history):
            history[...] = momentum * history + rate * gradient / np.float32(self._solver.iter_size)
            weight -= history
        self._iteration += 1

    def test_net(self, number):
        return self._tests[number]

    def reseed(self, seed):
        """Nothing is random once the weights are there."""

    def load_weights(self, path):
        self._net.load(path)

    def save_weights(self, path):
        write_caffemodel(path, [LayerWeights(self._net.line.name, "InnerProduct", list(self.weights))])

    def restore(self, weights, state):
        self._net.load(weights)
        found = read_solverstate(state)
        self._iteration, self._history = found.iteration, [np.array(array) for array in found.history]

    def snapshot(self):
        hdf5 = self._solver.snapshot_format == SolverParameter.HDF5
        base = os.path.join(self._folder, f"toy_iter_{self._iteration}")
        weights, state = base + model_ending(hdf5), base + state_ending(hdf5)
        self.save_weights(weights)
        write_solverstate(state, SolverState(self._iteration, weights, 0, self._history))
        return weights, state

    def close(self):
        del self._net, self._tests


class LinearRegression(Engine):
    def versions(self):
        return {"numpy": np.__version__}

    def layer_types(self):
        return ["Input", "InnerProduct", "EuclideanLoss"]

    def inspect(self, net, larger, batch, where):
        if [layer.type for layer in net.layer if layer.type != "Input"][:1] != ["InnerProduct"]:
            raise ConfigError(f"{where}: linear regression is one InnerProduct layer and a EuclideanLoss")
        built = Net(net)
        shapes = {name: blob.shape for name, blob in built.blobs.items()}
        axes = {name: (0, 1) for name, shape in shapes.items() if shape}
        parameters = [array.shape for array in built.weights]
        layers = [parameters if layer.type == "InnerProduct" else [] for layer in net.layer]
        return Inspection(shapes, True, axes, sum(array.size for array in built.weights), layers)

    def trainer(self, solver, train_net, test_nets, rank, folder):
        return Regression(solver, train_net, test_nets, rank, folder)

    def predictor(self, net, weights):
        built = Net(net)
        built.load(weights)
        return built

    def explain_crash(self, log):
        return ""

    def training_memory(self, solver_type, train, tests):
        return 4e-6 * 3 * train.parameters

    def inference_memory(self, net):
        return 4e-6 * net.parameters

    def inspection_memory(self, net):
        return 4e-6 * net.parameters


class NoEngine:
    """What a user may name by mistake."""
