"""Table 5: one step of training a small network, as in micrograd's demonstration."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from operator import mul
from random import Random
from typing import Any

import autodiff
import nn
from benchmarks import engines
from benchmarks.harness import EAGER, OURS, Contestant, Job, Settings, main, measure, table

BATCHES = (1, 10, 100, 1000)
SIZES = (2, 16, 16, 1)
ALPHA = 1e-4  # weight of the penalty
RATE = 0.05  # of the step whose result is compared
STILL = 1e-9  # of the steps that are timed: a full update, yet every step finds the same network
MICROGRAD_UP_TO = 100  # a step with 1000 examples takes it a quarter of a minute

Layer = tuple[list[list[float]], list[float]]  # weights by neuron, biases
Step = Callable[[], float]
Build = Callable[["Task", float], tuple[Step, Callable[[], Any]]]


class Task:
    """A batch of examples, and the parameters that everybody starts with."""

    def __init__(self, batch: int) -> None:
        rows, labels = nn.two_moons(max(batch, 2), rng=Random(1))
        self.rows, self.targets = rows[:batch], [2.0 * label - 1.0 for label in labels[:batch]]
        self.layers: list[Layer] = [
            ([[w.data for w in neuron.w] for neuron in layer.neurons], [neuron.b.data for neuron in layer.neurons])
            for layer in model().layers
        ]


def model() -> nn.MLP:
    """Make the network."""
    return nn.MLP(SIZES[0], list(SIZES[1:]), rng=Random(0))


def job(build: Build, task: Task) -> Job:
    """Compare loss and parameters after one visible step; time steps that change next to nothing."""

    def result() -> Any:
        step, parameters = build(task, RATE)
        return step(), parameters()

    return Job(build(task, STILL)[0], result)


def by_neuron(layers: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Arrange weights and biases, lists or arrays, neuron by neuron: what is compared."""
    return [[*row, bias] for weights, biases in layers for row, bias in zip(weights, biases, strict=True)]


def flattened(layers: Sequence[Layer]) -> list[float]:
    """Lay all parameters out in one list."""
    return [w for weights, biases in layers for row in [*weights, biases] for w in row]


def pieces(flat: Any) -> Iterator[tuple[int, Any, Any]]:
    """Cut that list, or an array, into the number of inputs, the weights and the biases of each layer."""
    end = 0
    for n_in, n_out in pairwise(SIZES):
        start, middle, end = end, end + n_in * n_out, end + n_in * n_out + n_out
        yield n_in, flat[start:middle], flat[middle:end]


