import copy
import json
import pickle
import re
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
from autodiff import Value
from nn import MLP, Dropout, Layer, Module, Neuron, Sequential, linear
from nn.modules import masks_from

finite = st.floats(-10.0, 10.0)


class Everything(Module):
    """Holds parameters in every way there is."""

    def __init__(self):
        self.scale = Value(1.0)
        self.pair = (Value(2.0), [Value(3.0)])
        self.table = {"a": Value(4.0), 5: Value(5.0)}
        self.block = Neuron(1, rng=Random(0))
        self.again = self.block
        self.tied = self.scale
        self.itself = self
        self.matrix = np.array([[Value(6.0), Value(7.0)], [Value(8.0), Value(9.0)]], dtype=object)
        self.kept = self.scale * 2.0
        self.data = [1.0, 2.0]
        self.array = np.zeros(3)
        self.names = {"x", "y"}


# ---- structure


def test_parameters_are_found_everywhere_once_and_in_order():
    names = [name for name, _ in Everything().named_parameters()]
    assert names == [
        "scale",
        "pair.0",
        "pair.1.0",
        "table.a",
        "table.5",
        "block.w.0",
        "block.b",
        "matrix.0.0",
        "matrix.0.1",
        "matrix.1.0",
        "matrix.1.1",
    ]
    module = Everything()
    assert [p.data for p in module.parameters()][:5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert module.modules()[0] is module
    assert len(module.modules()) == 2


def test_many_rows_of_an_array_are_all_walked():
    class Wide(Module):
        def __init__(self):
            self.W = np.array([[Value(float(i + j)) for j in range(3)] for i in range(200)], dtype=object)

    assert len(Wide().parameters()) == 600


def test_modules_that_compare_equal_or_have_no_hash_are_modules():
    """Dataclasses are both."""

    @dataclass
    class Line(Module):
        slope: Value
        drop: Dropout

    lines = Sequential(Line(Value(1.0), Dropout(0.5)), Line(Value(1.0), Dropout(0.5)))
    assert [name for name, _ in lines.named_parameters()] == ["layers.0.slope", "layers.1.slope"]
    assert [name for name, _ in lines.named_modules()] == [
        "",
        "layers.0",
        "layers.0.drop",
        "layers.1",
        "layers.1.drop",
    ]
    assert not any(module.training for module in lines.eval().modules())


def test_names_of_a_network():
    net = MLP(3, [4, 2])
    named = dict(net.named_parameters())
    assert list(named) == [name for name, _ in net.named_parameters()]
    assert named["layers.0.neurons.3.w.1"] is net.layers[0].neurons[3].w[1]
    assert named["layers.1.neurons.0.b"] is net.layers[1].neurons[0].b
    assert named["layers.0.neurons.3.w.1"].label == "w[1]"


def test_a_set_of_parameters_is_refused():
    class Unordered(Module):
        def __init__(self):
            self.weights = {Value(1.0)}

    with pytest.raises(TypeError, match="weights is a set of parameters"):
        Unordered().parameters()


def test_module_without_call():
    with pytest.raises(NotImplementedError, match="Module defines no __call__"):
        Module()(1.0)


def test_zero_grad():
    net = MLP(2, [3, 1], rng=Random(0))
    net([1.0, 1.0]).backward()
    assert any(p.grad for p in net.parameters())
    net.zero_grad()
    assert [p.grad for p in net.parameters()] == [0.0] * 13


def test_train_and_eval_reach_every_part():
    net = Sequential(Layer(2, 2), Sequential(Dropout(0.5), Layer(2, 1)))
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert net.train() is net
    assert all(module.training for module in net.modules())


def test_reprs():
    assert repr(Neuron(2)) == "Neuron(2, relu)"
    assert repr(Layer(2, 3, "tanh")) == "Layer(2, 3, tanh)"
    assert repr(MLP(2, [1])) == "MLP(2, [1], output=linear, parameters=3)"
    assert repr(Sequential(MLP(1, [2, 1], output="sigmoid"), autodiff.tanh, Dropout(0.2))) == (
        "Sequential(MLP(1, [2, 1], activation=relu, output=sigmoid, parameters=7), tanh, Dropout(0.2))"
    )
    assert repr(Everything()) == "Everything(11 parameters)"


# ---- values


def weighted(neuron, row):
    return sum(w.data * x for w, x in zip(neuron.w, row, strict=True)) + neuron.b.data


@given(st.lists(finite, min_size=1, max_size=6), st.integers(0, 99))
def test_neuron_is_one_affine_node_and_one_activation(row, seed):
    neuron = Neuron(len(row), "tanh", bias=0.25, rng=Random(seed))
    output = neuron(row)
    assert output.data == pytest.approx(np.tanh(weighted(neuron, row)), rel=1e-12, abs=1e-12)
    (signal,) = output.parents
    assert (output.primitive.name, signal.primitive.name) == ("tanh", "affine")
    assert len(autodiff.toposort(output)) == len(row) + 3


@given(
    st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_every_kind_of_row_gives_the_same_floats(rows, sizes):
    net = MLP(3, sizes, activation="tanh", rng=Random(1))
    for row in rows:
        outputs = [net(kind(row)) for kind in (list, tuple, np.array, lambda row: [Value(x) for x in row])]
        data = [[v.data for v in (output if isinstance(output, list) else [output])] for output in outputs]
        assert data[0] == data[1] == data[2] == data[3]


def test_ints_numpy_scalars_and_object_arrays_as_inputs():
    neuron = Neuron(2, "linear", rng=Random(0))
    expected = neuron([1.0, 2.0]).data
    assert neuron([1, 2]).data == expected
    assert neuron(np.array([1, 2])).data == expected
    assert neuron([np.float64(1), np.float32(2)]).data == expected
    x = np.array([Value(1.0), Value(2.0)], dtype=object)
    neuron(x).backward()
    assert [v.grad for v in x] == [w.data for w in neuron.w]


def test_gradients_reach_the_inputs_too():
    x = [Value(0.5), Value(-1.0)]
    MLP(2, [3, 1], "tanh", rng=Random(0))(x).backward()
    assert all(v.grad for v in x)


def test_relu_inside_and_linear_last():
    net = MLP(1, [2, 1], initialiser=lambda n_in, n_out, rng: -1.0)
    assert net([3.0]).data == 0.0
    assert net([-3.0]).data == -6.0


def test_output_activation():
    net = MLP(2, [2, 2], output="sigmoid", rng=Random(2))
    assert all(0.0 < p.data < 1.0 for p in net([1.0, 2.0]))


def test_one_output_is_the_value_itself_at_every_level():
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value)
    assert isinstance(MLP(2, [16, 1, 1])([1.0, 2.0]), Value)
    assert isinstance(Sequential(Layer(2, 1), Layer(1, 1))([1.0, 2.0]), Value)
    assert len(Sequential(Layer(2, 1), Layer(1, 3))([1.0, 2.0])) == 3


def test_a_bare_number_is_a_row_of_one():
    net = MLP(1, [3, 1], "tanh", rng=Random(0))
    assert net(2.0).data == net([2.0]).data == net(np.float64(2.0)).data == net(Value(2.0)).data


def test_sequential_takes_functions():
    net = Sequential(Layer(2, 3, "linear", rng=Random(0)), autodiff.softmax)
    assert sum(p.data for p in net([1.0, 2.0])) == pytest.approx(1.0)
    assert len(net.parameters()) == 9


@pytest.mark.parametrize("row", [[1.0], [1.0, 2.0, 3.0], [], 5.0, np.zeros(3)])
def test_wrong_width_names_both(row):
    given_width = 1 if isinstance(row, float) else len(row)
    for model in (Neuron(2), Layer(2, 3), MLP(2, [3, 1])):
        with pytest.raises(ValueError, match=rf"takes 2 inputs, but was given {given_width}$"):
            model(row)


@pytest.mark.parametrize("rows", [np.ones((2, 2)), np.ones((4, 2)), [[1.0, 2.0], [3.0, 4.0]], [(1.0, 2.0)]])
@pytest.mark.parametrize("model", [Neuron(2), MLP(2, [3, 1])])
def test_a_batch_is_not_a_row(model, rows):
    message = (
        rf"takes 2 inputs, but was given {len(rows)} rows: one example at a time, as in \[net\(x\) for x in rows\]"
    )
    with pytest.raises(ValueError, match=message):
        model(rows)


@pytest.mark.parametrize("bad", ["a", None, 1j])
@pytest.mark.parametrize("model", [Neuron(3), Layer(3, 2)])
def test_an_input_that_is_no_number_is_named(model, bad):
    with pytest.raises(TypeError, match=rf"^input 2 of {re.escape(repr(model))} must be a number, not {bad!r}$"):
        model([1.0, 2.0, bad])


def test_other_errors_of_an_operation_stay_what_they_are():
    neuron = Neuron(1)
    neuron.w[0] = None
    with pytest.raises(TypeError, match="None"):
        neuron([1.0])


def test_the_neuron_of_another_width_is_meant():
    layer = Layer(2, 2)
    layer.neurons[1].w.pop()
    with pytest.raises(ValueError, match="takes 1 inputs, but was given 2"):
        layer([1.0, 2.0])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (([Layer(2, 2)],), r"write Sequential\(\*layers\)"),
        ((Layer(2, 2), "relu"), r"not 'relu': an activation is its layer's, as in Layer\(2, 3, 'relu'\)"),
        ((Layer(2, 2), None), "layers and functions, not None"),
    ],
)
def test_sequential_checks_its_layers_at_once(layers, message):
    with pytest.raises(TypeError, match=message):
        Sequential(*layers)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Neuron(0), ValueError, "n_in must be at least 1, not 0"),
        (lambda: Layer(2, -1), ValueError, "n_out must be at least 1, not -1"),
        (lambda: Layer(2.5, 1), TypeError, r"n_in must be a whole number, not 2\.5"),
        (lambda: MLP(3, [4.0, 1]), TypeError, r"n_out must be a whole number, not 4\.0"),
        (lambda: MLP(3, 4), TypeError, r"sizes must be a list, as in MLP\(3, \[4\]\), not 4"),
        (lambda: MLP(3, "41"), TypeError, "sizes must be a list"),
        (lambda: MLP(2, []), ValueError, "at least one layer"),
        (lambda: MLP(2, [1], activation="relo"), ValueError, "unknown activation 'relo'"),
        (lambda: Layer(2, 1, ["relu"]), ValueError, r"unknown activation \['relu'\]"),
        (lambda: Layer(2, 1, initialiser=["he"]), ValueError, r"unknown initialiser \['he'\]"),
        (lambda: Neuron(2, bias=True), TypeError, "True"),
    ],
)
def test_wrong_sizes(build, error, message):
    with pytest.raises(error, match=message):
        build()


