import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
import nn
from autodiff import Value
from nn import MLP, SGD, Dropout, Layer, Monitor, Neuron, Sequential, fit, layer_statistics, squared_error
from nn.diagnostics import LayerStatistics, find_problems, plot_layers

BATCH = [[0.5, -1.0], [1.5, 0.25], [-2.0, 1.0]], [0.0, 1.0, -1.0]


def rms(numbers):
    return math.sqrt(math.fsum(x * x for x in numbers) / len(numbers))


def deep(activation, depth=10, width=6, seed=0, **options):
    return MLP(2, [width] * (depth - 1) + [1], activation, rng=Random(seed), **options)


def layer(name="layers.0", gradient=1.0, dead=0.0, saturated=0.0):
    return LayerStatistics(name, 1, 0.0, 1.0, gradient, gradient, gradient, dead, saturated)


# ---- the numbers


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 10**6), st.integers(1, 4))
def test_they_are_those_of_the_formulas_in_plain_floats(sizes, seed, examples):
    """Forward, deltas and gradients by hand, for a network of tanh units with a linear output."""
    rng = Random(seed)
    net = MLP(2, [*sizes, 1], "tanh", rng=rng)
    xs = [[rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0)] for _ in range(examples)]
    ys = [rng.gauss(0.0, 1.0) for _ in range(examples)]
    outputs, signals, gradients = ([[] for _ in net.layers] for _ in range(3))
    for x, y in zip(xs, ys, strict=True):
        activations = [x]
        for depth, units in enumerate(net.layers):
            z = [sum(w.data * a for w, a in zip(n.w, activations[-1], strict=True)) + n.b.data for n in units.neurons]
            activations.append(z if units is net.layers[-1] else [math.tanh(entry) for entry in z])
            outputs[depth] += activations[-1]
        delta = [2.0 * (activations[-1][0] - y)]
        for depth in reversed(range(len(net.layers))):
            signals[depth] += delta
            row = [d * a for d in delta for a in [*activations[depth], 1.0]]
            gradients[depth] = [g + r for g, r in zip(gradients[depth] or [0.0] * len(row), row, strict=True)]
            neurons = net.layers[depth].neurons
            delta = [
                sum(n.w[i].data * d for n, d in zip(neurons, delta, strict=True)) * (1.0 - a * a)
                for i, a in enumerate(activations[depth])
            ]
    for depth, found in enumerate(layer_statistics(net, xs, ys, squared_error)):
        mean_loss = [g / examples for g in gradients[depth]]
        assert found.units == len(net.layers[depth].neurons)
        assert found.activation_mean == pytest.approx(math.fsum(outputs[depth]) / len(outputs[depth]), abs=1e-12)
        assert found.activation_rms == pytest.approx(rms(outputs[depth]), rel=1e-9)
        assert found.signal_rms == pytest.approx(rms(signals[depth]), rel=1e-9, abs=1e-14)
        assert found.gradient_rms == pytest.approx(rms(mean_loss), rel=1e-9, abs=1e-14)
        assert found.gradient_mean == pytest.approx(math.fsum(map(abs, mean_loss)) / len(mean_loss), abs=1e-12)


def test_gradients_are_those_of_the_mean_loss():
    net = deep("gelu", depth=3)
    found = layer_statistics(net, *BATCH, squared_error)
    autodiff.batch_mean(lambda x, y: squared_error(net(x), y))(*BATCH).backward()
    for layer, statistics in zip(net.layers, found, strict=True):
        assert statistics.gradient_rms == pytest.approx(rms([p.grad for p in layer.parameters()]), rel=1e-12)


def test_dead_units_are_those_that_are_off_at_every_example():
    net = Layer(1, 4, "relu", initialiser=lambda n_in, n_out, rng: 1.0)
    for neuron, bias in zip(net.neurons, (-9.0, -2.0, 0.0, 9.0), strict=True):
        neuron.b.data = bias
    batch = [[1.0], [2.0], [0.5]], [0.0] * 3
    (found,) = layer_statistics(net, *batch, lambda outputs, y: squared_error(autodiff.sum(outputs), y))
    assert found.dead == 2 / 4  # the second is never above 0: relu has slope 0 there too
    assert found.saturated == 6 / 12
    net.neurons[0].activation = net.neurons[1].activation = autodiff.leaky_relu
    (found,) = layer_statistics(net, *batch, lambda outputs, y: squared_error(autodiff.sum(outputs), y))
    assert found.dead == 0.0


@pytest.mark.parametrize(
    ("activation", "z", "flat"), [("sigmoid", 2.0, 0.0), ("sigmoid", 5.0, 1.0), ("tanh", 3.0, 1.0)]
)
def test_saturated_is_where_the_slope_is_a_twentieth(activation, z, flat):
    neuron = Neuron(1, activation, initialiser="zeros", bias=z)
    (found,) = layer_statistics(neuron, [[1.0]], [0.0], squared_error)
    assert (found.saturated, found.dead) == (flat, 0.0)


