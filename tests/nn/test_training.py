import gc
import logging
import math
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from random import Random

import numpy as np
import pytest

import autodiff
import nn
from autodiff import Value
from nn import MLP, SGD, Adam, Dropout, Epoch, Layer, Module, Neuron, Sequential, fit, squared_error
from nn.failures import Suspects

XOR = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
LINE = [[float(i)] for i in range(7)], [2.0 * i + 1.0 for i in range(7)]


def line_fit(model=None, rate=0.02, **options):
    model = model or Neuron(1, "linear", rng=Random(0))
    options = {"loss": squared_error, "optimiser": SGD(model.parameters(), rate), "epochs": 3} | options
    return model, fit(model, *LINE, **options)


def floats(model):
    return [p.data.hex() for p in model.parameters()]


# ---- learning


def test_xor():
    net = MLP(2, [4, 1], "tanh", rng=Random(1))
    loss = nn.binary_cross_entropy_with_logits
    records = fit(
        net, *XOR, loss=loss, optimiser=Adam(net.parameters(), 0.1), epochs=100, metrics={"right": nn.binary_accuracy}
    ).run()
    assert records[-1].loss < 0.05 < records[0].loss
    assert records[-1].metrics == {"right": 1.0}


def test_one_batch_of_everything_is_gradient_descent_by_hand():
    model, training = line_fit(batch_size=None, epochs=5)
    w, b = model.w[0].data, model.b.data
    (xs, ys), n = LINE, len(LINE[0])
    for record in training:
        errors = [w * x + b - y for (x,), y in zip(xs, ys, strict=True)]
        assert record.loss == pytest.approx(math.fsum(e * e for e in errors) / n, rel=1e-12)
        w -= 0.02 * 2.0 * math.fsum(e * x for e, (x,) in zip(errors, xs, strict=True)) / n
        b -= 0.02 * 2.0 * math.fsum(errors) / n
        assert (model.w[0].data, model.b.data) == pytest.approx((w, b), rel=1e-12)


def test_batches_are_taken_in_order_and_weigh_by_their_size():
    batches = []
    count = lambda p, y: batches.append(y) or p * 0.0 + y  # noqa: E731
    _, training = line_fit(batch_size=3, epochs=1, loss=count, compiled=False)
    assert next(training).loss == pytest.approx(sum(LINE[1]) / 7)
    assert batches == LINE[1]
    assert training.optimiser.steps == 3  # of 3, 3 and 1 examples


