"""What runs on micrograd runs here with the import lines changed, and gives the same numbers."""

import random

import pytest

from autodiff import Value
from nn import MLP, Layer, Neuron


def test_readme_example():
    a = Value(-4.0)
    b = Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g.data:.4f}" == "24.7041"
    g.backward()
    assert f"{a.grad:.4f}" == "138.8338"
    assert f"{b.grad:.4f}" == "645.5773"
    # The same in rational numbers, by the quotient rule.
    assert g.data == pytest.approx(2421 / 98, rel=1e-15)
    assert a.grad == pytest.approx(47620 / 343, rel=1e-15)
    assert b.grad == pytest.approx(221433 / 343, rel=1e-15)


def test_sanity_check():
    x = Value(-4.0)
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    y = h + q + q * x
    y.backward()
    assert y.data == -20.0
    assert x.grad == 46.0  # z' = 3, q' = z' x + z = -22, h' = 2 z z' = -60, y' = h' + q' + q' x + q


def test_more_ops():
    a = Value(-4.0)
    b = Value(2.0)
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g = g + 10.0 / f
    g.backward()
    assert g.data == pytest.approx(24.70408163265306, abs=1e-6)
    assert a.grad == pytest.approx(138.8338192419825, abs=1e-6)
    assert b.grad == pytest.approx(645.5772594752186, abs=1e-6)


def test_attributes_and_options():
    neuron = Neuron(3, nonlin=False)
    assert len(neuron.w) == 3
    assert neuron.b.data == 0.0
    assert neuron([1.0, 0.0, 0.0]).data == neuron.w[0].data
    layer = Layer(2, 3, nonlin=True)
    assert [len(unit.w) for unit in layer.neurons] == [2, 2, 2]
    assert all(output.data >= 0.0 for output in layer([1.0, -1.0]))
    net = MLP(3, [4, 4, 1])
    assert len(net.layers) == 3
    assert len(net.parameters()) == 41
    assert isinstance(net([2.0, 3.0, -1.0]), Value)


def test_random_seed_reaches_the_weights_in_the_same_order():
    random.seed(1337)
    net = MLP(2, [3, 1])
    random.seed(1337)
    expected = []
    for n_in, n_out in [(2, 3), (3, 1)]:
        for _ in range(n_out):
            expected += [random.uniform(-1, 1) for _ in range(n_in)] + [0.0]
    assert [p.data for p in net.parameters()] == expected


def test_single_neuron_hidden_layer():
    random.seed(0)
    net = MLP(2, [16, 1, 1])
    assert isinstance(net([1.0, 2.0]), Value)


def test_a_training_loop_in_its_style_learns():
    xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    ys = [1.0, -1.0, -1.0, 1.0]
    random.seed(1)
    model = MLP(3, [4, 4, 1])
    for _ in range(60):
        loss = sum((model(x) - y) ** 2 for x, y in zip(xs, ys, strict=True))
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data += -0.01 * p.grad
    assert loss.data < 0.1