# ---- saving and copying


@given(st.lists(st.floats(allow_nan=False), min_size=13, max_size=13))
def test_state_survives_json_to_the_last_bit(numbers):
    net, other = MLP(2, [3, 1], rng=Random(0)), MLP(2, [3, 1], rng=Random(1))
    for parameter, number in zip(net.parameters(), numbers, strict=True):
        parameter.data = number
    other.load_state_dict(json.loads(json.dumps(net.state_dict())))
    assert [p.data.hex() for p in other.parameters()] == [float(x).hex() for x in numbers]


def test_a_state_that_does_not_fit_changes_nothing():
    net = MLP(2, [3, 1], rng=Random(0))
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"lacks layers\.0\.neurons\.0\.b, .* and 8 more; .*unexpected extra"):
        net.load_state_dict({"extra": 1.0})
    with pytest.raises(ValueError, match=r"its layers\.1\.neurons\.0\.w has 3 entries, not 4$"):
        MLP(2, [4, 1]).load_state_dict(before | {f"layers.0.neurons.3.{key}": 0.0 for key in ("w.0", "w.1", "b")})
    with pytest.raises(ValueError, match=r"this MLP: its layers\.0\.neurons has 3 entries, not 5; its layers\.1\.neur"):
        MLP(2, [5, 1]).load_state_dict(before)
    with pytest.raises(ValueError, match=r"its layers has 2 entries, not 3$"):
        MLP(2, [3, 1, 1]).load_state_dict(before)
    for wrong in ("1.0", None, True, [1.0]):
        with pytest.raises(TypeError, match=r"layers\.1\.neurons\.0\.b must be a number"):
            net.load_state_dict({**dict.fromkeys(before, 9.0), "layers.1.neurons.0.b": wrong})
    assert net.state_dict() == before


