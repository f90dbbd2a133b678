"""A training that was stopped, killed or saved goes on as if nothing had happened: the same floats, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from nn import (
    SGD,
    Adam,
    Dropout,
    Layer,
    Neuron,
    RMSprop,
    Sequential,
    fit,
    half_squared_error,
    load,
    save,
    schedules,
    softmax_cross_entropy,
    split,
    squared_error,
    two_moons,
)

ROOT = Path(__file__).resolve().parents[2]
LINE = [[float(i)] for i in range(7)], [2.0 * i + 1.0 for i in range(7)]


def moons_fit(epochs=8, **options):
    """Use everything that has a state: shuffling, dropout, an optimiser with memory, a schedule, early stopping."""
    rng = Random(3)
    train, held_out = split(*two_moons(24, noise=0.2, rng=rng), 1 / 4, rng)
    drops = Dropout(0.25, rng=Random(5)), Dropout(0.1, rng=rng)
    net = Sequential(
        Layer(2, 4, "tanh", rng=rng), drops[0], Layer(4, 3, "tanh", rng=rng), drops[1], Layer(3, 2, rng=rng)
    )
    options = {"patience": 20, "validation": held_out} | options
    optimiser = Adam(net.parameters(), schedules.cosine(0.05, steps=40))
    loss = softmax_cross_entropy
    return net, fit(net, *train, loss=loss, optimiser=optimiser, epochs=epochs, batch_size=5, rng=rng, **options)


def floats(model):
    return [parameter.data.hex() for parameter in model.parameters()]


def outcome(net, training):
    records = training.run()
    return floats(net), records, training.optimiser.state_dict(), net.layers[1].rng.random()


@pytest.fixture(scope="module")
def whole():
    return outcome(*moons_fit())


@pytest.mark.parametrize("epochs", [1, 4, 7, 8])
@pytest.mark.parametrize("compiled", [True, False])
def test_resumed_is_the_same_as_uninterrupted(tmp_path, whole, epochs, compiled):
    path = tmp_path / "run.json"
    _, first = moons_fit(checkpoint=path, compiled=compiled)
    for _ in range(epochs):
        next(first)
    net, second = moons_fit(checkpoint=path, resume=True, compiled=compiled)
    assert len(second.records) == epochs
    assert outcome(net, second) == whole


def test_a_state_in_memory_does_it_too(whole):
    _, first = moons_fit()
    next(first)
    state = json.loads(json.dumps(first.state_dict()))
    next(first)  # what comes later must not reach into the state
    net, second = moons_fit()
    second.load_state_dict(state)
    assert outcome(net, second) == whole


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda state: state.pop("records"), ValueError, "the state of a training is not whole: it lacks records"),
        (lambda state: state["parameters"].pop(), ValueError, "shorter"),
        (lambda state: state["generators"].pop(), ValueError, "shorter"),
        (lambda state: state["generators"][-1][1].pop(), ValueError, "state vector is the wrong size"),
        (lambda state: state["parameters"].append(None), TypeError, "a parameter in the state must be a number"),
        (lambda state: state["optimiser"].pop("steps"), ValueError, "the state does not fit this"),
        (lambda state: state.clear(), ValueError, "this is not the state of a training"),
    ],
)
def test_a_state_that_is_not_whole_changes_nothing(change, error, message):
    _, first = moons_fit()
    next(first)
    state = json.loads(json.dumps(first.state_dict()))
    change(state)
    net, second = moons_fit()
    before = json.dumps(second.state_dict()), floats(net)
    with pytest.raises(error, match=message):
        second.load_state_dict(state)
    assert (json.dumps(second.state_dict()), floats(net)) == before
    assert next(second).epoch == 1


def test_more_epochs_may_be_asked_for_than_at_first(tmp_path, whole):
    path = tmp_path / "run.json"
    moons_fit(epochs=3, checkpoint=path)[1].run()
    assert outcome(*moons_fit(epochs=8, checkpoint=path, resume=True)) == whole


def test_a_finished_training_has_nothing_left_to_do(tmp_path, whole):
    path = tmp_path / "run.json"
    moons_fit(checkpoint=path)[1].run()
    net, again = moons_fit(checkpoint=path, resume=True)
    assert list(again) == []
    assert (floats(net), again.records) == whole[:2]


def test_early_stopping_and_its_best_parameters_survive(tmp_path):
    data = {"validation": ([[0.0], [9.0]], [5.0, -3.0]), "patience": 3}
    results = []
    for stop_after in (99, 1, 2, 3):
        path = tmp_path / f"{stop_after}.json"
        for resume in (False, True):
            model = Neuron(1, "linear", initialiser="zeros")
            optimiser = SGD(model.parameters(), 0.02, momentum=0.9, nesterov=True)
            options = data | {"checkpoint": path, "resume": resume}
            training = fit(model, *LINE, loss=squared_error, optimiser=optimiser, epochs=50, **options)
            for record in training:
                if record.epoch == stop_after and not resume:
                    break
        results.append((floats(model), training.records))
    assert results[1:] == results[:1] * 3
    assert 3 < len(results[0][1]) < 50
    assert results[0][1].best.epoch == len(results[0][1]) - 3


def test_a_callback_that_ended_it_has_ended_it(tmp_path):
    def line_fit(**options):
        model = Neuron(1, "linear", rng=Random(0))
        options |= {"checkpoint": tmp_path / "run.json", "callbacks": [lambda record: record.epoch == 2]}
        return fit(model, *LINE, loss=squared_error, optimiser=SGD(model.parameters(), 0.01), epochs=5, **options)

    assert len(line_fit().run()) == 2
    assert list(line_fit(resume=True)) == []


def test_every_so_many_epochs_and_at_the_end(tmp_path):
    path, seen = tmp_path / "run.json", []
    _, training = moons_fit(epochs=5, checkpoint=path, checkpoint_every=2)
    for _ in training:
        seen.append(len(json.loads(path.read_text("utf-8"))["state"]["records"]) if path.exists() else 0)
    assert seen == [0, 2, 2, 4, 5]


def test_resume_starts_where_there_is_nothing_to_go_on_from(tmp_path, whole):
    assert outcome(*moons_fit(checkpoint=tmp_path / "run.json", resume=True)) == whole


def test_dropout_that_no_module_holds_goes_on_too(tmp_path):
    def hidden_fit(**options):
        first, drop, last = Layer(2, 4, "tanh", rng=Random(0)), Dropout(rng=Random(1)), Layer(4, 1, rng=Random(2))
        optimiser = RMSprop(first.parameters() + last.parameters())
        model = lambda x: last(drop(first(x)))  # noqa: E731
        data = [[0.5, 1.0], [1.0, -1.0]], [1.0, 2.0]
        return fit(model, *data, loss=squared_error, optimiser=optimiser, epochs=4, **options)

    expected = hidden_fit().run()
    next(hidden_fit(checkpoint=tmp_path / "run.json"))
    assert hidden_fit(checkpoint=tmp_path / "run.json", resume=True).run() == expected
    assert len({record.loss for record in expected}) == 4


def test_a_training_ended_by_ctrl_c_goes_on_too(tmp_path, whole, monkeypatch):
    presses = iter([None] * 17)

    def pressed(optimiser):
        step(optimiser)
        if next(presses, True):
            raise KeyboardInterrupt

    step = Adam.step
    with monkeypatch.context() as patch:
        patch.setattr(Adam, "step", pressed)
        _, first = moons_fit(checkpoint=tmp_path / "run.json")
        assert len(first.run()) == 4  # of four batches each, and one batch more
    assert first.interrupted
    net, second = moons_fit(checkpoint=tmp_path / "run.json", resume=True)
    assert outcome(net, second) == whole


# ---- what is refused


def test_an_existing_file_is_not_overwritten(tmp_path):
    path = tmp_path / "run.json"
    moons_fit(epochs=1, checkpoint=path)[1].run()
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="give resume=True to go on from it, or remove it"):
        moons_fit(checkpoint=path)
    assert path.read_bytes() == before


def test_wrong_places_are_noticed_before_the_first_epoch(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .* for the checkpoint run\.json"):
        moons_fit(checkpoint=tmp_path / "none" / "run.json")
    with pytest.raises(ValueError, match="give checkpoint="):
        moons_fit(resume=True)


def resume(path, model=None, optimiser=SGD, examples=7, **options):
    model = model or Neuron(1, "linear", rng=Random(0))
    data = [column[:examples] for column in LINE]
    options = {"loss": squared_error, "optimiser": optimiser(model.parameters(), 0.01), "epochs": 2} | options
    return model, fit(model, *data, checkpoint=path, resume=True, **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": Layer(1, 1)}, r"its model is \['w\.0', 'b'\], not \['neurons"),
        ({"optimiser": Adam}, "its optimiser is 'SGD', not 'Adam'"),
        ({"examples": 6}, "its number of examples is 7, not 6"),
        ({"batch_size": 3}, "its batch size is 7, not 3"),
        ({"model": Neuron(1, "tanh")}, r"its activations is \['linear'\], not \['tanh'\]"),
        ({"loss": half_squared_error}, "its loss is 'squared_error', not 'half_squared_error'"),
        ({"validation": LINE}, "its validation is None, not 7"),
        ({"rng": Random(0)}, "its random generators is 0, not 1"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, changed, message):
    path = tmp_path / "run.json"
    resume(path, batch_size=None)[1].run()
    with pytest.raises(ValueError, match=message):
        resume(path, **({"batch_size": None} | changed))


def test_a_model_is_no_checkpoint(tmp_path):
    save(Neuron(1), tmp_path / "run.json")
    with pytest.raises(ValueError, match="not the state of a training"):
        resume(tmp_path / "run.json")
    model, training = resume(tmp_path / "other.json")
    training.run()
    with pytest.raises(ValueError, match="does not fit this Neuron: it lacks"):
        load(model, tmp_path / "other.json")


# ---- a process that is killed

SCRIPT = """
import sys
from tests.nn.test_resuming import floats, moons_fit

net, training = moons_fit(epochs=150, patience=400, checkpoint=sys.argv[1], resume=True)
print(len(training.records), flush=True)
for record in training:
    print(record.epoch, flush=True)
print("end", *floats(net), flush=True)
"""


def start(path):
    command = [sys.executable, "-c", SCRIPT, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_process_is_resumed_to_the_same_floats(tmp_path):
    path, rng = tmp_path / "run.json", Random()  # a kill at a random moment: every one must do
    resumed_at = []
    for kill_after in (3, 30):
        with start(path) as process:
            resumed_at.append(int(process.stdout.readline()))
            for line in process.stdout:
                if int(line) >= resumed_at[-1] + kill_after + rng.randrange(20):
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
    with start(path) as process:
        resumed_at.append(int(process.stdout.readline()))
        *_, last = process.stdout
    assert 0 == resumed_at[0] < resumed_at[1] < resumed_at[2] < 150
    net, uninterrupted = moons_fit(epochs=150, patience=400)
    uninterrupted.run()
    assert last.split() == ["end", *floats(net)]