def test_shuffling_takes_every_example_once_in_an_order_of_the_epoch():
    orders = []
    count = lambda p, y: orders.append(y) or p * 0.0  # noqa: E731
    _, training = line_fit(rng=Random(0), epochs=4, batch_size=2, loss=count, compiled=False)
    training.run()
    epochs = [orders[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(epoch) == LINE[1] for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def xor_run(seed):
    rng = Random(seed)
    net = MLP(2, [3, 3, 1], "tanh", initialiser="xavier", rng=rng)
    optimiser = Adam(net.parameters(), 0.05)
    training = fit(net, *XOR, loss=squared_error, optimiser=optimiser, epochs=12, batch_size=3, rng=rng)
    return training.run(), floats(net)


def test_same_seed_same_floats_whatever_the_global_generator_does():
    import random

    first = xor_run(4)
    random.seed(99)
    assert xor_run(4) == first
    assert xor_run(5) != first


def test_known_floats_of_a_seed():
    model, training = line_fit(model=Neuron(1, "linear", rng=Random(0)), batch_size=2, rng=Random(1))
    training.run()
    # Arithmetic and Python's own generator only: the same on every version and machine.
    assert floats(model) == ["0x1.12ed4c91a229bp+1", "0x1.954fa91c63c82p-2"]


def test_numpy_arrays_train_as_lists_do():
    xs, ys = np.array(LINE[0]), np.array(LINE[1])
    model, twin = Neuron(1, "linear", rng=Random(0)), Neuron(1, "linear", rng=Random(0))
    for net, data in ((model, LINE), (twin, (xs, ys))):
        fit(net, *data, loss=squared_error, optimiser=SGD(net.parameters(), 0.02), epochs=3, validation=data).run()
    assert floats(model) == floats(twin)


def test_class_indices_from_numpy():
    rows, species, _ = nn.iris()
    net = MLP(4, [3], rng=Random(0))
    data = np.array(rows[::10]), np.array(species[::10])
    training = fit(net, *data, loss=nn.softmax_cross_entropy, optimiser=SGD(net.parameters(), 0.01), epochs=1)
    assert next(training).loss > 0.0


def test_class_indices_that_are_floats_give_the_same_floats():
    """As a table of numbers holds them, classes beside inputs."""
    rows, species, _ = nn.iris()
    trained = []
    for targets, compiled in ((species, True), (species, False), (list(map(float, species)), True)):
        net = MLP(4, [3], rng=Random(0))
        options = {"loss": nn.softmax_cross_entropy, "optimiser": SGD(net.parameters(), 0.01), "compiled": compiled}
        history = fit(net, rows[::10], targets[::10], epochs=2, metrics={"right": nn.accuracy}, **options).run()
        trained.append((history, floats(net)))
    assert trained[0] == trained[1] == trained[2]


def test_any_function_of_values_is_a_model():
    w = Value(0.0)
    fit(lambda x: w * x[0], *LINE, loss=squared_error, optimiser=SGD([w], 0.02), epochs=30).run()
    assert w.data == pytest.approx(sum(x * y for (x,), y in zip(*LINE, strict=True)) / 91, rel=1e-6)


def test_penalty_pulls_but_is_not_in_the_recorded_loss():
    free, training = line_fit(epochs=1)
    pulled, penalised = line_fit(epochs=1, penalty=lambda model: 10.0 * nn.l2_penalty(model.parameters()))
    assert next(training).loss == next(penalised).loss
    w = Neuron(1, "linear", rng=Random(0)).w[0].data
    assert pulled.w[0].data == pytest.approx(free.w[0].data - 0.02 * 20.0 * w)


def test_clip_norm_bounds_the_step():
    model, training = line_fit(clip_norm=1e-3, batch_size=None, epochs=1)
    before = [p.data for p in model.parameters()]
    next(training)
    step = math.dist(before, [p.data for p in model.parameters()])
    assert step == pytest.approx(0.02 * 1e-3)


# ---- the loop


def test_nothing_happens_before_the_loop_and_one_epoch_at_a_turn():
    model, training = line_fit()
    before = floats(model)
    assert len(training) == 3
    assert floats(model) == before
    assert iter(training) is training
    assert next(training).epoch == 1
    assert floats(model) != before
    assert [record.epoch for record in training] == [2, 3]
    assert [record.epoch for record in training.records] == [1, 2, 3]
    assert list(training) == []


def test_a_loop_that_was_left_goes_on_where_it_was():
    whole, training = line_fit(epochs=6)
    training.run()
    parts, training = line_fit(epochs=6)
    list(islice(training, 2))
    training.run()
    assert floats(parts) == floats(whole)


def test_a_training_that_never_starts_warns():
    with pytest.warns(RuntimeWarning, match="nothing was trained"):
        line_fit()


def test_it_works_with_tqdm():
    tqdm = pytest.importorskip("tqdm")
    _, training = line_fit()
    bar = tqdm.tqdm(training, disable=True)
    assert bar.total == 3
    assert len(list(bar)) == 3


def test_records():
    _, training = line_fit(validation=([[9.0]], [19.0]), metrics={"error": lambda p, y: abs(p.data - y)}, epochs=1)
    record = next(training)
    assert record.validation_loss == pytest.approx(record.metrics["error"] ** 2)
    assert record.seconds > 0.0
    assert record == Epoch(1, record.loss, record.validation_loss, record.metrics, seconds=99.0)
    with pytest.raises(AttributeError):
        record.loss = 0.0


@pytest.mark.parametrize("shape", [lambda p: p, lambda p: [p[0], (p[1], {"c": p[2]})]])
def test_many_evaluations_are_compiled_and_give_the_same_floats(shape, monkeypatch):
    rows, species, _ = nn.iris()
    flat = lambda p: p if len(p) == 3 else [p[0], p[1][0], p[1][1]["c"]]  # noqa: E731
    results, calls = [], []
    for compiled in (True, False):
        net = MLP(4, [3, 3], "tanh", rng=Random(0))
        model = lambda x, net=net: calls.append(x) or shape(net(x))  # noqa: E731
        calls.clear()
        training = fit(
            model,
            rows[::15],
            species[::15],
            loss=lambda p, y: nn.softmax_cross_entropy(flat(p), y),
            optimiser=SGD(net.parameters(), 0.1),
            epochs=5,
            validation=(rows[1:101], species[1:101]),
            metrics={"right": lambda p, y: nn.accuracy(flat(p), y), "kind": lambda p, y: flat(p)[0].data},
            compiled=compiled,
        )
        results.append((training.run(), floats(net)))
        assert (len(calls) < 50) == compiled
    assert results[0] == results[1]


def test_metrics_without_validation_are_of_the_training_examples():
    model, training = line_fit(epochs=1, metrics={"error": lambda p, y: p - y})
    record = next(training)
    assert record.validation_loss is None
    errors = [model(x).data - y for x, y in zip(*LINE, strict=True)]
    assert record.metrics["error"] == pytest.approx(math.fsum(errors) / 7)


def test_progress_is_logged_and_not_printed(caplog, capsys):
    _, training = line_fit(epochs=2)
    with caplog.at_level(logging.INFO, logger="nn"):
        training.run()
    assert [record.message.split(":")[0] for record in caplog.records] == ["epoch 1", "epoch 2"]
    assert capsys.readouterr() == ("", "")


# ---- stopping


def test_callbacks_see_every_record_and_can_end_the_training():
    seen, told = [], []

    def stop_at_two(record):
        told.append(record.epoch)
        return record.epoch == 2

    _, training = line_fit(epochs=9, callbacks=(stop_at_two, seen.append))
    records = training.run()
    assert len(records) == 2
    assert seen == records
    assert told == [1, 2]


class Scripted:
    """A loss whose validation part follows a script, so that early stopping can be told from luck."""

    def __init__(self, script):
        self.script = iter(script)

    def __call__(self, prediction, target):
        return next(self.script) if target == "validate" else squared_error(prediction, target)


def scripted_fit(script, **options):
    model = Neuron(1, "linear", rng=Random(0))
    history = []
    training = fit(
        model,
        *LINE,
        loss=Scripted(script),
        optimiser=SGD(model.parameters(), 0.01),
        epochs=len(script),
        validation=([[0.0]], ["validate"]),
        callbacks=[lambda record: history.append(floats(model))],
        **options,
    )
    return model, training, history


def test_patience_ends_training_and_brings_back_the_best_parameters():
    model, training, history = scripted_fit([3.0, 2.0, 2.5, 2.0, 2.1, 1.0], patience=3)
    records = training.run()
    assert [record.validation_loss for record in records] == [3.0, 2.0, 2.5, 2.0, 2.1]
    assert floats(model) == history[1]
    assert len(set(map(tuple, history))) == 5


def test_patience_starts_again_at_every_improvement():
    model, training, history = scripted_fit([3.0, 3.5, 2.0, 2.5, 1.0, 1.5], patience=2)
    assert len(training.run()) == 6
    assert floats(model) == history[4]


def test_the_best_may_be_the_last():
    model, training, history = scripted_fit([3.0, 2.0, 1.0], patience=1)
    training.run()
    assert floats(model) == history[2]


def test_without_patience_the_last_parameters_stay():
    model, training, history = scripted_fit([1.0, 2.0, 3.0])
    training.run()
    assert floats(model) == history[2]


def test_a_callback_that_ends_it_leaves_the_best_too():
    model = Neuron(1, "linear", rng=Random(0))
    history = []
    training = fit(
        model,
        *LINE,
        loss=Scripted([1.0, 2.0, 0.5]),
        optimiser=SGD(model.parameters(), 0.01),
        epochs=3,
        validation=([[0.0]], ["validate"]),
        patience=9,
        callbacks=[lambda record: history.append(floats(model)) or record.epoch == 2],
    )
    assert len(training.run()) == 2
    assert floats(model) == history[0]


# ---- modes


def test_dropout_drops_in_training_and_not_in_validation():
    modes = {"train": set(), "validate": set()}
    drop = Dropout(0.5, rng=Random(0))
    net = Sequential(Layer(1, 4, rng=Random(0)), drop, Layer(4, 1, "linear", rng=Random(1)))

    def loss(prediction, target):
        modes["validate" if target == 99.0 else "train"].add(drop.training)
        return squared_error(prediction, target)

    optimiser = SGD(net.parameters(), 0.001)
    fit(net.eval(), *LINE, loss=loss, optimiser=optimiser, epochs=2, validation=([[1.0]], [99.0])).run()
    assert modes == {"train": {True}, "validate": {False}}
    assert drop.training


def test_modes_come_back_when_validation_fails():
    net = Sequential(Layer(1, 1, "linear", rng=Random(0)), Dropout(0.5, rng=Random(0)))
    training = fit(
        net,
        *LINE,
        loss=squared_error,
        optimiser=SGD(net.parameters(), 0.001),
        epochs=2,
        validation=([[1.0, 2.0]], [1.0]),
    )
    with pytest.raises(ValueError, match="takes 1 inputs"):
        next(training)
    assert net.training
    assert list(training) == []


# ---- errors


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_place(bad):
    inputs = [[0.0], [0.0], [0.0], [bad]]
    model = Neuron(1, "linear", initialiser=lambda n_in, n_out, rng: 1.0)
    optimiser = SGD(model.parameters(), 0.1)
    training = fit(model, inputs, [0.0] * 4, loss=squared_error, optimiser=optimiser, epochs=2, batch_size=2)
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2: the loss is"):
        next(training)
    assert all(math.isfinite(p.data) for p in model.parameters())
    assert list(training) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_data_is_not_blamed_on_the_learning_rate(bad):
    for inputs, targets in [([[0.0], [bad]], [0.0, 0.0]), ([[0.0], [1.0]], [0.0, bad])]:
        model = Neuron(1, "linear", initialiser=lambda n_in, n_out, rng: 1.0)
        training = fit(model, inputs, targets, loss=squared_error, optimiser=SGD(model.parameters(), 0.1), epochs=1)
        with pytest.raises(FloatingPointError, match=r"; leave such examples out or fill in what is missing$"):
            training.run()


def test_divergence_is_noticed():
    _, training = line_fit(rate=10.0, epochs=500)
    with pytest.raises(FloatingPointError, match=r"epoch \d+, batch 1: the loss is (inf|nan)"):
        training.run()


def test_an_error_inside_the_model_says_where_it_was():
    _, training = line_fit(batch_size=2, loss=lambda p, y: autodiff.log(p * 0.0 + 4.0 - y))
    with pytest.raises(ValueError, match="log") as raised:
        training.run()
    assert raised.value.__notes__ == ["This was in epoch 1, batch 2 of the training, at example 2."]


def test_an_error_at_the_very_first_example_says_so_too():
    _, training = line_fit(loss=lambda p, y: autodiff.log(p * 0.0))
    with pytest.raises(ValueError, match="log") as raised:
        training.run()
    assert raised.value.__notes__ == ["This was in epoch 1, batch 1 of the training, at example 0."]


def test_an_error_of_no_single_example_names_the_batch_only():
    _, training = line_fit(penalty=lambda model: autodiff.log(model.w[0] * 0.0))
    with pytest.raises(ValueError, match="log") as raised:
        training.run()
    assert raised.value.__notes__ == ["This was in epoch 1, batch 1 of the training."]


def test_a_loss_without_a_graph_is_noticed():
    _, training = line_fit(loss=lambda p, y: (p.data - y) ** 2)
    with pytest.raises(TypeError, match="depends on no parameter"):
        next(training)


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "error", "message"),
    [
        ([[1.0]], [1.0, 2.0], {}, ValueError, "1 inputs, 2 targets"),
        ([], [], {}, ValueError, "there are no inputs"),
        ([[1.0]], iter([1.0]), {}, TypeError, "targets must be a list"),
        ([[1.0]], 1.0, {}, TypeError, "targets must be a list or an array"),
        ([[1.0]], [1.0], {"validation": ([[1.0]], [])}, ValueError, "1 validation inputs, 0 validation targets"),
        ([[1.0]], [1.0], {"validation": ([], [])}, ValueError, "there are no validation inputs"),
        ([[1.0]], [1.0], {"epochs": 0}, ValueError, "epochs must be at least 1, not 0"),
        ([[1.0]], [1.0], {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ([[1.0]], [1.0], {"patience": 0, "validation": ([[1.0]], [1.0])}, ValueError, "patience must be at least 1"),
        ([[1.0]], [1.0], {"patience": 3}, ValueError, "give validation="),
        ([[1.0]], [1.0], {"rng": 0}, TypeError, r"random\.Random\(0\)"),
        ([[1.0]], [1.0], {"epochs": 2.5}, TypeError, r"epochs must be a whole number, not 2\.5"),
        ([[1.0]], [1.0], {"clip_norm": -1.0}, ValueError, r"clip_norm must be above 0, not -1\.0"),
        ([[1.0]], [1.0], {"loss": "mse"}, TypeError, r"loss must be a function of .*nn\.squared_error, not 'mse'"),
        ([[1.0]], [1.0], {"penalty": 0.1}, TypeError, r"penalty must be a function of the model.* not 0\.1"),
        ([[1.0]], [1.0], {"optimiser": "adam"}, TypeError, r"such as nn\.Adam\(model\.parameters\(\)\), not 'adam'"),
        ([[1.0]], [1.0], {"optimiser": SGD}, TypeError, r"such as nn\.Adam\(model\.parameters\(\)\), not <class"),
        ([[1.0]], [1.0], {"validation": ([[1.0]],)}, TypeError, r"validation must be a pair \(inputs, targets\)"),
        ([[1.0]], [1.0], {"validation": 0.2}, TypeError, r"validation must be a pair .*, not 0\.2"),
        ([[1.0]], [1.0], {"metrics": [nn.accuracy]}, TypeError, r'write metrics=\{"accuracy": nn\.accuracy\}'),
        ([[1.0]], [1.0], {"metrics": {"right": 1.0}}, TypeError, r"the metric 'right' must be a function .*, not 1\.0"),
        ([[1.0]], [1.0], {"metrics": {"loss": squared_error}}, ValueError, "a metric cannot be called 'loss'"),
        ([[1.0]], [1.0], {"epochs": None}, TypeError, "epochs must be a whole number, not None"),
        ([[1.0]], [1.0], {"clip_norm": "1"}, TypeError, "clip_norm must be a number, not '1'"),
        ([[1.0]], [1.0], {"callbacks": print}, TypeError, r"must be a list of functions of a record, such as \[f\]"),
        ([[1.0]], [1.0], {"callbacks": [1.0]}, TypeError, r"callbacks must be functions of a record, not 1\.0"),
    ],
)
def test_wrong_arguments_are_named_at_once(inputs, targets, options, error, message):
    model = Neuron(1)
    options = {"loss": squared_error, "optimiser": SGD(model.parameters(), 0.1), "epochs": 1} | options
    with pytest.raises(error, match=message):
        fit(model, inputs, targets, **options)


def test_a_model_must_be_a_function():
    with pytest.raises(TypeError, match="model must be a function of one example"):
        fit("net", *LINE, loss=squared_error, optimiser=SGD([Value(1.0)], 0.1), epochs=1)


def test_an_optimiser_of_another_model_is_refused():
    model, other = Neuron(1), Neuron(1)
    with pytest.raises(ValueError, match=r"none of this model's parameters"):
        fit(model, *LINE, loss=squared_error, optimiser=SGD(other.parameters(), 0.1), epochs=1)
    some = SGD([*model.parameters()[:1], Value(1.0)], 0.1)  # a part of it is fine, and so are others beside it
    assert next(fit(model, *LINE, loss=squared_error, optimiser=some, epochs=2)).epoch == 1


def test_no_grad_around_evaluation_leaves_gradients_alone():
    model, training = line_fit(epochs=1, validation=LINE)
    next(training)
    after = [p.grad for p in model.parameters()]
    with autodiff.no_grad():
        model([1.0])
    assert [p.grad for p in model.parameters()] == after


# ---- what a failure says


def failing(model, inputs, targets, loss=squared_error, **options):
    optimiser = options.pop("optimiser", None) or SGD(model.parameters(), 0.1)
    training = fit(model, inputs, targets, loss=loss, optimiser=optimiser, epochs=2, **options)
    with pytest.raises(FloatingPointError) as raised:
        training.run()
    return str(raised.value)


def ones(sizes, n_in=1, activation="linear"):
    return MLP(n_in, sizes, activation, initialiser=lambda n_in, n_out, rng: 1.0)


both = pytest.mark.parametrize("compiled", [True, False])


@both
def test_the_example_and_the_layer_of_a_loss_that_is_not_finite(compiled):
    model = ones([2, 2, 1])
    model.layers[1].neurons[1].w[0].data = 1e300
    inputs = [[0.0], [0.0], [0.0], [1e9], [0.0]]
    message = failing(model, inputs, [0.0] * 5, batch_size=2, compiled=compiled)
    assert message == (
        "epoch 1, batch 2: the loss is inf (example 3: affine gives inf in layers.1.neurons.1, Neuron(2, linear)); "
        "try a smaller learning rate or clip_norm"
    )


@both
def test_the_example_is_named_by_its_place_in_the_data_also_if_shuffled(compiled):
    inputs = [[0.0] for _ in range(9)]
    inputs[4] = [math.nan]
    message = failing(ones([1]), inputs, [0.0] * 9, batch_size=2, rng=Random(1), compiled=compiled)
    assert "(example 4: its inputs hold nan)" in message


def test_a_target_that_is_not_finite():
    assert "(example 1: its target holds inf)" in failing(ones([1]), [[0.0], [0.0]], [0.0, math.inf])


def test_an_activation_is_blamed_on_its_layer():
    blow_up = lambda z: z * 1e200 * 1e200  # noqa: E731
    model = Sequential(Layer(1, 1, "linear"), Layer(1, 1, blow_up, initialiser=lambda n_in, n_out, rng: 1.0))
    model.layers[0].neurons[0].w[0].data = 1.0
    message = failing(model, [[1.0]], [0.0])
    assert "mul gives inf in layers.1.neurons.0, Neuron(1, <lambda>)" in message


def test_the_loss_function_is_blamed_for_itself():
    message = failing(ones([1]), [[1e200]], [0.0], loss=lambda p, y: (p * p) * 1.0 - y)
    assert "example 0: the loss of its prediction is inf, though the prediction is finite" in message


def test_a_ruined_parameter_is_named():
    model = ones([2, 1])
    model.layers[0].neurons[1].w[0].data = math.nan
    assert "the parameter layers.0.neurons.1.w.0 is nan already" in failing(model, [[1.0]], [0.0])


def test_a_parameter_of_no_module_is_named_by_its_label():
    w = Value(math.inf, "gain")
    message = failing(lambda x: w * x[0], [[1.0]], [0.0], optimiser=SGD([w], 0.1))
    assert "the parameter gain is inf already" in message


def test_a_parameter_without_name_or_label_is_counted():
    parameters = [Value(1.0), Value(1.0), Value(math.nan)]
    message = failing(lambda x: sum(parameters) * x[0], [[1.0]], [0.0], optimiser=SGD(parameters, 0.1))
    assert "the parameter number 2 is nan already" in message


def test_a_penalty_that_is_not_finite_is_no_examples_fault():
    message = failing(ones([1]), [[1.0]], [0.0], penalty=lambda model: 1e200 * 1e200 * model.parameters()[0])
    assert "each example by itself is finite" in message


@both
def test_a_gradient_that_is_not_finite_names_parameter_and_example(compiled):
    w = Neuron(1, autodiff.sqrt, initialiser=lambda n_in, n_out, rng: 1.0)  # sqrt'(0) = inf
    inputs = [[4.0], [4.0], [0.0], [4.0]]
    message = failing(w, inputs, [1.0] * 4, compiled=compiled)
    assert message.startswith("epoch 1, batch 1: the gradient of b is -inf, from example 2, though the loss is")
    assert math.isfinite(w.b.data)


def test_a_gradient_of_the_penalty_is_no_examples_fault():
    message = failing(ones([1]), [[1.0]], [0.0], penalty=lambda model: autodiff.sqrt(model.parameters()[0] - 1.0))
    assert "the gradient of layers.0.neurons.0.w.0 is inf, though the loss is 1.0" in message


@pytest.mark.parametrize(
    ("x", "kind"), [({"a": [0.0, math.nan]}, "nan"), (np.array([0.0, math.inf]), "inf"), (Value(-math.inf), "-inf")]
)
def test_inputs_of_any_structure_are_looked_through(x, kind):
    w = Value(1.0)
    total = lambda x: w * (x if isinstance(x, Value) else sum(x["a"] if isinstance(x, dict) else x))  # noqa: E731
    message = failing(total, [x], [0.0], optimiser=SGD([w], 0.1), compiled=False)
    assert f"example 0: its inputs hold {kind}" in message


def test_a_layer_that_no_module_holds_has_no_name():
    w = Value(1e200)
    message = failing(lambda x: w * x[0] * x[0], [[0.0], [1e100]], [0.0] * 2, optimiser=SGD([w], 0.1))
    assert "(example 1: mul gives inf); try" in message


def test_an_example_that_raises_by_itself_is_told(monkeypatch):
    """Compiled batches raise what the function raises; what only the slow search meets is an answer, too."""
    message = Suspects(
        lambda x, y: autodiff.log(x), lambda p, x, y: p, [(2.0, 0.0), (-1.0, 0.0)], [4, 7], [], None
    ).blame_loss()
    assert message.startswith("example 7: ValueError: log(-1.0)")


def test_large_gradients_are_not_taken_for_infinite_ones():
    model = MLP(2, [1], initialiser="zeros")
    training = fit(
        model,
        [[1.1e154, 1.1e154]],
        [0.0],
        loss=lambda p, y: p * 1e154,
        optimiser=SGD(model.parameters(), 0.0),
        epochs=1,
    )
    assert training.run()[0].loss == 0.0
    assert math.isinf(sum(p.grad for p in model.parameters()))


@both
def test_one_example_at_a_time_gives_the_floats_of_the_loop_written_out(compiled):
    points, labels = nn.two_moons(20, rng=Random(3))
    targets = [2.0 * label - 1.0 for label in labels]
    net, twin = (MLP(2, [8, 8, 1], rng=Random(4)) for _ in range(2))
    optimiser = SGD(net.parameters(), 0.05)
    options = {"loss": nn.hinge, "optimiser": optimiser, "epochs": 3, "batch_size": 1, "compiled": compiled}
    losses = [record.loss for record in fit(net, points, targets, **options)]
    optimiser = SGD(twin.parameters(), 0.05)
    for epoch in range(3):
        total = 0.0
        for x, y in zip(points, targets, strict=True):
            loss = nn.hinge(twin(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.data
        assert losses[epoch] == total / 20
    assert floats(net) == floats(twin)


def test_classes_one_at_a_time_get_code_without_waiting(monkeypatch):
    monkeypatch.setattr("autodiff.specialising.LARGE", 10)
    net, calls = MLP(2, [4, 3], rng=Random(1)), []
    points, _ = nn.two_moons(30, rng=Random(2))
    options = {"loss": nn.softmax_cross_entropy, "optimiser": SGD(net.parameters(), 0.1), "batch_size": 1, "epochs": 2}
    fit(lambda x: calls.append(1) or net(x), points, [0, 1, 2] * 10, **options).run()
    assert len(calls) <= 4  # the first example, and each class once


# ---- Dropout, compiled


def dropout_fit(compiled, model=None, **options):
    rng = Random(2)
    drop = Dropout(0.5, rng=Random(7))
    model = model or Sequential(Layer(2, 6, "tanh", rng=rng), drop, Layer(6, 3, rng=rng), drop, Layer(3, 1, "linear"))
    for neuron in model.layers[-1].neurons:
        for w in neuron.w:
            w.data = 0.5
    points, labels = nn.two_moons(14, rng=rng)
    optimiser = Adam(model.parameters(), 0.01)
    options = {"epochs": 4, "batch_size": 4, "rng": rng} | options
    training = fit(model, points, labels, loss=squared_error, optimiser=optimiser, compiled=compiled, **options)
    return model, training


@pytest.mark.parametrize("batch_size", [4, 1])
def test_compiled_dropout_gives_the_floats_of_the_eager_one(batch_size):
    (model, training), (twin, eager) = (dropout_fit(compiled, batch_size=batch_size) for compiled in (True, False))
    assert training.run() == eager.run()
    assert floats(model) == floats(twin)
    assert model.layers[1].rng.getstate() == twin.layers[1].rng.getstate()


def test_every_example_and_step_has_a_mask_of_its_own(monkeypatch):
    masks, draw = [], Dropout.draw
    monkeypatch.setattr(Dropout, "draw", lambda drop, width: masks.append(draw(drop, width)) or masks[-1])
    dropout_fit(True)[1].run()
    assert [len(mask) for mask in masks] == [6, 3] * 14 * 4
    assert len(set(map(tuple, masks[::2]))) > 30
    assert {factor for mask in masks for factor in mask} == {0.0, 2.0}


def test_a_dropped_unit_has_no_gradient_compiled():
    model, training = dropout_fit(True, epochs=1, batch_size=None)
    keep = iter([[0.0, 0.0, 0.0, 0.0, 0.0, 2.0], [2.0, 2.0, 2.0]] * 14)
    model.layers[1].draw = lambda width: next(keep)
    training.run()
    moved = [any(w.grad for w in neuron.w) for neuron in model.layers[0].neurons]
    assert moved == [False] * 5 + [True]


def test_a_model_that_calls_dropout_differently_is_told_to_run_eagerly():
    class Fickle(Sequential):
        def __call__(self, x):
            return super().__call__(x) if x[0] > 0.5 else self.layers[-1](self.layers[2](self.layers[0](x)))

    first, training = dropout_fit(False, epochs=1)
    training.run()
    with pytest.raises(RuntimeError, match=r"differently for each example takes fit\(\.\.\., compiled=False\)"):
        dropout_fit(True, model=Fickle(*first.layers), rng=None)[1].run()
    assert len(dropout_fit(False, model=Fickle(*first.layers), rng=None)[1].run()) == 4


def test_a_module_that_draws_by_itself_is_not_compiled():
    class Noisy(Neuron):
        draws_numbers = True
        rng = Random(0)

        def __call__(self, x):
            return super().__call__(x) + self.rng.gauss(0.0, 1.0)

    model = Noisy(1, "linear", initialiser="zeros")
    line_fit(model=model, epochs=2)[1].run()
    drawn = Random(0)
    for _ in range(14):
        drawn.gauss(0.0, 1.0)
    assert model.rng.getstate() == drawn.getstate()


class Running(Module):
    """Subtracts a running mean of its input."""

    buffers = ("mean",)

    def __init__(self, start=0.0):
        self.mean = start

    def __call__(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * getattr(x[0], "data", x[0])
        self.latest = [x[0] - self.mean]  # what is not a number before is nobody's state
        return self.latest


@pytest.mark.parametrize("start", [0.0, 1])
def test_a_module_that_sets_a_number_of_its_own_is_not_compiled_in_silence(start):
    class Told(Running):
        draws_numbers = True

    with pytest.raises(RuntimeError, match="mean of this Running would be set at the first call of compiled code only"):
        line_fit(model=Sequential(Running(start), Neuron(1, "linear")), epochs=2)[1].run()
    runs = {}
    for name, kind, compiled in [("told", Told, True), ("eager", Running, False)]:
        model = Sequential(kind(start), Neuron(1, "linear", rng=Random(0)))
        runs[name] = line_fit(model=model, epochs=2, compiled=compiled)[1].run(), model.layers[0].mean, floats(model)
    assert runs["told"] == runs["eager"]
    assert runs["told"][1] != start
    model.eval()
    fast = autodiff.compile(model)  # nothing is set any more
    assert fast([2.0]) == fast([2.0]) == model([2.0]).data


# ---- several workers


@pytest.mark.parametrize("workers", [1, 3])
def test_an_executor_gives_the_same_floats_for_any_number_of_workers(workers):
    results = []
    for pool in (ThreadPoolExecutor(1), ThreadPoolExecutor(workers)):
        with pool:
            model, training = dropout_fit(True, executor=pool, chunks=3, batch_size=7)
            results.append((training.run(), floats(model)))
    assert results[0] == results[1]
    serial, training = dropout_fit(True, batch_size=7)
    records = training.run()
    assert [record.loss for record in results[0][0]] == pytest.approx([record.loss for record in records], rel=1e-12)
    assert [p.data for p in model.parameters()] == pytest.approx([p.data for p in serial.parameters()], rel=1e-9)


@pytest.mark.slow
def test_two_processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        model, training = dropout_fit(True, executor=pool, chunks=2, batch_size=7)
        training.run()
    with ThreadPoolExecutor(2) as pool:
        twin, training = dropout_fit(True, executor=pool, chunks=2, batch_size=7)
        training.run()
    assert floats(model) == floats(twin)


def test_an_executor_without_compiling_is_refused():
    with pytest.raises(ValueError, match="executor= sends compiled code"):
        line_fit(executor=ThreadPoolExecutor(1), compiled=False)


# ---- progress and Ctrl-C


def test_a_progress_bar(capsys):
    pytest.importorskip("tqdm")
    _, training = line_fit(epochs=3, progress=True, validation=LINE, metrics={"error": lambda p, y: abs(p - y)})
    training.run()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert f"loss={training.records[-1].loss:.4g}" in shown.err
    assert "error=" in shown.err
    assert "seconds=" not in shown.err


def test_without_tqdm_there_is_no_bar_and_a_line_in_the_log(monkeypatch, caplog, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    _, training = line_fit(epochs=2, progress=True)
    assert len(training.run()) == 2
    assert 'pip install "chainrule[progress]"' in caplog.text
    assert capsys.readouterr() == ("", "")


class Interrupting:
    """A loss during which somebody presses Ctrl-C, at the n-th example."""

    def __init__(self, n):
        self.left = n

    def __call__(self, prediction, target):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return squared_error(prediction, target)


@pytest.mark.parametrize("n", [7 * 2 + 1, 7 * 2 + 5, 7 * 3])
def test_an_interrupt_leaves_the_last_whole_epoch(n, caplog):
    expected, training = line_fit(epochs=2, batch_size=2)
    training.run()
    model, training = line_fit(epochs=9, batch_size=2, loss=Interrupting(n), compiled=False)
    records = training.run()
    assert [record.epoch for record in records] == [1, 2]
    assert training.interrupted
    assert floats(model) == floats(expected)
    assert list(training) == []
    assert "interrupted after 2 epochs" in caplog.text


def test_an_interrupt_brings_back_the_best_where_there_is_validation():
    model = Neuron(1, "linear", rng=Random(0))
    history, script = [], iter([3.0, 1.0, 2.0])

    def loss(prediction, target):
        if target != "validate":
            return squared_error(prediction, target)
        if (number := next(script, None)) is None:
            raise KeyboardInterrupt
        return number

    training = fit(
        model,
        *LINE,
        loss=loss,
        optimiser=SGD(model.parameters(), 0.01),
        epochs=9,
        validation=([[0.0]], ["validate"]),
        callbacks=[lambda record: history.append(floats(model))],
        progress=True,
    )
    assert len(training.run()) == 3
    assert floats(model) == history[1]
    assert training.records.best.epoch == 2


def test_an_interrupt_in_the_first_epoch_leaves_the_model_as_it_was():
    model, training = line_fit(batch_size=1, loss=Interrupting(5), compiled=False)
    before = floats(model)
    assert training.run() == []
    assert floats(model) == before


def test_an_interrupt_in_a_compiled_training():
    presses = iter([None, None, KeyboardInterrupt])

    class Pressed(SGD):
        def step(self):
            if next(presses):
                self.parameters[0].data = 77.0  # in the middle of a step
                raise KeyboardInterrupt
            super().step()

    model = Neuron(1, "linear", rng=Random(0))
    training = fit(model, *LINE, loss=squared_error, optimiser=Pressed(model.parameters(), 0.01), epochs=9)
    assert len(training.run()) == 2
    assert model.w[0].data != 77.0


# ---- what it looks like, and what it leaves behind


def test_repr_says_how_far_it_is_and_what_to_do():
    _, training = line_fit()
    advice = "loop over it, or call its run()"
    assert repr(training) == f"<Training: 0 of 3 epochs; {advice}>"
    loss = next(training).loss
    assert repr(training) == f"<Training: 1 of 3 epochs, loss {loss:.5g}; {advice}>"
    loss = training.run()[-1].loss
    assert repr(training) == f"<Training: 3 of 3 epochs, loss {loss:.5g}>"


def test_a_model_goes_with_its_training():
    """Without waiting for the garbage collector: nothing here refers to itself (a compiled function does)."""
    gc.collect()
    gc.disable()
    try:
        model = Sequential(Neuron(1, "linear", rng=Random(0)), Dropout(0.1, rng=Random(0)))
        options = {"penalty": lambda net: net.layers[0].w[0] ** 2, "validation": ([[1.0]], [1.0])}
        _, training = line_fit(model, compiled=False, **options)
        training.run()
        watched = weakref.ref(model), weakref.ref(training)
        del model, training, _
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()