def test_a_number_too_large_for_a_float_changes_nothing():
    net = MLP(2, [3, 1], rng=Random(0))
    before = net.state_dict()
    with pytest.raises(OverflowError):
        net.load_state_dict({**dict.fromkeys(before, 9.0), "layers.1.neurons.0.b": 10**400})
    assert net.state_dict() == before


def test_a_state_may_hold_numbers_of_numpy():
    net, other = MLP(2, [3, 1], rng=Random(0)), MLP(2, [3, 1])
    other.load_state_dict({name: np.float32(x) for name, x in net.state_dict().items()})
    assert other.state_dict() == {name: float(np.float32(x)) for name, x in net.state_dict().items()}


@pytest.mark.parametrize("state", ["net.json", [1.0], None])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(TypeError, match=r"what state_dict returned, not .*: a file is read by nn\.load\(thing, path\)"):
        MLP(2, [1]).load_state_dict(state)


def test_a_buffer_may_be_a_single_number():
    class Centred(Module):
        buffers = ("middle",)

        def __init__(self, middle):
            self.middle, self.slope = middle, Value(2.0)

    centred = Centred(1.5)
    assert centred.state_dict() == {"slope": 2.0, "middle": 1.5}
    centred.load_state_dict({"slope": 3.0, "middle": 2})
    assert (centred.middle, centred.slope.data) == (2.0, 3.0)
    with pytest.raises(TypeError, match="the buffer middle, unless a list, must be a number, not None"):
        Centred(None).state_dict()
    Centred.buffers = "middle"
    with pytest.raises(TypeError, match=r"buffers of Centred\(1 parameters\) must be names, as in .*, not 'middle'"):
        centred.state_dict()


