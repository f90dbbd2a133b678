"""Training as something to loop over: one record per epoch, computed when the loop asks for it."""

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import fsum, inf, isfinite
from random import Random
from typing import Any

import autodiff
from autodiff import Value
from nn.losses import Loss
from nn.metrics import as_number
from nn.modules import Module
from nn.optimisers import Optimiser, clip_grad_norm

__all__ = ["Callback", "Epoch", "Training", "fit"]

logger = logging.getLogger("nn")
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training examples gave.

    `epoch` counts from 1; `loss` is the mean over the training examples, each measured just before the step that used
    it, penalty not included; `validation_loss` and `metrics` are measured after the last step. Records of two runs are
    equal if their numbers are: the time is not compared.

    >>> Epoch(1, loss=0.5, seconds=1.0) == Epoch(1, loss=0.5, seconds=2.0)
    True
    """

    epoch: int
    loss: float
    validation_loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)


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

    The mean loss and the penalty are compiled (`autodiff.compile`); `compiled=False` gives the same floats, slowly.
    A model that draws random numbers when it is called (`Dropout` in training) is not compiled: it would draw once.

    Modules are in training mode in an epoch and in evaluation mode for validation (see `Dropout`).
    Raises FloatingPointError as soon as a loss is nan or infinite.

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
    examples = _examples("inputs", inputs, "targets", targets)
    held_out = None
    if validation is not None:
        held_out = _examples("validation inputs", validation[0], "validation targets", validation[1])
    for name, number in {"epochs": epochs, "batch_size": batch_size, "patience": patience}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")
    if patience is not None and held_out is None:
        raise ValueError("patience waits for a better validation loss: give validation=(inputs, targets)")
    if rng is not None and not isinstance(rng, Random):
        raise TypeError(f"rng must be a random.Random, for example random.Random(0), not {rng!r}")
    if isinstance(model, Module) and not _shares_parameters(model, optimiser):
        raise ValueError("the optimiser has none of this model's parameters: make it from model.parameters()")
    settings = _Settings(loss, epochs, batch_size or len(examples[0]), rng, penalty, metrics or {}, patience, clip_norm)
    settings = replace(settings, compiled=compiled and not _draws_numbers(model))
    return Training(model, optimiser, examples, held_out, settings, list(callbacks))


Examples = tuple[Sequence[Any], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class _Settings:
    """What `fit` was told, checked and completed."""

    loss: Loss
    epochs: int
    batch_size: int
    rng: Random | None
    penalty: Callable[[Any], Any] | None
    metrics: Mapping[str, Callable[[Any, Any], float]]
    patience: int | None
    clip_norm: float | None
    compiled: bool = True


class Training:
    """A training under way: an iterator over the records of its epochs. `fit` makes it.

    Its length is the number of epochs asked for, for progress bars. A loop that is left early can be taken up again.

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
        self.model = model
        self.optimiser = optimiser
        self.records: list[Epoch] = []
        self._examples = examples
        self._held_out = held_out
        self._settings = settings
        self._callbacks = callbacks
        self._mean_loss = _Objective(autodiff.batch_mean(lambda x, y: settings.loss(model(x), y)), settings.compiled)
        self._penalty = None
        if settings.penalty is not None:
            penalty = settings.penalty
            self._penalty = _Objective(lambda: penalty(model), settings.compiled)
        self._best_loss, self._best_epoch = inf, 0
        self._best_parameters: list[float] = []
        self._ended = False

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
        record = self._train_epoch(len(self.records) + 1)
        self.records.append(record)
        logger.info("epoch %d: loss %.6g", record.epoch, record.loss)
        answers = [callback(record) for callback in self._callbacks]
        out_of_patience = self._remember_best(record)
        self._ended = record.epoch == len(self) or out_of_patience or any(answers)
        if self._ended and self._best_parameters:
            for parameter, number in zip(self.optimiser.parameters, self._best_parameters, strict=True):
                parameter.data = number
        return record

    def run(self) -> list[Epoch]:
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

    def _train_epoch(self, epoch: int) -> Epoch:
        started = time.perf_counter()
        if isinstance(self.model, Module):
            self.model.train()
        loss = 0.0
        for number, batch in enumerate(self._batches(), 1):
            where = f"epoch {epoch}, batch {number}"
            try:
                loss += len(batch[0]) * self._train_batch(batch, where)
            except Exception as error:
                error.add_note(f"This was in {where} of the training.")
                raise
        validation_loss, metrics = self._evaluate()
        seconds = time.perf_counter() - started
        return Epoch(epoch, loss / len(self._examples[0]), validation_loss, metrics, seconds)

    def _batches(self) -> Iterator[Examples]:
        inputs, targets = self._examples
        order, size = list(range(len(inputs))), self._settings.batch_size
        if self._settings.rng is not None:
            self._settings.rng.shuffle(order)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield [inputs[i] for i in chosen], [targets[i] for i in chosen]

    def _train_batch(self, batch: Examples, where: str) -> float:
        self.optimiser.zero_grad()
        loss = self._mean_loss.backward(*batch)
        total = loss if self._penalty is None else loss + self._penalty.backward()
        if not isfinite(total):
            raise FloatingPointError(f"{where}: the loss is {total}; try a smaller learning rate or clip_norm")
        if not self._mean_loss.depends_on_parameters:
            raise TypeError(f"{where}: the loss is a plain number, so it depends on no parameter: is .data used in it?")
        if self._settings.clip_norm is not None:
            clip_grad_norm(self.optimiser.parameters, self._settings.clip_norm)
        self.optimiser.step()
        return loss

    def _evaluate(self) -> tuple[float | None, dict[str, float]]:
        """Return the mean validation loss, and the mean of each metric."""
        scores = dict(self._settings.metrics)
        if self._held_out is None and not scores:
            return None, {}
        inputs, targets = self._held_out or self._examples
        with _evaluating(self.model), autodiff.no_grad():
            pairs = [(self.model(x), y) for x, y in zip(inputs, targets, strict=True)]
            means = {name: _mean(score, pairs) for name, score in scores.items()}
            return None if self._held_out is None else _mean(self._settings.loss, pairs), means

    def _remember_best(self, record: Epoch) -> bool:
        """Keep the parameters of the best epoch; say whether patience with the ones since is lost."""
        if self._settings.patience is None or record.validation_loss is None:
            return False
        if record.validation_loss < self._best_loss:
            self._best_loss, self._best_epoch = record.validation_loss, record.epoch
            self._best_parameters = [parameter.data for parameter in self.optimiser.parameters]
        return record.epoch - self._best_epoch >= self._settings.patience