def test_very_small_gradients_do_not_round_to_zero():
    net = Neuron(1, "linear", initialiser="zeros", bias=1e-200)
    (found,) = layer_statistics(net, [[1.0]], [0.0], squared_error)
    assert found.gradient_rms == pytest.approx(2e-200, rel=1e-12)


def test_overflow_is_reported_not_raised():
    net = Sequential(*(Neuron(1, "linear", initialiser=lambda n_in, n_out, rng: 1e100) for _ in range(3)))
    first, *_ = layers = layer_statistics(net, [[1.0]], [0.0], lambda p, y: p)
    assert first.gradient_rms == 1e200
    assert first.activation_rms == 1e100
    assert find_problems(layers)[0].startswith("exploding: the error signal of layers.0")


# ---- whose layers


def test_layers_and_single_neurons_are_named_as_their_parameters_are():
    class Net(nn.Module):
        def __init__(self):
            self.body = Sequential(Layer(2, 3, rng=Random(0)), Dropout(0.5), Layer(3, 2, "tanh", rng=Random(1)))
            self.head = Neuron(2, "linear", rng=Random(2))
            self.scale = Value(2.0)

        def __call__(self, x):
            return self.head(self.body(x)) * self.scale

    names = [found.name for found in layer_statistics(Net(), *BATCH, squared_error)]
    assert names == ["body.layers.0", "body.layers.2", "head"]


def test_a_layer_without_a_path_goes_by_what_it_is():
    assert layer_statistics(Layer(2, 1), *BATCH, squared_error)[0].name == "Layer(2, 1, relu)"


def test_a_neuron_that_the_model_does_not_use_is_dead():
    class Half(nn.Module):
        def __init__(self):
            self.used, self.unused = Neuron(2, "linear"), Neuron(2, "linear")

        def __call__(self, x):
            return self.used(x)

    used, unused = layer_statistics(Half(), *BATCH, squared_error)
    assert (used.dead, unused.dead, unused.gradient_rms) == (0.0, 1.0, 0.0)


def test_a_shared_layer_counts_once_with_all_its_calls():
    shared = Layer(2, 2, "tanh", rng=Random(0))
    net = Sequential(shared, shared, autodiff.sum)
    (found,) = layer_statistics(net, *BATCH, squared_error)
    outputs = [out.data for x in BATCH[0] for row in [shared(x)] for out in [*row, *shared([v.data for v in row])]]
    assert found.activation_rms == pytest.approx(rms(outputs), rel=1e-12)


# ---- nothing changes


def test_the_model_is_left_as_it_was():
    net = Sequential(Layer(2, 3, rng=Random(0)), Dropout(0.5), Neuron(3, "linear", rng=Random(1)))
    for i, parameter in enumerate(net.parameters()):
        parameter.grad = float(i)
    net.layers[1].training = False
    activations = [neuron.activation for neuron in net.layers[0].neurons]
    layer_statistics(net, *BATCH, squared_error)
    assert [p.grad for p in net.parameters()] == [float(i) for i in range(len(net.parameters()))]
    assert [module.training for module in net.modules()].count(False) == 1
    assert [neuron.activation for neuron in net.layers[0].neurons] == activations


def test_the_model_is_left_as_it_was_after_an_error():
    net = deep("relu", depth=2)
    net.layers[0].neurons[0].b.grad = 3.0
    with pytest.raises(ZeroDivisionError):
        layer_statistics(net, *BATCH, lambda p, y: p / 0.0)
    assert net.layers[0].neurons[0].b.grad == 3.0
    assert net.training
    assert net.layers[0].neurons[0].activation is autodiff.relu


def test_a_watched_training_gives_the_same_floats():
    def train(watched):
        rng = Random(3)
        net = Sequential(Layer(2, 4, "tanh", rng=rng), Dropout(0.25, rng=rng), Neuron(4, "linear", rng=rng))
        monitor = Monitor(net, *BATCH, squared_error)
        callbacks = [monitor] if watched else []
        optimiser = SGD(net.parameters(), 0.1)
        options = {"epochs": 4, "batch_size": 2, "rng": rng, "callbacks": callbacks}
        records = fit(net, *BATCH, loss=squared_error, optimiser=optimiser, **options).run()
        return records, [p.data.hex() for p in net.parameters()], len(monitor.history)

    (plain, floats, _), (watched, watched_floats, measured) = train(False), train(True)
    assert (plain, floats, measured) == (watched, watched_floats, 4)


# ---- what it says


