"""Multi-layer perceptrons as scikit-learn's estimators: for its pipelines, searches and scores.

Parameters have the names and meanings that they have in `sklearn.neural_network`; the training is `nn.fit`. Only this
module of the package needs scikit-learn (1.6 or newer) and NumPy, so it is not part of `import nn`.

>>> from nn.sklearn import MLPClassifier
>>> model = MLPClassifier(hidden_layer_sizes=(4,), tol=1e-3, random_state=0)
>>> model.fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]).predict([[0.5], [2.5]]).tolist()
['a', 'b']
"""

import warnings
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import autodiff
from nn.activations import Activation, find_activation
from nn.checks import count
from nn.history import Epoch
from nn.losses import Loss, binary_cross_entropy_with_logits, half_squared_error, l2_penalty, softmax_cross_entropy
from nn.modules import MLP
from nn.optimisers import SGD, Adam, Optimiser
from nn.training import fit

__all__ = ["MLPClassifier", "MLPRegressor"]

# What scikit-learn calls two of the activations.
OTHER_NAMES = {"identity": "linear", "logistic": "sigmoid"}


class _Perceptron(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: the parameters, the network, its training and its outputs."""

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (16,),
        activation: str | Activation = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int = 32,
        learning_rate_init: float = 0.01,
        momentum: float = 0.9,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    # ---- training

    def _begin(self, n_out: int) -> None:
        """Make a new network and forget what there was."""
        sizes = self.hidden_layer_sizes
        hidden = [sizes] if isinstance(sizes, int | np.integer) else list(sizes)
        self._rng = Random(int(check_random_state(self.random_state).randint(2**31)))
        self.network_ = MLP(
            self.n_features_in_,
            [*hidden, n_out],
            find_activation(OTHER_NAMES.get(str(self.activation), self.activation)),
            initialiser="xavier_uniform",
            rng=self._rng,
        )
        self._optimiser = self._new_optimiser()
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _new_optimiser(self) -> Optimiser:
        parameters = self.network_.parameters()
        if self.solver == "adam":
            return Adam(parameters, self.learning_rate_init)
        if self.solver == "sgd":
            return SGD(parameters, self.learning_rate_init, self.momentum, nesterov=bool(self.momentum))
        raise ValueError(f"solver must be 'adam' or 'sgd', not {self.solver!r}")

    def _train(self, X: Any, targets: list[Any], loss: Loss, epochs: int, strata: Any = None) -> None:
        """Train for so many epochs at most, and keep the records."""
        indices, held_out = np.arange(len(X)), None
        if self.early_stopping and epochs > 1:
            indices, others = train_test_split(
                indices, test_size=self.validation_fraction, stratify=strata, random_state=self._rng.randrange(2**31)
            )
            held_out = X[others].tolist(), [targets[i] for i in others]
        size = min(count("batch_size", self.batch_size), len(indices))
        penalty = _decay(self.alpha / size) if self.alpha else None
        watch = _Watch(self.tol, self.n_iter_no_change, lambda: penalty(self.network_).data if penalty else 0.0)
        training = fit(
            self.network_,
            X[indices].tolist(),
            [targets[i] for i in indices],
            loss=loss,
            optimiser=self._optimiser,
            epochs=epochs,
            batch_size=size,
            rng=self._rng if self.shuffle else None,
            penalty=penalty,
            validation=held_out,
            patience=self.n_iter_no_change if held_out else None,
            callbacks=[watch.note if held_out else watch],
        )
        training.run()
        self.loss_curve_ += watch.losses
        self.n_iter_ += len(training.records)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else None
        if training.interrupted:
            warnings.warn("the training was interrupted: the estimator is that of its best epoch", stacklevel=3)
        elif 1 < epochs == len(training.records) and not watch.is_over:
            warnings.warn(
                f"the training has not converged in max_iter={epochs} epochs", ConvergenceWarning, stacklevel=3
            )

    # ---- prediction

    def _outputs(self, X: Any) -> Any:
        """Compute the network's outputs for all rows at once, by NumPy: one row for each."""
        check_is_fitted(self)
        signals = validate_data(self, X, dtype=np.float64, reset=False)
        for layer in self.network_.layers:
            weights = np.array([[w.data for w in neuron.w] for neuron in layer.neurons])
            signals = signals @ weights.T + np.array([neuron.b.data for neuron in layer.neurons])
            signals = _each(layer.neurons[0].activation, signals)
        return signals


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that learns classes by cross-entropy, for two classes or more.

    `hidden_layer_sizes`, `activation` (any of `nn.ACTIVATIONS`, or a function), `solver` ("adam" or "sgd", the latter
    with Nesterov's momentum), `alpha` (of the penalty on squared weights), `batch_size`, `learning_rate_init`,
    `max_iter` (epochs), `tol` and `n_iter_no_change`, `early_stopping` and `validation_fraction` are scikit-learn's.

    After `fit`: `classes_`, `network_` (an `nn.MLP`), `loss_curve_`, `loss_`, `n_iter_`.

    >>> import nn
    >>> rows, species, names = nn.iris()
    >>> labels = [names[i] for i in species]
    >>> model = MLPClassifier(hidden_layer_sizes=(6,), max_iter=100, tol=0.01, random_state=0).fit(rows, labels)
    >>> model.score(rows, labels) > 0.95
    True
    >>> model.predict([[6.3, 3.3, 6.0, 2.5], [5.0, 3.4, 1.5, 0.2]]).tolist()
    ['virginica', 'setosa']
    """

    def fit(self, X: Any, y: Any) -> "MLPClassifier":
        """Learn from rows X and their classes y, from the beginning."""
        X, y = self._checked(X, y, reset=True)
        self.classes_ = np.unique(y)
        self._begin_classes()
        self._train_classes(X, y, self.max_iter)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "MLPClassifier":
        """Train for one epoch; the first call needs all classes there will be, or a y that has them all."""
        first = not hasattr(self, "network_")
        X, y = self._checked(X, y, reset=first)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            self._begin_classes()
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"classes={classes!r} is not what the first call of partial_fit had: {self.classes_!r}")
        self._train_classes(X, y, 1)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class (column, in the order of `classes_`) for each row of X."""
        outputs = self._outputs(X)
        if len(self.classes_) == 2:  # both by the function: 1 - p would lose the digits of a small probability
            return np.array([[autodiff.sigmoid(-z), autodiff.sigmoid(z)] for (z,) in outputs.tolist()])
        return np.array([autodiff.softmax(row) for row in outputs.tolist()])

    def predict(self, X: Any) -> Any:
        """Return the most probable class of each row of X."""
        outputs = self._outputs(X)
        indices = (outputs[:, 0] > 0.0).astype(int) if len(self.classes_) == 2 else outputs.argmax(axis=1)
        return self.classes_[indices]

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=np.float64, reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _begin_classes(self) -> None:
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs at least two classes, but y has one class only: {self.classes_[0]!r}")
        self._begin(1 if len(self.classes_) == 2 else len(self.classes_))

    def _train_classes(self, X: Any, y: Any, epochs: int) -> None:
        if unknown := set(y.tolist()) - set(self.classes_.tolist()):
            raise ValueError(f"y has classes that the first call of partial_fit did not name: {sorted(unknown)}")
        indices = np.searchsorted(self.classes_, y)
        if len(self.classes_) == 2:
            self._train(X, indices.astype(float).tolist(), binary_cross_entropy_with_logits, epochs, indices)
        else:  # as probabilities: an index would be a branch, and the compiled code have one copy for each class
            self._train(X, np.eye(len(self.classes_))[indices].tolist(), softmax_cross_entropy, epochs, indices)


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that learns one or several numbers by half the squared error.

    The parameters are those of `MLPClassifier`. Scale X, and y if it is far from 0 to 1: a network starts out with
    outputs of about that size (`sklearn.compose.TransformedTargetRegressor` does it for y).

    >>> X = [[i / 10] for i in range(-10, 11)]
    >>> model = MLPRegressor((8,), "tanh", batch_size=7, random_state=0).fit(X, [abs(x) for (x,) in X])
    >>> model.score(X, [abs(x) for (x,) in X]) > 0.95
    True
    """

    def fit(self, X: Any, y: Any) -> "MLPRegressor":
        """Learn from rows X and their numbers y, one or a row of them for each, from the beginning."""
        X, y = self._checked(X, y, reset=True)
        self._begin(1 if y.ndim == 1 else y.shape[1])
        self._train(X, y.tolist(), half_squared_error, self.max_iter)
        return self

    def partial_fit(self, X: Any, y: Any) -> "MLPRegressor":
        """Train for one epoch."""
        first = not hasattr(self, "network_")
        X, y = self._checked(X, y, reset=first)
        if first:
            self._begin(1 if y.ndim == 1 else y.shape[1])
        self._train(X, y.tolist(), half_squared_error, 1)
        return self

    def predict(self, X: Any) -> Any:
        """Return the number, or the row of numbers, for each row of X."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.astype(np.float64)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that there may be several outputs."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _Watch:
    """Ends a training whose loss has not gone down by `tol` for more than `epochs` epochs, as scikit-learn does.

    The loss that counts includes the penalty, for that is what goes down.
    """

    def __init__(self, tol: float, epochs: int, penalty: Callable[[], float]) -> None:
        self.tol = tol
        self.epochs = epochs
        self.penalty = penalty
        self.losses: list[float] = []
        self.best = np.inf
        self.waited = 0

    @property
    def is_over(self) -> bool:
        """Whether it has waited long enough."""
        return self.waited > self.epochs

    def note(self, record: Epoch) -> None:
        """Keep the loss of an epoch."""
        self.losses.append(record.loss + self.penalty())

    def __call__(self, record: Epoch) -> bool:
        """Keep the loss of an epoch, and say whether it was the last."""
        self.note(record)
        self.waited = 0 if self.losses[-1] <= self.best - self.tol else self.waited + 1
        self.best = min(self.best, self.losses[-1])
        return self.is_over


def _decay(strength: float) -> Callable[[MLP], Any]:
    """Return a penalty on the squares of weights, biases left out."""
    return lambda net: (
        0.5 * strength * l2_penalty([w for layer in net.layers for neuron in layer.neurons for w in neuron.w])
    )


def _each(activation: Activation, signals: Any) -> Any:
    """Apply a function of one float to every entry of an array."""
    return np.array([[activation(z) for z in row] for row in signals.tolist()])