def test_a_parameter_is_not_replaced_by_what_was_computed_from_it():
    """`net.b -= ...` would leave the parameter behind in silence."""
    neuron = Neuron(1)
    with pytest.raises(TypeError, match=r"b is a parameter of this Neuron, .*: write neuron\.b\.data -= "):
        neuron.b -= 0.1 * neuron.b
    neuron.b.data -= 0.1
    neuron.b = Value(2.0)  # another parameter
    neuron.memory = neuron.b * 2.0
    neuron.memory = neuron.memory * 2.0
    assert neuron.memory.data == 8.0


def test_colliding_names_are_refused():
    class Colliding(Module):
        def __init__(self):
            self.a = {"b.c": Value(1.0), "b": {"c": Value(2.0)}}

    with pytest.raises(ValueError, match="same name"):
        Colliding().state_dict()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(clone):
    net = Sequential(MLP(2, [3, 2], "tanh", rng=Random(0)), Dropout(0.5, rng=Random(0)), Layer(2, 1))
    twin = clone(net)
    assert twin.state_dict() == net.state_dict()
    twin.parameters()[0].data += 1.0
    assert twin.state_dict() != net.state_dict()


# ---- dropout


def test_dropout_keeps_the_expected_value():
    drop = Dropout(0.25, rng=Random(0))
    outputs = drop([1.0] * 20_000)
    assert {round(x, 12) for x in outputs} == {0.0, round(1.0 / 0.75, 12)}
    assert sum(outputs) / len(outputs) == pytest.approx(1.0, abs=0.02)


def test_dropout_draws_a_new_mask_at_each_call():
    drop = Dropout(0.5, rng=Random(0))
    assert len({tuple(drop([1.0] * 16)) for _ in range(10)}) == 10


def test_dropout_of_values_carries_gradients_through_the_kept_ones():
    values = [Value(1.0) for _ in range(8)]
    kept = Dropout(0.5, rng=Random(3))(values)
    autodiff.sum(kept).backward()
    assert [v.grad for v in values] == [k.data for k in kept]
    assert {v.grad for v in values} == {0.0, 2.0}


def test_dropout_in_evaluation_and_of_one_number():
    values = [Value(1.0), Value(2.0)]
    drop = Dropout(0.9, rng=Random(0))
    assert drop.eval()(values) is values
    assert {Dropout(0.5, rng=Random(seed))(3.0) for seed in range(9)} == {0.0, 6.0}
    assert Dropout(0.0)([1.0, 2.0]) == [1.0, 2.0]


def test_dropout_takes_masks_that_are_given():
    asked = []
    drop = Dropout(0.5, rng=Random(0))

    def source(dropout, width):
        asked.append((dropout is drop, width))
        return [2.0, 0.0, 2.0][:width]

    with masks_from(source):
        assert drop([1.0, 2.0, 3.0]) == [2.0, 0.0, 6.0]
        assert drop(5.0) == 10.0
        assert drop.eval()([1.0]) == [1.0]
    assert asked == [(True, 3), (True, 1)]
    assert drop.train()([1.0, 2.0, 3.0]) == Dropout(0.5, rng=Random(0))([1.0, 2.0, 3.0])


def test_dropout_is_not_frozen_by_compile():
    net = Sequential(Layer(2, 3, rng=Random(0)), Dropout(0.5, rng=Random(0)), Layer(3, 1, rng=Random(1)))
    with pytest.raises(RuntimeError, match=r"Dropout\(0\.5\) inside a compiled function would draw"):
        autodiff.compile(net)([1.0, 2.0])
    assert autodiff.compile(net.eval())([1.0, 2.0]) == net([1.0, 2.0]).data


def test_modules_have_names():
    net = Sequential(MLP(2, [2, 1]), Dropout(0.5))
    names = dict(net.named_modules())
    assert list(names)[:4] == ["", "layers.0", "layers.0.layers.0", "layers.0.layers.0.neurons.0"]
    assert names["layers.1"] is net.layers[1]
    assert list(names.values()) == net.modules()


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="p must be at least 0 and below 1"):
        Dropout(p)


@pytest.mark.parametrize("p", [None, "0.5"])
def test_dropout_refuses_what_is_no_number(p):
    with pytest.raises(TypeError, match=f"p must be a number, not {p!r}"):
        Dropout(p)


def test_dropout_takes_one_example_at_a_time():
    with pytest.raises(ValueError, match=r"takes 2 inputs, but was given 2 rows: one example at a time"):
        Dropout(0.5)([[1.0, 2.0], [3.0, 4.0]])


def test_dropout_refuses_a_wrong_generator_at_once():
    with pytest.raises(TypeError, match="rng"):
        Dropout(0.5, rng=0)


def test_linear_is_the_identity():
    v = Value(1.0)
    assert linear(v) is v
