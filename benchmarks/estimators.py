"""Table 11: the estimators of nn beside scikit-learn's own, on its data sets: how well and how fast they learn."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.harness import Settings, main, markdown, significant, times

FOLDS = 3
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Task:
    """A data set of scikit-learn and the network that learns it; `scaled` targets have mean 0 and deviation 1."""

    title: str
    dataset: str
    estimator: str
    hidden: tuple[int, ...]
    epochs: int
    scaled: bool = False
    options: dict[str, Any] = field(default_factory=dict)


TASKS = (
    Task("iris, 4-8-3, accuracy", "load_iris", "MLPClassifier", (8,), 60, options={"activation": "tanh"}),
    Task("digits, 64-32-10, accuracy", "load_digits", "MLPClassifier", (32,), 30),
    Task("diabetes, 10-8-1, R2", "load_diabetes", "MLPRegressor", (8,), 20, scaled=True, options={"solver": "sgd"}),
)


def data(task: Task) -> tuple[Any, Any]:
    """Load the rows and targets."""
    from sklearn import datasets

    X, y = getattr(datasets, task.dataset)(return_X_y=True)
    return X, (y - y.mean()) / y.std() if task.scaled else y


def model(task: Task, module: Any, seed: int, epochs: int) -> Any:
    """Make the estimator of either library, after the same scaling of the inputs."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    options = {"batch_size": 32, "learning_rate_init": 0.003, "alpha": 1e-4, "n_iter_no_change": epochs}
    options |= {"random_state": seed, "max_iter": epochs} | task.options
    return make_pipeline(StandardScaler(), getattr(module, task.estimator)(hidden_layer_sizes=task.hidden, **options))


def scores(make: Callable[[int], Any], X: Any, y: Any, seeds: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Return the score of every fold and seed, and the seconds that each training took."""
    from sklearn.model_selection import KFold, StratifiedKFold

    found, seconds = [], []
    for seed in seeds:
        kind = KFold if y.dtype.kind == "f" else StratifiedKFold
        for train, test in kind(FOLDS, shuffle=True, random_state=seed).split(X, y):
            start = time.perf_counter()
            fitted = make(seed).fit(X[train], y[train])
            seconds.append(time.perf_counter() - start)
            found.append(fitted.score(X[test], y[test]))
    return found, seconds


def row(task: Task, settings: Settings) -> list[str]:
    """Train both on the same folds and compare."""
    from sklearn import neural_network

    from nn import sklearn as ours

    X, y = data(task)
    epochs = 2 if settings.quick else task.epochs
    seeds = SEEDS[:1] if settings.quick else SEEDS
    cells, medians = [task.title, f"{epochs}"], []
    for module in (ours, neural_network):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that so few epochs do not converge is meant: both get the same number
            found, seconds = scores(partial(model, task, module, epochs=epochs), X, y, seeds)
        cells.append(f"{statistics.fmean(found):.3f} ± {statistics.stdev(found) / len(found) ** 0.5:.3f}")
        medians.append(statistics.median(seconds))
    return [*cells, *map(significant, medians), times(medians[1] / medians[0])]


def tables(settings: Settings) -> Iterator[str]:
    """Compare on all data sets."""
    header = ["data, network, score", "epochs", "chainrule", "scikit-learn", "seconds", "scikit-learn", "ratio"]
    try:
        yield markdown(header, [row(task, settings) for task in TASKS])
    except ModuleNotFoundError as error:
        yield f"Left out: {error.name} is not installed."


TEXT = """
`MLPClassifier` and `MLPRegressor` of `nn/sklearn.py` and of scikit-learn: the same networks, optimisers, batches of 32,
penalties and numbers of epochs, on inputs scaled to mean 0 and deviation 1. Scores are means over three folds of three
shuffles of the data, with their standard errors; seconds are medians of one training, compiling included. The last
column is the time of scikit-learn, whose matrices NumPy multiplies, relative to that of Chainrule.
"""

if __name__ == "__main__":
    main("11. Estimators", TEXT, tables)