def test_vanishing_in_a_deep_sigmoid_network_and_not_in_a_relu_one():
    nets = {
        "sigmoid": deep("sigmoid", initialiser="xavier"),
        "relu": deep("relu", initialiser="he", width=16),
    }
    rng = Random(1)
    batch = [[rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0)] for _ in range(30)], [rng.gauss(0.0, 1.0) for _ in range(30)]
    said = {name: find_problems(layer_statistics(net, *batch, squared_error)) for name, net in nets.items()}
    assert len(said["sigmoid"]) == 1
    assert said["sigmoid"][0].startswith("vanishing: the error signal of layers.0 is ")
    assert said["relu"] == []


def test_exploding_with_large_weights():
    net = deep("tanh", depth=6, initialiser=nn.initialisers.normal(0.01))
    for parameter in net.parameters():
        parameter.data *= 10000.0
    linear = deep("linear", depth=6, initialiser=nn.initialisers.normal(100.0))
    assert any(said.startswith("exploding") for said in find_problems(layer_statistics(linear, *BATCH, squared_error)))
    assert any(said.startswith("saturated") for said in find_problems(layer_statistics(net, *BATCH, squared_error)))


def test_dead_relus():
    net = deep("relu", depth=3, initialiser="he", bias=-5.0)
    said = find_problems(layer_statistics(net, *BATCH, squared_error))
    assert said[0] == "dead: 100% of the units of layers.0 have slope 0 at every example"


def test_thresholds_can_be_chosen():
    layers = [layer(gradient=0.01, dead=0.3, saturated=0.4), layer("layers.1")]
    assert find_problems(layers) == []
    said = find_problems(layers, ratio=50.0, dead=0.25)
    assert [sentence.partition(":")[0] for sentence in said] == ["dead", "vanishing"]
    assert find_problems(layers, saturated=0.4)[0].startswith("saturated: 40%")


def test_a_gradient_that_is_not_a_number_is_named():
    assert find_problems([layer(gradient=math.inf), layer("last")])[0] == "overflow: the gradient of layers.0 is inf"


# ---- a monitor


def test_it_measures_every_so_many_epochs():
    net = deep("tanh", depth=2)
    monitor = Monitor(net, *BATCH, squared_error, every=3)
    before = monitor.measure()
    fit(net, *BATCH, loss=squared_error, optimiser=SGD(net.parameters(), 0.05), epochs=7, callbacks=[monitor]).run()
    assert list(monitor.history) == [0, 1, 4, 7]
    assert monitor.history[0] == before != monitor.history[7]
    assert monitor.history[7] == layer_statistics(net, *BATCH, squared_error)
    assert monitor.problems() == find_problems(monitor.history[7])


def test_its_plot_shows_the_measured_numbers_of_each_layer():
    net = deep("tanh", depth=3)
    monitor = Monitor(net, *BATCH, squared_error)
    for epoch in range(3):
        monitor.measure(epoch)
    signals, gradients, activations, dead, saturated, _ = monitor.plot().axes
    assert [line.get_label() for line in gradients.get_lines()] == ["layers.0", "layers.1", "layers.2"]
    for number, line in enumerate(gradients.get_lines()):
        assert list(line.get_xdata()) == [0, 1, 2]
        assert list(line.get_ydata()) == [layers[number].gradient_rms for layers in monitor.history.values()]
    assert list(signals.get_lines()[2].get_ydata()) == [layers[2].signal_rms for layers in monitor.history.values()]
    assert (gradients.get_yscale(), activations.get_yscale(), dead.get_yscale()) == ("log", "log", "linear")
    assert list(saturated.get_lines()[0].get_ydata()) == [monitor.history[i][0].saturated for i in range(3)]


def test_models_are_compared_layer_by_layer(tmp_path):
    nets = {name: layer_statistics(deep(name, depth=4), *BATCH, squared_error) for name in ("sigmoid", "relu")}
    figure = plot_layers(nets)
    line = figure.axes[1].get_lines()[1]
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    assert list(line.get_ydata()) == [found.gradient_rms for found in nets["relu"]]
    figure.savefig(tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 10_000


def test_a_gradient_of_zero_leaves_a_gap_on_the_logarithmic_axis():
    figure = plot_layers({"dead": [layer(gradient=0.0), layer("layers.1")]})
    low, high = figure.axes[1].get_lines()[0].get_ydata()
    assert math.isnan(low)
    assert high == 1.0


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((abs, *BATCH, squared_error), TypeError, "the layers in a Module, not of builtin_function_or_method"),
        ((Neuron(2), [[1.0, 2.0]], [], squared_error), ValueError, "1 inputs, 0 targets"),
        ((Neuron(2), [], [], squared_error), ValueError, "0 inputs, 0 targets"),
        ((Dropout(), *BATCH, squared_error), ValueError, "no Layer and no Neuron"),
        ((Neuron(2), *BATCH, lambda p, y: p.data), TypeError, "plain number"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        layer_statistics(*arguments)


def test_a_monitor_measures_at_least_now_and_then():
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        Monitor(Neuron(2), *BATCH, squared_error, every=0)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "chainrule\[plots\]"'):
        plot_layers({"one": [layer()]})