def layers_of_list(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Undo `flattened`."""
    return [([w[i : i + n_in] for i in range(0, len(w), n_in)], biases) for n_in, w, biases in pieces(flat)]


def layers_of_array(flat: Any) -> list[tuple[Any, Any]]:
    """Do so for an array of any library."""
    return [(w.reshape(-1, n_in), biases) for n_in, w, biases in pieces(flat)]


# ---- ours


def eager(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Build and sweep one graph of all examples, as micrograd's demonstration does."""
    network = model()
    parameters = network.parameters()
    optimiser = nn.SGD(parameters, rate)

    def step() -> float:
        losses = [nn.hinge(network(x), y) for x, y in zip(task.rows, task.targets, strict=True)]
        loss = autodiff.sum(losses) * (1.0 / len(losses)) + ALPHA * nn.l2_penalty(parameters)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value: float = loss.data
        return value

    return step, lambda: [p.data for p in parameters]


def compiled(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Compile the mean loss, with the loop over the batch in the compiled code, and the penalty, which has no loop.

    For one example no loop is needed: loss, penalty and update are one function.
    """
    network = model()
    parameters = network.parameters()
    optimiser = nn.SGD(parameters, rate)
    mean_loss = autodiff.compile(autodiff.batch_mean(lambda x, y: nn.hinge(network(x), y)))
    penalty = autodiff.compile(lambda: ALPHA * nn.l2_penalty(parameters))
    penalised = autodiff.compile(lambda x, y: nn.hinge(network(x), y) + ALPHA * nn.l2_penalty(parameters))

    if len(task.rows) == 1:
        return partial(penalised.descend, rate, task.rows[0], task.targets[0]), lambda: [p.data for p in parameters]

    def step() -> float:
        optimiser.zero_grad()
        value: float = mean_loss.backward(task.rows, task.targets) + penalty.backward()
        optimiser.step()
        return value

    return step, lambda: [p.data for p in parameters]


def with_optimiser(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Leave the update for one example to an optimiser, which could be any."""
    network = model()
    parameters = network.parameters()
    optimiser = nn.SGD(parameters, rate)
    penalised = autodiff.compile(lambda x, y: nn.hinge(network(x), y) + ALPHA * nn.l2_penalty(parameters))

    def step() -> float:
        optimiser.zero_grad()
        value: float = penalised.backward(task.rows[0], task.targets[0])
        optimiser.step()
        return value

    return step, lambda: [p.data for p in parameters]


def loss_of(parameters: Sequence[Any], x: Sequence[Any], y: Any) -> Any:
    """Compute the hinge loss of one example as a function of the 337 parameters, laid out as in `flattened`."""
    *hidden, (weights, biases) = layers_of_list(parameters)
    for rows, offsets in hidden:
        x = [autodiff.relu(autodiff.affine(row, x, b)) for row, b in zip(rows, offsets, strict=True)]
    return nn.hinge(autodiff.affine(weights[0], x, biases[0]), y)


def compiled_step(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Compile the whole step for one example, update included, as a function from parameters to parameters."""

    def penalised(parameters: Sequence[Any], x: Sequence[Any], y: Any) -> Any:
        return loss_of(parameters, x, y) + ALPHA * nn.l2_penalty(parameters)

    def update(parameters: Sequence[Any], x: Sequence[Any], y: Any) -> tuple[Any, list[Any]]:
        loss, slopes = autodiff.value_and_grad(penalised)(parameters, x, y)
        return loss, [p - rate * slope for p, slope in zip(parameters, slopes, strict=True)]

    fast = autodiff.compile(update)
    parameters = flattened(task.layers)

    def step() -> float:
        nonlocal parameters
        loss: float
        loss, parameters = fast(parameters, task.rows[0], task.targets[0])
        return loss

    return step, lambda: by_neuron(layers_of_list(parameters))


# ---- by hand


def with_lists(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Write the network's derivatives down for lists of floats."""
    layers = [([list(row) for row in weights], list(biases)) for weights, biases in task.layers]

    def step() -> float:
        gradients = [([[0.0] * len(row) for row in weights], [0.0] * len(biases)) for weights, biases in layers]
        loss = sum(add_example(layers, gradients, x, y) for x, y in zip(task.rows, task.targets, strict=True))
        count = len(task.rows)
        penalty = sum(w * w for weights, biases in layers for row in [*weights, biases] for w in row)
        for (weights, biases), (by_weights, by_biases) in zip(layers, gradients, strict=True):
            for row, slopes in zip([*weights, biases], [*by_weights, by_biases], strict=True):
                row[:] = [w - rate * (g / count + 2.0 * ALPHA * w) for w, g in zip(row, slopes, strict=True)]
        return loss / count + ALPHA * penalty

    return step, lambda: by_neuron(layers)


def add_example(layers: list[Layer], gradients: list[Layer], x: list[float], y: float) -> float:
    """Add one example's derivatives to the gradients, and return its hinge loss."""
    inputs, last = [x], len(layers) - 1
    for i, (weights, biases) in enumerate(layers):
        sums = [sum(map(mul, row, inputs[-1]), b) for row, b in zip(weights, biases, strict=True)]
        inputs.append(sums if i == last else [s if s > 0.0 else 0.0 for s in sums])
    margin = 1.0 - y * inputs[-1][0]
    if margin <= 0.0:
        return 0.0
    signals = [-y]
    for i in range(last, -1, -1):
        backward: list[float] = [0.0] * len(inputs[i])
        for j, signal in enumerate(signals):
            if signal and (i == last or inputs[i + 1][j]):
                row, slopes = layers[i][0][j], gradients[i][0][j]
                gradients[i][1][j] += signal
                slopes[:] = [g + signal * a for g, a in zip(slopes, inputs[i], strict=True)]
                backward = [d + signal * w for d, w in zip(backward, row, strict=True)]
        signals = backward
    return margin


def with_numpy(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Write the network's derivatives down for whole arrays."""
    import numpy as np

    x, y = np.array(task.rows), np.array(task.targets)[:, None]
    layers = [(np.array(weights), np.array(biases)) for weights, biases in task.layers]
    last, count = len(layers) - 1, len(x)

    def step() -> float:
        outputs = [x]
        for i, (weights, biases) in enumerate(layers):
            signal = outputs[-1] @ weights.T + biases
            outputs.append(signal if i == last else np.maximum(signal, 0.0))
        margins = np.maximum(1.0 - y * outputs[-1], 0.0)
        penalty = 0.0
        signal = np.where(margins > 0.0, -y / count, 0.0)
        for i in range(last, -1, -1):
            weights, biases = layers[i]
            if i < last:
                signal = signal * (outputs[i + 1] > 0.0)
            by_weights, by_biases = signal.T @ outputs[i], signal.sum(axis=0)
            if i:
                signal = signal @ weights
            penalty += float(np.vdot(weights, weights) + np.vdot(biases, biases))
            weights -= rate * (by_weights + 2.0 * ALPHA * weights)
            biases -= rate * (by_biases + 2.0 * ALPHA * biases)
        return float(margins.mean()) + ALPHA * penalty

    return step, lambda: by_neuron(layers)


# ---- other engines


def with_micrograd(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Do as micrograd's demonstration does."""
    engines.micrograd()
    from micrograd.nn import MLP

    network = MLP(SIZES[0], list(SIZES[1:]))
    for layer, (weights, biases) in zip(network.layers, task.layers, strict=True):
        for neuron, row, bias in zip(layer.neurons, weights, biases, strict=True):
            neuron.b.data = bias
            for w, number in zip(neuron.w, row, strict=True):
                w.data = number
    parameters = network.parameters()

    def step() -> float:
        losses = [(1 + -y * network(x)).relu() for x, y in zip(task.rows, task.targets, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + ALPHA * sum(p * p for p in parameters)
        network.zero_grad()
        loss.backward()
        for p in parameters:
            p.data -= rate * p.grad
        return float(loss.data)

    return step, lambda: [p.data for p in parameters]


def with_torch(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Do as PyTorch's tutorials do: modules and an optimiser."""
    torch = engines.torch()
    x, y = torch.tensor(task.rows), torch.tensor(task.targets)[:, None]
    modules: list[Any] = []
    for weights, biases in task.layers:
        linear = torch.nn.Linear(len(weights[0]), len(weights))
        linear.load_state_dict({"weight": torch.tensor(weights), "bias": torch.tensor(biases)})
        modules += [linear, torch.nn.ReLU()]
    network = torch.nn.Sequential(*modules[:-1])
    optimiser = torch.optim.SGD(network.parameters(), rate)

    def step() -> float:
        optimiser.zero_grad()
        penalty = sum((p * p).sum() for p in network.parameters())
        loss = torch.relu(1.0 - y * network(x)).mean() + ALPHA * penalty
        loss.backward()
        optimiser.step()
        return float(loss.item())

    return step, lambda: by_neuron([(m.weight, m.bias) for m in modules[:-1:2]])


def with_torch_lean(task: Task, rate: float) -> tuple[Step, Callable[[], Any]]:
    """Save PyTorch what overhead can be saved: all parameters in one tensor, no modules, no optimiser."""
    torch = engines.torch()
    x, y = torch.tensor(task.rows), torch.tensor(task.targets)[:, None]
    flat = torch.tensor(flattened(task.layers), requires_grad=True)

    def step() -> float:
        flat.grad = None
        layers = layers_of_array(flat)
        hidden = torch.relu(torch.addmm(layers[0][1], x, layers[0][0].T))
        hidden = torch.relu(torch.addmm(layers[1][1], hidden, layers[1][0].T))
        output = torch.addmm(layers[2][1], hidden, layers[2][0].T)
        loss = torch.relu(1.0 - y * output).mean() + ALPHA * flat.dot(flat)
        loss.backward()
        with torch.no_grad():
            flat.sub_(flat.grad, alpha=rate)
        return float(loss.item())

    return step, lambda: by_neuron(layers_of_array(flat))


def jax_loss(layers: Any, x: Any, y: Any) -> Any:
    """Compute the loss in JAX."""
    jnp = engines.jax().numpy
    hidden = x
    for weights, biases in layers[:-1]:
        hidden = jnp.maximum(hidden @ weights.T + biases, 0.0)
    output = hidden @ layers[-1][0].T + layers[-1][1]
    penalty = sum(jnp.vdot(p, p) for layer in layers for p in layer)
    return jnp.maximum(1.0 - y * output, 0.0).mean() + ALPHA * penalty


def with_jax(task: Task, rate: float, packed: bool) -> tuple[Step, Callable[[], Any]]:
    """Compile the whole step, update included; parameters stay JAX arrays: six, or packed into one."""
    jax = engines.jax()
    jnp = jax.numpy
    x, y = jnp.array(task.rows), jnp.array(task.targets)[:, None]
    shape: Callable[[Any], Any] = layers_of_array if packed else list

    def update(parameters: Any, x: Any, y: Any) -> Any:
        loss, slopes = jax.value_and_grad(lambda p: jax_loss(shape(p), x, y))(parameters)
        return loss, jax.tree.map(lambda p, g: p - rate * g, parameters, slopes)

    fast = jax.jit(update)
    parameters: Any = [(jnp.array(weights), jnp.array(biases)) for weights, biases in task.layers]
    if packed:
        parameters = jnp.array(flattened(task.layers))

    def step() -> float:
        nonlocal parameters
        loss, parameters = fast(parameters, x, y)
        return float(loss)

    return step, lambda: by_neuron(shape(parameters))


# ---- the table


def contestants(batch: int) -> list[Contestant]:
    """Enter everyone."""
    task = Task(batch)
    builds: dict[str, Build] = {
        OURS: compiled,
        EAGER: eager,
        "Python by hand, lists": with_lists,
        "NumPy by hand": with_numpy,
        "PyTorch": with_torch,
        "PyTorch, one tensor": with_torch_lean,
        **jax_builds(),
    }
    if batch == 1:
        builds |= {"chainrule, optimiser": with_optimiser, "chainrule, parameters as arguments": compiled_step}
    if batch <= MICROGRAD_UP_TO:
        builds["micrograd"] = with_micrograd
    return [Contestant(name, partial(job, build, task)) for name, build in builds.items()]


def jax_builds() -> dict[str, Build]:
    """Enter JAX twice."""
    return {"JAX jit": partial(with_jax, packed=False), "JAX jit, packed": partial(with_jax, packed=True)}


def tables(settings: Settings) -> Iterator[str]:
    """Measure all batch sizes."""
    batches = BATCHES[:-2] if settings.quick else BATCHES
    yield table([measure(title(batch), contestants(batch), settings) for batch in batches])
    yield engines.jax_again({title(batch): contestants(batch) for batch in batches}, settings)


def title(batch: int) -> str:
    """Name a batch size."""
    return f"{batch} example{'s' if batch > 1 else ''}"


TEXT = """
Two moons, network 2-16-16-1 (337 parameters, ReLU), hinge loss plus 1e-4 times the sum of squares: forward, backward
and update of one full training step. The loss and all parameters after a step are compared. In the first row the
parameters are Values; `descend` makes a whole step with one example, update included, as JAX's compiled step does, and
with more `nn.SGD` moves them. "Optimiser" is one example with `backward` and `nn.SGD`. "Parameters as arguments" takes
and returns floats instead, and writes every example out, so that it is for one only. "PyTorch" has modules and an
optimiser; "one tensor" saves it what can be saved. "Packed" is JAX with all parameters in one array. micrograd is not
run on 1000 examples: a step takes it about 14 seconds.
"""

if __name__ == "__main__":
    main("5. Two moons, one training step", TEXT, tables)
