"""Training as something to loop over: one record per epoch, computed when the loop asks for it."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import fsum, inf, isfinite
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import autodiff
from autodiff import Value
from nn.checks import above_0, at_least, check_state, count, real_number
from nn.examples import Examples, examples, with_floats
from nn.failures import Suspects
from nn.history import Epoch, History
from nn.initialisers import generator
from nn.losses import Loss
from nn.metrics import as_number
from nn.modules import Dropout, Module, Neuron, evaluating, masks_from
from nn.optimisers import Optimiser, clip_grad_norm
from nn.storage import load, save

if TYPE_CHECKING:
    import logging

__all__ = ["Callback", "Epoch", "Training", "fit"]


Callback = Callable[[Epoch], Any]
"""A function of the record of an epoch that has ended; returning True ends the training."""


def fit(
    model: Callable[[Any], Any],
    inputs: Sequence[Any],
    targets: Sequence[Any],
    *,
    loss: Loss,
    optimiser: Optimiser,
    epochs: int,
    batch_size: int | None = 32,
    rng: Random | None = None,
    penalty: Callable[[Any], Any] | None = None,
    validation: tuple[Sequence[Any], Sequence[Any]] | None = None,
    metrics: Mapping[str, Callable[[Any, Any], float]] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    executor: Any = None,
    chunks: int = 8,
    compiled: bool = True,
) -> "Training":
    """Prepare to train a model; each turn of a loop over the result trains one epoch and gives its record.

    `loss(prediction, target)` is of one example; a step goes down the gradient of its mean over `batch_size` examples
    (None: all of them), plus `penalty(model)`, with the gradient's norm clipped to `clip_norm`. The examples are
    shuffled before every epoch if a generator `rng` is given, else taken in order: same seed, same floats.

    `validation` is a pair of inputs and targets that are never trained on. `metrics` are functions like the loss,
    averaged over the validation examples (over the training examples if there are none). With `patience`, training
    stops after so many epochs without a better validation loss, and at its end, early or not, the model gets its best
    parameters.

    `progress=True` shows a bar if tqdm is installed. Ctrl-C ends the training in good order: the model gets the best
    parameters so far by validation loss (without validation, those of the last whole epoch), and the program goes on.

    With `checkpoint`, a file, everything that the training consists of is written to it after every `checkpoint_every`
    epochs and at the end. With `resume=True` as well, a training that was killed goes on from the file, if there is
    one, and ends in the same floats as if it had not been. Callbacks and non-parameter attributes are not in it.

    The mean loss and the penalty are compiled (`autodiff.compile`); `compiled=False` gives the same floats, slowly.
    The masks of `Dropout` are drawn for each example and step, and passed to the compiled function. A model with a
    module that draws other random numbers (and says so by `draws_numbers = True`) is not compiled: it would draw once.

    An `executor` (of concurrent.futures, loky, dask.distributed, mpi4py, ...) computes each batch in so many `chunks`,
    on any number of workers with the same floats; only another number of chunks adds up in another order. See
    `autodiff.batch_sum`. It pays for batches that take much longer than sending them.

    Modules are in training mode in an epoch and in evaluation mode for validation (see `Dropout`).
    Raises FloatingPointError as soon as a loss or a gradient is nan or infinite, and names the example and the layer.

    >>> from nn import SGD, Neuron, squared_error
    >>> line = Neuron(1, "linear", rng=Random(0))
    >>> xs, ys = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> training = fit(line, xs, ys, loss=squared_error, optimiser=SGD(line.parameters(), 0.3), epochs=100)
    >>> for record in training:
    ...     if record.epoch % 50 == 0:
    ...         print(record.epoch, f"{record.loss:.1e}")
    50 8.7e-12
    100 9.5e-20
    >>> [round(parameter.data, 3) for parameter in line.parameters()]
    [2.0, 1.0]
    """
    _check_kinds(model, loss, optimiser, penalty, validation, metrics)
    pairs = [examples("inputs", inputs, "targets", targets)]
    if validation is not None:
        pairs.append(examples("validation inputs", validation[0], "validation targets", validation[1]))
    counts = {"epochs": epochs, "checkpoint_every": checkpoint_every, "chunks": chunks}
    if batch_size is not None:
        counts["batch_size"] = batch_size
    for name, number in counts.items():
        count(name, number)
    if patience is not None:
        at_least(1, patience=patience)
    if clip_norm is not None:
        above_0(clip_norm=clip_norm)
    generator(rng)  # a wrong kind of generator is an error here
    if patience is not None and validation is None:
        raise ValueError("patience waits for a better validation loss: give validation=(inputs, targets)")
    if isinstance(model, Module) and not _shares_parameters(model, optimiser):
        raise ValueError("the optimiser has none of this model's parameters: make it from model.parameters()")
    path = _checked_path(checkpoint, resume)
    settings = _Settings(
        loss=loss,
        epochs=epochs,
        batch_size=batch_size or len(pairs[0][0]),
        rng=rng,
        penalty=penalty,
        metrics=metrics or {},
        patience=patience,
        clip_norm=clip_norm,
        progress=progress,
        checkpoint=path,
        checkpoint_every=checkpoint_every,
        executor=executor,
        chunks=chunks,
        compiled=compiled and not _draws_numbers(model),
    )
    if executor is not None and not settings.compiled:
        raise ValueError("executor= sends compiled code to its workers: it needs a model and a fit() that are compiled")
    trained, *held_out = with_floats(pairs, model, loss)
    training = Training(model, optimiser, trained, next(iter(held_out), None), settings, _checked_callbacks(callbacks))
    if path is not None and resume and os.path.exists(path):  # noqa: PTH110  (pathlib is slow to import)
        training.resume(path)
    return training


class _Settings(NamedTuple):
    """What `fit` was told, checked and completed."""

    loss: Loss
    epochs: int
    batch_size: int
    rng: Random | None
    penalty: Callable[[Any], Any] | None
    metrics: Mapping[str, Callable[[Any, Any], float]]
    patience: int | None
    clip_norm: float | None
    progress: bool
    checkpoint: str | None
    checkpoint_every: int
    executor: Any
    chunks: int
    compiled: bool


class Training:
    """A training under way: an iterator over the records of its epochs. `fit` makes it.

    Its length is the number of epochs asked for, for progress bars. A loop that is left early can be taken up again.
    `records` is the `History` so far, `interrupted` says whether Ctrl-C ended it.

    >>> from nn import SGD, Neuron, squared_error
    >>> line = Neuron(1, "linear", rng=Random(0))
    >>> training = fit(line, [[1.0]], [1.0], loss=squared_error, optimiser=SGD(line.parameters(), 0.1), epochs=3)
    >>> len(training), next(training).epoch, [record.epoch for record in training]
    (3, 1, [2, 3])
    >>> training.records[0].epoch
    1
    """

    def __init__(
        self,
        model: Callable[[Any], Any],
        optimiser: Optimiser,
        examples: Examples,
        held_out: Examples | None,
        settings: _Settings,
        callbacks: list[Callback],
    ) -> None:
        self._ended = True  # until all is prepared: `__del__` asks
        self.model = model
        self.optimiser = optimiser
        self.records = History()
        self.interrupted = False
        self._examples = examples
        self._held_out = held_out
        self._settings = settings
        self._callbacks = callbacks
        self._mean_loss = _MeanLoss(model, settings)
        self._penalty = None
        if settings.penalty is not None:
            penalty = settings.penalty
            self._penalty = _Objective(lambda: penalty(model), settings.compiled)
        evaluated = (held_out or examples)[0] if held_out or settings.metrics else []
        self._predict = _predictor(model, evaluated, settings)
        self._best = _Best(inf, 0, [])
        self._latest = self._numbers()  # after the last whole epoch: an interrupt must not leave half a step
        self._stopped = False  # by a callback
        self._ended = False
        self._bar: Any = None

    def __del__(self) -> None:
        if not (self.records or self._ended):
            warnings.warn("nothing was trained: loop over what fit() returns, or call its run()", RuntimeWarning, 1)

    def __len__(self) -> int:
        return self._settings.epochs

    def __iter__(self) -> Iterator[Epoch]:
        return self

    def __next__(self) -> Epoch:
        if self._ended:
            raise StopIteration
        self._ended = True  # until this epoch has ended well
        if self._settings.progress and self._bar is None:
            self._bar = _progress_bar(len(self), len(self.records))
        try:
            record = self._train_epoch(len(self.records) + 1)
            self._ended = self._conclude(record)
        except KeyboardInterrupt:
            self._interrupt()
            raise StopIteration from None
        finally:
            self._show_progress()
        return record

    def __repr__(self) -> str:
        loss = f", loss {self.records[-1].loss:.5g}" if self.records else ""
        advice = "" if self._ended else "; loop over it, or call its run()"
        return f"<Training: {len(self.records)} of {len(self)} epochs{loss}{advice}>"

    def run(self) -> History:
        """Train all epochs that are left and return all records.

        >>> from nn import SGD, Neuron, squared_error
        >>> line = Neuron(1, "linear", rng=Random(0))
        >>> optimiser = SGD(line.parameters(), 0.1)
        >>> len(fit(line, [[1.0]], [1.0], loss=squared_error, optimiser=optimiser, epochs=3).run())
        3
        """
        for _ in self:
            pass
        return self.records

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint; `fit(..., checkpoint=path, resume=True)` does this if the file is there.

        >>> from nn import SGD, Neuron, squared_error
        >>> line = Neuron(1, "linear", rng=Random(0))
        >>> options = {"loss": squared_error, "optimiser": SGD(line.parameters(), 0.1), "epochs": 3}
        >>> _ = next(fit(line, [[1.0]], [1.0], checkpoint="line.json", **options))
        >>> again = fit(line, [[1.0]], [1.0], **options)
        >>> again.resume("line.json")
        >>> [record.epoch for record in again]
        [2, 3]
        """
        self._ended = True  # a training that cannot be resumed must not begin anew
        load(self, path)

    def _conclude(self, record: Epoch) -> bool:
        """Keep what an epoch gave and tell everyone; say whether it was the last."""
        self._latest = self._numbers()
        self.records.append(record)
        if record.validation_loss is not None and record.validation_loss < self._best.loss:
            self._best = _Best(record.validation_loss, record.epoch, self._latest)
        _logger().info("epoch %d: loss %.6g", record.epoch, record.loss)
        answers = [callback(record) for callback in self._callbacks]  # first all of them, then: any?
        self._stopped = any(answers)
        ended = self._is_over()
        if self._settings.checkpoint and (ended or record.epoch % self._settings.checkpoint_every == 0):
            save(self, self._settings.checkpoint)
        if ended:
            self._take_best()
        return ended

    def _is_over(self) -> bool:
        """Say whether all epochs are done, a callback wants no more, or patience is lost with those since the best."""
        epochs, patience = len(self.records), self._settings.patience
        out_of_patience = patience is not None and epochs - self._best.epoch >= patience
        return epochs >= len(self) or self._stopped or out_of_patience

    def _take_best(self) -> None:
        if self._settings.patience is not None and self._best.parameters:
            self._set_numbers(self._best.parameters)

    def _interrupt(self) -> None:
        self.interrupted = True
        _logger().warning("interrupted after %d epochs", len(self.records))
        self._set_numbers(self._best.parameters or self._latest)

    def _numbers(self) -> list[float]:
        return [parameter.data for parameter in self.optimiser.parameters]

    def _set_numbers(self, numbers: Sequence[float]) -> None:
        for parameter, number in zip(self.optimiser.parameters, numbers, strict=True):
            parameter.data = number

    def _show_progress(self) -> None:
        if self._bar is None:
            return
        if self.records:
            numbers = {name: f"{x:.4g}" for name, x in self.records[-1].row().items() if name not in _NOT_IN_BAR}
            self._bar.set_postfix(numbers, refresh=False)
        self._bar.update(len(self.records) - self._bar.n)
        if self._ended:
            self._bar.close()

    # ---- an epoch

    def _train_epoch(self, epoch: int) -> Epoch:
        started = time.perf_counter()
        if isinstance(self.model, Module):
            self.model.train()
        loss = 0.0
        for number, indices in enumerate(self._batches(), 1):
            loss += len(indices) * self._train_batch(indices, f"epoch {epoch}, batch {number}")
        validation_loss, metrics = self._evaluate()
        seconds = time.perf_counter() - started
        return Epoch(epoch, loss / len(self._examples[0]), validation_loss, metrics, seconds)

    def _batches(self) -> Iterator[list[int]]:
        order, size = list(range(len(self._examples[0]))), self._settings.batch_size
        if self._settings.rng is not None:
            self._settings.rng.shuffle(order)
        return (order[start : start + size] for start in range(0, len(order), size))

    def _train_batch(self, indices: list[int], where: str) -> float:
        inputs, targets = self._examples
        batch: tuple[list[Any], ...] = [inputs[i] for i in indices], [targets[i] for i in indices]
        self.optimiser.zero_grad()
        try:
            batch = self._mean_loss.with_masks(*batch)
            loss = self._mean_loss.backward(*batch)
            total = loss if self._penalty is None else loss + self._penalty.backward()
        except Exception as error:
            example = self._suspects(batch, indices).blame_error(type(error))
            error.add_note(f"This was in {where} of the training{example}.")
            raise
        self._check(total, batch, indices, where)
        if self._settings.clip_norm is not None:
            clip_grad_norm(self.optimiser.parameters, self._settings.clip_norm)
        self.optimiser.step()
        return loss

    def _check(self, total: float, batch: Sequence[Any], indices: list[int], where: str) -> None:
        """Raise if the loss or a gradient is of no use."""
        if not self._mean_loss.depends_on_parameters:
            raise TypeError(f"{where}: the loss is a plain number, so it depends on no parameter: is .data used in it?")
        if not isfinite(total):
            suspects = self._suspects(batch, indices)
            raise FloatingPointError(f"{where}: the loss is {total} ({suspects.blame_loss()}); {suspects.advice()}")
        gradients = map(_GRAD, self.optimiser.parameters)
        if not isfinite(sum(gradients)) and not all(isfinite(p.grad) for p in self.optimiser.parameters):
            suspects = self._suspects(batch, indices)
            why = f"{suspects.blame_gradient()}, though the loss is {total}"
            raise FloatingPointError(f"{where}: {why}; {suspects.advice()}")

    def _suspects(self, batch: Sequence[Any], indices: list[int]) -> Suspects:
        examples = list(zip(*batch, strict=True))
        predict, loss = self._mean_loss.predict, self._mean_loss.compare
        return Suspects(predict, loss, examples, indices, self.optimiser.parameters, self.model)

    def _evaluate(self) -> tuple[float | None, dict[str, float]]:
        """Return the mean validation loss, and the mean of each metric."""
        scores = dict(self._settings.metrics)
        if self._held_out is None and not scores:
            return None, {}
        inputs, targets = self._held_out or self._examples
        with evaluating(self.model), autodiff.no_grad():
            pairs = [(self._predict(x), y) for x, y in zip(inputs, targets, strict=True)]
            means = {name: _mean(score, pairs) for name, score in scores.items()}
            return None if self._held_out is None else _mean(self._settings.loss, pairs), means

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """Return all that the training's future depends on, for JSON: `nn.save(training, path)`.

        That is parameters, the optimiser's memory, the states of the random generators, the best parameters so far,
        and the records.

        >>> from nn import SGD, Neuron, squared_error
        >>> line = Neuron(1, "linear", rng=Random(0))
        >>> training = fit(line, [[1.0]], [1.0], loss=squared_error, optimiser=SGD(line.parameters(), 0.1), epochs=3)
        >>> _ = next(training)
        >>> sorted(training.state_dict())
        ['best', 'generators', 'optimiser', 'parameters', 'records', 'setting', 'stopped']
        """
        return {
            "setting": self._setting(),
            "parameters": self._latest,
            "optimiser": self.optimiser.state_dict(),
            "generators": [rng.getstate() for rng in self._generators()],
            "best": self._best._asdict() if self._best.parameters else None,
            "records": [{**record._asdict(), "metrics": dict(record.metrics)} for record in self.records],
            "stopped": self._stopped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the training of this state was; it must be of the same model, optimiser, data and batch size.

        >>> from nn import SGD, Neuron, squared_error
        >>> line = Neuron(1, "linear", rng=Random(0))
        >>> data = [[1.0]], [1.0]
        >>> first = fit(line, *data, loss=squared_error, optimiser=SGD(line.parameters(), 0.1), epochs=3)
        >>> _ = next(first)
        >>> again = fit(line, *data, loss=squared_error, optimiser=SGD(line.parameters(), 0.1), epochs=3)
        >>> again.load_state_dict(first.state_dict())
        >>> [record.epoch for record in again]
        [2, 3]
        """
        check_state(state)
        if "setting" not in state:
            raise ValueError("this is not the state of a training: a model's or an optimiser's?")
        theirs, mine = state["setting"], self._setting()
        for name in mine:
            if theirs.get(name) != mine[name]:
                raise ValueError(
                    f"the state is of another training: its {name} is {_short(theirs.get(name))}, not "
                    f"{_short(mine[name])}; repeat that training's settings, or start afresh with a new file"
                )
        # All that may fail comes before anything changes.
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(f"the state of a training is not whole: it lacks {', '.join(sorted(missing))}")
        numbers = [real_number("a parameter in the state", x) for x in state["parameters"]]
        best = _Best(**state["best"]) if state["best"] else _Best(inf, 0, [])
        records = History(Epoch(**record) for record in state["records"])
        parameters = list(zip(self.optimiser.parameters, numbers, strict=True))
        memories = [(version, tuple(entries), gauss) for version, entries, gauss in state["generators"]]
        generators = list(zip(self._generators(), memories, strict=True))
        for memory in memories:
            Random().setstate(memory)
        self.optimiser.load_state_dict(state["optimiser"])
        for rng, memory in generators:
            rng.setstate(memory)
        for parameter, x in parameters:
            parameter.data = x
        self._latest, self._best, self.records = self._numbers(), best, records
        self._stopped = state["stopped"]
        self._ended = self._is_over()
        if self._ended:
            self._take_best()

    def _setting(self) -> dict[str, Any]:
        """Describe what must be the same when a training is taken up again."""
        named = self.model.named_parameters() if isinstance(self.model, Module) else []
        neurons = [part for part in _modules(self.model) if isinstance(part, Neuron)]
        return {
            "parameters": len(self.optimiser.parameters),
            "model": [name for name, _ in named],
            "activations": list(dict.fromkeys(_stable_name(neuron.activation) for neuron in neurons)),
            "loss": _stable_name(self._settings.loss),
            "optimiser": type(self.optimiser).__name__,
            "number of examples": len(self._examples[0]),
            "batch size": self._settings.batch_size,
            "random generators": len(self._generators()),
            "validation": None if self._held_out is None else len(self._held_out[0]),
        }

    def _generators(self) -> list[Random]:
        """List the random generators whose state decides how the training goes on, each once."""
        modules = [*_modules(self.model), *self._mean_loss.dropouts(self._examples)]
        found = [self._settings.rng] if self._settings.rng is not None else []
        for module in modules:
            found += [entry for entry in vars(module).values() if isinstance(entry, Random)]
            if isinstance(module, Dropout):
                found.append(generator(module.rng))
        return list({id(rng): rng for rng in found}.values())


_GRAD = attrgetter("grad")
_NOT_IN_BAR = ("epoch", "seconds")


class _Best(NamedTuple):
    """The lowest validation loss so far, and the parameters of that epoch."""

    loss: float
    epoch: int
    parameters: list[float]


class _Objective:
    """Something to go down: a function whose derivatives are added to the parameters, compiled or not."""

    def __init__(self, function: Callable[..., Any], compiled: bool) -> None:
        self._function = function
        self._fast = autodiff.compile(function) if compiled else None
        self.depends_on_parameters = True

    def backward(self, *args: Any) -> float:
        """Add the derivatives to the parameters' `grad` and return the value."""
        if self._fast is not None:
            return self._fast.backward(*args)
        value = self._function(*args)
        self.depends_on_parameters = isinstance(value, Value)
        if isinstance(value, Value):
            value.backward()
        return as_number(value)


class _MeanLoss:
    """The mean loss of a batch. Compiled, it takes the masks of all Dropouts as one more column of the batch.

    Which Dropouts are called, and with how many inputs, shows when the first example is computed.
    """

    def __init__(self, model: Callable[[Any], Any], settings: _Settings) -> None:
        self._model = model
        self._loss = settings.loss
        self._settings = settings
        self._compiled = settings.compiled
        self._calls: list[tuple[Dropout, int]] = []
        self._objective: _Objective | None = None
        self._is_graph = True
        self._is_single = False

    @property
    def depends_on_parameters(self) -> bool:
        """Whether the loss is a Value, which a compiled function does not tell."""
        return self._is_graph and (self._objective is None or self._objective.depends_on_parameters)

    def with_masks(self, inputs: list[Any], targets: list[Any]) -> tuple[list[Any], ...]:
        """Return the columns that `backward` takes, with masks newly drawn."""
        if self._objective is None:
            self._prepare(inputs[0], targets[0])
        if not self._calls:
            return inputs, targets
        return inputs, targets, [self._draw() for _ in inputs]

    def backward(self, *columns: list[Any]) -> float:
        """Add the derivatives of the mean to the parameters' `grad` and return the mean."""
        assert self._objective is not None
        return self._objective.backward(*[column[0] for column in columns] if self._is_single else columns)

    def predict(self, x: Any, _target: Any, mask: Sequence[Any] | None = None) -> Any:
        """Compute the model's outputs for one example."""
        return _outputs(self._model, x, mask, self._calls)

    def compare(self, prediction: Any, _x: Any, target: Any, _mask: Any = None) -> Any:
        """Compute the loss of one example's prediction."""
        return self._loss(prediction, target)

    def dropouts(self, examples: Examples) -> list[Dropout]:
        """List the Dropouts that are called for an example, also those that no module holds."""
        if self._objective is None:
            self._prepare(examples[0][0], examples[1][0])
        return [dropout for dropout, _ in self._calls]

    def _prepare(self, x: Any, target: Any) -> None:
        if isinstance(self._model, Module):
            self._model.train()  # in evaluation, no Dropout would ask for a mask
        if self._compiled:
            with masks_from(self._note):
                self._is_graph = isinstance(self._loss(self._model(x), target), Value)
        # One example at a time needs no loop; but a loop learns classes, a constant each, without waiting.
        alone = self._settings.batch_size == 1 and self._settings.executor is None
        self._is_single = alone and _is_floats([x, target])
        one, spread = self._example_loss(), {"executor": self._settings.executor, "chunks": self._settings.chunks}
        self._objective = _Objective(one if self._is_single else autodiff.batch_mean(one, **spread), self._compiled)

    def _example_loss(self) -> Callable[..., Any]:
        model, loss, calls = self._model, self._loss, self._calls  # not self: it would hold itself, and the model
        if calls:
            return lambda x, y, mask: loss(_outputs(model, x, mask, calls), y)
        mask = () if self._compiled else None  # a Dropout that is called after all gets an error, not a frozen mask
        return lambda x, y: loss(_outputs(model, x, mask, calls), y)

    def _note(self, dropout: Dropout, width: int) -> list[float]:
        self._calls.append((dropout, width))
        return [1.0] * width

    def _draw(self) -> list[float]:
        return [factor for dropout, width in self._calls for factor in dropout.draw(width)]


def _outputs(
    model: Callable[[Any], Any], x: Any, mask: Sequence[Any] | None, calls: Sequence[tuple[Dropout, int]]
) -> Any:
    if mask is None:
        return model(x)
    with masks_from(_Supply(mask, calls)):
        return model(x)


class _Supply:
    """Hands out the masks of one example, in the order in which the Dropouts are called."""

    def __init__(self, mask: Sequence[Any], calls: Sequence[tuple[Dropout, int]]) -> None:
        self._mask = mask
        self._start = 0
        self._calls = iter(calls)

    def __call__(self, dropout: Dropout, width: int) -> Sequence[Any]:
        expected = next(self._calls, None)
        if expected is None or expected[0] is not dropout or expected[1] != width:
            raise RuntimeError(
                f"{dropout!r} was called with {width} inputs where it was not for the first example: a model that "
                "calls its Dropouts differently for each example takes fit(..., compiled=False)"
            )
        self._start += width
        return self._mask[self._start - width : self._start]


_WORTH_COMPILING = 500  # evaluations of the model: about as long as it takes to compile it


def _predictor(model: Callable[[Any], Any], inputs: Sequence[Any], settings: _Settings) -> Callable[[Any], Any]:
    """Return the model, or a compiled one that gives the same Values: without graphs, but nobody asks for these."""
    if not settings.compiled or len(inputs) * settings.epochs < _WORTH_COMPILING or not _is_floats(list(inputs)):
        return model
    fast = autodiff.compile(model)
    return lambda x: _as_values(fast(x))


def _is_floats(data: Any) -> bool:
    """Say whether there are floats only in nested lists: any other number would be a constant in compiled code."""
    return all(map(_is_floats, data)) if isinstance(data, list) else type(data) is float


def _as_values(outputs: Any) -> Any:
    """Turn the numbers in nested lists, tuples and dicts into Values, as the model itself returns them."""
    if isinstance(outputs, float):
        return Value(outputs)
    if type(outputs) in (list, tuple):
        return type(outputs)(map(_as_values, outputs))
    return {key: _as_values(entry) for key, entry in outputs.items()} if type(outputs) is dict else outputs


def _progress_bar(epochs: int, done: int) -> Any:
    """Return tqdm's bar, or something that shows nothing where tqdm is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        _logger().warning('no progress bar: pip install "chainrule[progress]" brings tqdm')
        return _NoBar()
    return tqdm(total=epochs, initial=done, unit="epoch")


class _NoBar:
    """What stands in for a progress bar."""

    n = 0

    def set_postfix(self, numbers: Mapping[str, str], refresh: bool) -> None:
        """Show nothing."""

    def update(self, epochs: int) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


def _logger() -> "logging.Logger":
    import logging  # here, since it is slow to import

    logger = logging.getLogger("nn")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def _check_kinds(model: Any, loss: Any, optimiser: Any, penalty: Any, validation: Any, metrics: Any) -> None:
    functions = {
        "model": (model, "of one example, such as an nn.MLP"),
        "loss": (loss, "of a prediction and a target, such as nn.squared_error"),
        "penalty": (penalty, "of the model, such as lambda net: 1e-4 * nn.l2_penalty(net.parameters())"),
    }
    for name, (function, kind) in functions.items():
        if not (callable(function) or (function is None and name == "penalty")):
            raise TypeError(f"{name} must be a function {kind}, not {_short(function)}")
    if not isinstance(optimiser, Optimiser):
        raise TypeError(f"optimiser must be made, such as nn.Adam(model.parameters()), not {_short(optimiser)}")
    if not (validation is None or (isinstance(validation, (tuple, list)) and len(validation) == 2)):
        raise TypeError(f"validation must be a pair (inputs, targets), not {_short(validation)}")
    if not (metrics is None or isinstance(metrics, Mapping)):
        raise TypeError('metrics must have names: write metrics={"accuracy": nn.accuracy}')
    for name, metric in (metrics or {}).items():
        if not callable(metric):
            raise TypeError(f"the metric {name!r} must be a function of a prediction and a target, not {metric!r}")
        if name in Epoch._fields:
            raise ValueError(f"a metric cannot be called {name!r}: that is something else in each record")


def _checked_callbacks(callbacks: Any) -> list[Callback]:
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of functions of a record, such as [f], not {_short(callbacks)}")
    functions = list(callbacks)
    for function in functions:
        if not callable(function):
            raise TypeError(f"callbacks must be functions of a record, not {function!r}")
    return functions


def _checked_path(checkpoint: str | os.PathLike[str] | None, resume: bool) -> str | None:
    if checkpoint is None:
        if resume:
            raise ValueError("resume=True needs the file to go on from: give checkpoint=")
        return None
    path = os.fspath(checkpoint)
    if os.path.exists(path) and not resume:  # noqa: PTH110
        raise FileExistsError(f"{path} is there already: give resume=True to go on from it, or remove it")
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or os.curdir):  # noqa: PTH112
        raise FileNotFoundError(f"there is no folder {folder} for the checkpoint {name}")
    return path


def _short(x: object) -> str:
    return f"{x!r:.60}"


def _modules(model: object) -> list[Module]:
    return model.modules() if isinstance(model, Module) else []


def _stable_name(function: object) -> str:
    """Name a function without an address, which would differ from run to run."""
    return str(getattr(function, "__name__", type(function).__name__))


def _draws_numbers(model: object) -> bool:
    return any(module.draws_numbers for module in _modules(model))


def _shares_parameters(model: Module, optimiser: Optimiser) -> bool:
    parameters = set(model.parameters())
    return not parameters or not parameters.isdisjoint(optimiser.parameters)


def _mean(score: Callable[[Any, Any], Any], pairs: Sequence[tuple[Any, Any]]) -> float:
    # fsum: the built-in sum rounds otherwise from Python 3.12 on, and early stopping would differ with it.
    return fsum(as_number(score(prediction, target)) for prediction, target in pairs) / len(pairs)