class _Objective:
    """Something to go down: a function whose derivatives are added to the parameters, compiled or not."""

    def __init__(self, function: Callable[..., Any], compiled: bool) -> None:
        self._function = function
        self._fast = autodiff.compile(function) if compiled else None
        self.depends_on_parameters = True
        self._checked = False

    def backward(self, *args: Any) -> float:
        """Add the derivatives to the parameters' `grad` and return the value."""
        if self._fast is not None:
            if not self._checked:  # a compiled function gives plain numbers: ask the function itself, once
                self._checked = True
                self.depends_on_parameters = isinstance(self._function(*(column[:1] for column in args)), Value)
            return self._fast.backward(*args)
        value = self._function(*args)
        self.depends_on_parameters = isinstance(value, Value)
        if isinstance(value, Value):
            value.backward()
        return as_number(value)


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """Switch a module to evaluation, and each part of it back to what it was."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, Module) else []
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _draws_numbers(model: object) -> bool:
    return isinstance(model, Module) and any(module.draws_numbers for module in model.modules())


def _shares_parameters(model: Module, optimiser: Optimiser) -> bool:
    parameters = set(model.parameters())
    return not parameters or not parameters.isdisjoint(optimiser.parameters)


def _mean(score: Callable[[Any, Any], Any], pairs: Sequence[tuple[Any, Any]]) -> float:
    # fsum: the built-in sum rounds otherwise from Python 3.12 on, and early stopping would differ with it.
    return fsum(as_number(score(prediction, target)) for prediction, target in pairs) / len(pairs)


def _examples(name: str, inputs: Any, others: str, targets: Any) -> Examples:
    """Return both as sequences of Python numbers, checked to be as long as each other."""
    pair = [column.tolist() if hasattr(column, "tolist") else column for column in (inputs, targets)]
    for what, column in zip((name, others), pair, strict=True):
        if not isinstance(column, Sequence):
            raise TypeError(f"{what} must be a list or an array with one entry for each example, not {column!r:.60}")
    inputs, targets = pair
    if len(inputs) != len(targets):
        raise ValueError(f"there must be as many {others} as {name}: {len(inputs)} {name}, {len(targets)} {others}")
    if not inputs:
        raise ValueError(f"there are no {name}: at least one example is needed")
    return inputs, targets
