"""The whole job in one command: `python -m nn.demo` trains on real data and leaves pictures.

1. An MLP learns Fisher's irises by softmax cross-entropy; loss and held-out accuracy are printed.
2. The gradients of one batch are compared with the textbook formulas of backpropagation, in plain floats.
3. A second one learns the two moons by hinge loss.
4. Pictures: the computation graph of one neuron with its loss, the loss curves, the decision boundary.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from math import fsum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn

import autodiff
from autodiff import Value
from nn.datasets import Standardiser, iris, split, two_moons
from nn.history import History, new_figure
from nn.losses import half_squared_error, hinge, l2_penalty, softmax_cross_entropy
from nn.metrics import accuracy, binary_accuracy
from nn.modules import MLP, Neuron
from nn.optimisers import Adam
from nn.training import Epoch, Training, fit

__all__ = ["backpropagate", "main", "softmax_error"]

Vector = list[float]


class Screen(NamedTuple):
    """How to show a training under way: what to loop over instead of it, and how to print a line meanwhile."""

    wrap: Callable[[Iterable[Epoch]], Iterable[Epoch]] = iter
    say: Callable[[str], Any] = print


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0, or 2 after a one-line message if it cannot run.

    >>> main(["--epochs", "none"])
    Traceback (most recent call last):
    ...
    SystemExit: 2
    """
    options = _parser().parse_args(argv)
    out: Path = options.out
    try:
        _check_writable(out)
        _run(out, options.seed, options.epochs, _screen(options.progress))
    except OSError as error:
        print(f"nn.demo: error: cannot write to {out}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def _run(out: Path, seed: int, epochs: int, screen: Screen) -> None:
    net, train, losses = _learn_iris(seed, epochs, screen)
    _compare_gradients(net, train)
    moons = _learn_two_moons(seed, epochs, screen)
    _draw_neuron(out / "neuron.svg")
    _plot(out, losses, *moons)


# ---- the jobs


def _learn_iris(seed: int, epochs: int, screen: Screen) -> tuple[MLP, tuple[list[Vector], list[int]], History]:
    rng = Random(seed)
    rows, species, names = iris()
    train, test = split(rows, species, 1 / 3, rng)
    scale = Standardiser(train[0])
    train, test = (([scale(row) for row in inputs], targets) for inputs, targets in (train, test))
    net = MLP(4, [8, 3], activation="tanh", initialiser="xavier", rng=rng)
    print(f"Iris: {len(train[0])} flowers to learn from, {len(test[0])} held out, {len(names)} species")
    print(net)
    training = fit(
        net,
        *train,
        loss=softmax_cross_entropy,
        optimiser=Adam(net.parameters(), learning_rate=0.01),
        epochs=epochs,
        batch_size=16,
        rng=rng,
        validation=test,
        metrics={"accuracy": accuracy},
    )
    _follow(training, screen)
    right = training.records[-1].metrics["accuracy"]
    print(f"Iris: {right:.1%} of the held-out flowers recognised ({right * len(test[0]):.0f} of {len(test[0])})\n")
    return net, train, training.records


def _learn_two_moons(seed: int, epochs: int, screen: Screen) -> tuple[MLP, list[Vector], list[int]]:
    rng = Random(seed)
    rows, labels = two_moons(200, noise=0.15, rng=rng)
    (inputs, targets), test = split(rows, [2 * label - 1 for label in labels], 1 / 4, rng)
    net = MLP(2, [16, 16, 1], initialiser="he", bias=0.01, rng=rng)
    print(f"Two moons: {len(inputs)} points to learn from, {len(test[0])} held out")
    print(net)
    training = fit(
        net,
        inputs,
        targets,
        loss=hinge,
        optimiser=Adam(net.parameters(), learning_rate=0.01),
        epochs=max(1, epochs // 2),
        batch_size=16,
        rng=rng,
        penalty=lambda net: 1e-4 * l2_penalty(net.parameters()),
        validation=test,
        metrics={"accuracy": binary_accuracy},
    )
    _follow(training, screen)
    print(f"Two moons: {training.records[-1].metrics['accuracy']:.1%} of the held-out points on the right side\n")
    return net, inputs, targets


def _follow(training: Training, screen: Screen) -> None:
    """Train, printing about ten of the records."""
    every = max(1, len(training) // 10)
    print("epoch    loss  held-out loss  held-out accuracy")
    for record in screen.wrap(training):
        if record.epoch % every == 0 or record.epoch in (1, len(training)):
            share = record.metrics["accuracy"]
            screen.say(f"{record.epoch:5d}  {record.loss:.4f}  {record.validation_loss:13.4f}  {share:17.1%}")


# ---- backpropagation as the textbooks write it


def _compare_gradients(net: MLP, train: tuple[list[Vector], list[int]], size: int = 16) -> None:
    """Print how far the engine's gradients of a batch are from the formulas."""
    inputs, targets = train[0][:size], train[1][:size]
    net.zero_grad()
    autodiff.batch_mean(lambda x, y: softmax_cross_entropy(net(x), y))(inputs, targets).backward()
    engine = [parameter.grad for parameter in net.parameters()]
    examples = [
        backpropagate(net, x, softmax_error(y), lambda z: 1.0 - autodiff.tanh(z) ** 2)
        for x, y in zip(inputs, targets, strict=True)
    ]
    formulas = [fsum(column) / size for column in zip(*examples, strict=True)]
    difference = max(abs(e - f) for e, f in zip(engine, formulas, strict=True))
    print(f"Gradients of {len(engine)} parameters on a batch of {size}, engine against backpropagation formulas:")
    print(f"largest gradient {max(map(abs, engine)):.3e}, largest difference {difference:.1e}\n")


def backpropagate(
    net: MLP, x: Sequence[float], output_error: Callable[[Vector], Vector], slope: Callable[[float], float]
) -> Vector:
    """Return the gradient of one example's loss by the formulas of backpropagation, as `net.parameters()` is ordered.

    z(l) = W(l) a(l-1) + b(l) and a(l) = g(z(l)) forward; backward delta(l) = dE/dz(l), by `output_error` of z(L) at
    the output, then delta(l) = W(l+1)^T delta(l+1) * g'(z(l)), where `slope` is g'; and dE/dW(l) = delta(l) a(l-1)^T,
    dE/db(l) = delta(l). This is an independent check, written by hand on purpose; no training uses it.

    >>> net = MLP(1, [1, 1], activation="tanh", initialiser=lambda n_in, n_out, rng: 0.5)
    >>> gradient = backpropagate(net, [0.0], lambda z: [1.0], lambda z: 1.0 - autodiff.tanh(z) ** 2)
    >>> gradient  # w(1), b(1), w(2), b(2)
    [0.0, 0.5, 0.0, 1.0]
    """
    weights = [[[w.data for w in neuron.w] for neuron in layer.neurons] for layer in net.layers]
    activations, sums = [list(x)], []
    for layer, W in zip(net.layers, weights, strict=True):
        z = [_dot(row, activations[-1]) + unit.b.data for row, unit in zip(W, layer.neurons, strict=True)]
        sums.append(z)
        activations.append([unit.activation(z_i) for z_i, unit in zip(z, layer.neurons, strict=True)])
    delta = output_error(sums[-1])
    deltas = [delta]
    for W, z in zip(reversed(weights[1:]), reversed(sums[:-1]), strict=True):
        delta = [_dot(column, delta) * slope(z_i) for column, z_i in zip(zip(*W, strict=True), z, strict=True)]
        deltas.insert(0, delta)
    pairs = [(error, a) for a, errors in zip(activations[:-1], deltas, strict=True) for error in errors]
    return [entry for error, a in pairs for entry in [*(error * a_i for a_i in a), error]]


def softmax_error(target: int) -> Callable[[Vector], Vector]:
    """Return the function from logits z to delta = softmax(z) - one-hot(target), the error of the cross-entropy.

    >>> softmax_error(0)([0.0, 0.0])
    [-0.5, 0.5]
    """
    return lambda z: [p - (i == target) for i, p in enumerate(autodiff.softmax(z))]


def _dot(xs: Sequence[float], ys: Sequence[float]) -> float:
    return fsum(x * y for x, y in zip(xs, ys, strict=True))


# ---- pictures


def _draw_neuron(path: Path) -> None:
    """Draw one neuron and its loss, after `backward()`."""
    neuron = Neuron(2, "tanh", rng=Random(0))
    x = [Value(1.0, "x[0]"), Value(-2.0, "x[1]")]
    y = neuron(x)
    loss = half_squared_error(y, 1.0)
    y.parents[0].label, y.label, loss.label = "z", "y", "loss"
    loss.backward()
    try:
        autodiff.draw(loss).save(path)
        print(f"Computation graph of one neuron and its loss: {path}")
    except (ImportError, RuntimeError) as error:  # the package, or the program that lays graphs out, is missing
        print(f"{path.name} is left out: {error}")


def _plot(out: Path, history: History, net: MLP, rows: Sequence[Vector], labels: Sequence[int]) -> None:
    try:
        axes = history.plot()
    except ImportError as error:
        print(f"loss.png and two_moons.png are left out: {error}")
        return
    axes.set(title="Iris, MLP 4-8-3", ylabel="cross-entropy (nats)", yscale="log")
    axes.figure.savefig(out / "loss.png", dpi=120)
    print(f"Loss curves on Iris: {out / 'loss.png'}")
    _plot_boundary(new_figure(6.4, 4.4), net, rows, labels).savefig(out / "two_moons.png", dpi=120)
    print(f"Decision boundary on two moons: {out / 'two_moons.png'}")


def _plot_boundary(figure: Any, net: MLP, rows: Sequence[Vector], labels: Sequence[int], steps: int = 60) -> Any:
    axes = figure.add_subplot()
    across, up = (_grid([row[i] for row in rows], steps) for i in (0, 1))
    with autodiff.no_grad():
        scores = [[net([x, y]).data for x in across] for y in up]
    limit = max(abs(score) for line in scores for score in line)
    axes.contourf(across, up, scores, levels=[-limit, 0.0, limit], colors=["#9ecae1", "#fdd0a2"])
    axes.contour(across, up, scores, levels=[-1.0, 0.0, 1.0], colors="#333333", linestyles=["--", "-", "--"])
    for sign, marker, colour in ((-1, "o", "#0072b2"), (1, "^", "#d55e00")):
        chosen = [row for row, label in zip(rows, labels, strict=True) if label == sign]
        xs, ys = zip(*chosen, strict=True)
        axes.scatter(xs, ys, marker=marker, color=colour, edgecolor="white", label=f"target {sign:+d}", zorder=3)
    axes.set(title="Two moons: sign of the score; dashed: the margin", xlabel="x", ylabel="y")
    axes.legend(loc="lower right")
    return figure


def _grid(numbers: Sequence[float], steps: int, margin: float = 0.4) -> Vector:
    low, high = min(numbers) - margin, max(numbers) + margin
    return [low + (high - low) * i / (steps - 1) for i in range(steps)]


# ---- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nn.demo", description="Train on Iris and two moons, and draw what happened.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (default: out)")
    parser.add_argument("--seed", type=int, default=0, help="seed of split, weights and shuffling (default: 0)")
    parser.add_argument("--epochs", type=_positive, default=100, help="epochs on Iris; half on moons (default: 100)")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bar")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, not {text!r}")
    return number


def _check_writable(out: Path) -> None:
    """Make the folder and try it now: not after a minute of training."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


def _screen(progress: bool) -> Screen:
    """Return tqdm's ways of doing it, or plain ones where no bar is wanted, possible or seen."""
    if not (progress and sys.stderr.isatty()):
        return Screen()
    try:
        from tqdm import tqdm
    except ImportError:
        print('No progress bar: pip install "chainrule[progress]" brings tqdm')
        return Screen()
    return Screen(lambda training: tqdm(training, leave=False, unit="epoch"), tqdm.write)


if __name__ == "__main__":
    sys.exit(main())
