import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import neural_network
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import autodiff
from nn import Adam
from nn.sklearn import MLPClassifier, MLPRegressor

ROOT = Path(__file__).resolve().parents[2]
IRIS = load_iris(return_X_y=True)
quick = {"max_iter": 3, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


# ---- what is learnt


def test_iris():
    X, y = IRIS
    model = make_pipeline(StandardScaler(), MLPClassifier((8,), "tanh", max_iter=60, random_state=0))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.93


@pytest.mark.slow
def test_digits_as_well_as_scikit_learn_itself():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16.0, y, train_size=1000, random_state=0, stratify=y)
    options = {"hidden_layer_sizes": (32,), "batch_size": 32, "learning_rate_init": 0.003, "max_iter": 15}
    ours, theirs = (
        module(random_state=0, **options).fit(X, y).score(X_test, y_test)
        for module in (MLPClassifier, neural_network.MLPClassifier)
    )
    assert ours >= theirs - 0.01
    assert ours > 0.94


@pytest.mark.slow
def test_diabetes_as_well_as_scikit_learn_itself():
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    options = {"hidden_layer_sizes": (8,), "activation": "tanh", "solver": "sgd", "batch_size": 32, "max_iter": 20}
    ours, theirs = (
        cross_val_score(module(random_state=0, **options), X, y, cv=3).mean()
        for module in (MLPRegressor, neural_network.MLPRegressor)
    )
    assert ours >= theirs - 0.02
    assert ours > 0.4


def test_a_network_without_hidden_layers_is_logistic_regression():
    X, y = IRIS
    X, y = X[50:, 2:] - X[50:, 2:].mean(axis=0), y[50:]
    options = {"alpha": 0.0, "batch_size": 100, "learning_rate_init": 0.3, "max_iter": 500, "tol": 0.0}
    model = MLPClassifier((), random_state=0, **options).fit(X, y)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    assert log_loss(y, model.predict_proba(X)) == pytest.approx(log_loss(y, reference.predict_proba(X)), abs=1e-3)


def test_alpha_is_the_penalty_of_scikit_learn():
    """With one batch, the minimum of half the mean squared error + alpha w^2 / 2n is known: ridge regression."""
    X, y = np.array([[-1.0], [0.0], [1.0]]), np.array([-2.0, 0.0, 2.0])
    options = {"learning_rate_init": 0.5, "solver": "sgd", "momentum": 0.0, "tol": 0.0, "max_iter": 100}
    model = MLPRegressor((), alpha=1.0, random_state=0, **options).fit(X, y)
    w = 4.0 / (2.0 + 1.0)
    assert model.network_.parameters()[0].data == pytest.approx(w)
    assert model.loss_ == pytest.approx((2.0 * (w - 2.0) ** 2 + 1.0 * w * w) / 6.0)


def test_several_outputs():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (60, 2))
    Y = np.column_stack([X[:, 0] + X[:, 1], X[:, 0] - X[:, 1], 0.5 * X[:, 1]])
    model = MLPRegressor((), learning_rate_init=0.05, max_iter=60, random_state=0).fit(X, Y)
    assert model.predict(X).shape == (60, 3)
    assert model.score(X, Y) > 0.99


@pytest.mark.parametrize("classes", [2, 3])
def test_predictions_are_those_of_the_network(classes):
    X, y = IRIS
    X, y = X[y < classes], y[y < classes]
    model = MLPClassifier((4,), "gelu", **quick).fit(X, y)
    for row, probabilities, label in zip(X, model.predict_proba(X), model.predict(X), strict=True):
        out = model.network_(row)
        expected = [1 - autodiff.sigmoid(out).data, autodiff.sigmoid(out).data] if classes == 2 else None
        expected = expected or [p.data for p in autodiff.softmax(out)]
        assert probabilities == pytest.approx(expected, rel=1e-9)
        assert label == np.argmax(expected)


def test_small_probabilities_keep_their_digits():
    model = MLPClassifier((), **quick).fit([[-1.0], [1.0]], [0, 1])
    w, b = model.network_.parameters()
    w.data, b.data = 1.0, 0.0
    assert model.predict_proba([[40.0]])[0, 0] == pytest.approx(4.248354255291589e-18, rel=1e-12)


# ---- how it is trained


def test_the_same_seed_gives_the_same_floats():
    first, second, other = (MLPClassifier(max_iter=2, random_state=seed).fit(*IRIS) for seed in (4, 4, 5))
    assert first.network_.state_dict() == second.network_.state_dict() != other.network_.state_dict()
    assert first.loss_curve_ == second.loss_curve_


def test_training_ends_when_the_loss_stays():
    model = MLPClassifier((4,), tol=0.05, n_iter_no_change=2, random_state=0).fit(*IRIS)
    assert 3 <= model.n_iter_ == len(model.loss_curve_) < 100
    best = [min(model.loss_curve_[:i]) for i in range(1, model.n_iter_)]
    improved = [loss <= lowest - 0.05 for loss, lowest in zip(model.loss_curve_[1:], best, strict=True)]
    assert improved[-3:] == [False] * 3
    assert model.loss_ == model.loss_curve_[-1]


def test_a_training_that_is_too_short_warns():
    with pytest.warns(ConvergenceWarning, match="not converged in max_iter=2 epochs"):
        MLPRegressor((2,), max_iter=2).fit([[0.0], [1.0]], [0.0, 1.0])


def test_an_interrupt_leaves_an_estimator_that_predicts(monkeypatch):
    presses = iter([None] * 12)

    def pressed(optimiser):
        if next(presses, True):
            raise KeyboardInterrupt
        step(optimiser)

    step = Adam.step
    monkeypatch.setattr(Adam, "step", pressed)
    with pytest.warns(UserWarning, match="interrupted"):
        model = MLPClassifier((4,), random_state=0).fit(*IRIS)
    assert model.n_iter_ == 2  # of five steps each
    assert model.predict(IRIS[0]).shape == (150,)


def test_early_stopping_takes_the_best_by_examples_held_out():
    X, y = make_classification(80, flip_y=0.4, random_state=0)
    model = MLPClassifier((8,), early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05, random_state=0)
    model.fit(X, y)
    assert model.n_iter_ < 30


def test_partial_fit_goes_on_and_fit_begins_again():
    X, y = IRIS
    model = MLPClassifier((4,), **quick)
    for _ in range(4):
        model.partial_fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 4
    assert sorted(model.loss_curve_, reverse=True) == model.loss_curve_
    model.fit(X, y)
    assert model.n_iter_ == 3
    assert MLPRegressor((4,)).partial_fit(X, y).partial_fit(X, y).n_iter_ == 2


def test_partial_fit_is_fit_in_parts():
    X, y = IRIS
    whole = MLPClassifier((4,), max_iter=3, random_state=1, shuffle=False).fit(X, y)
    parts = MLPClassifier((4,), random_state=1, shuffle=False)
    for _ in range(3):
        parts.partial_fit(X, y)
    assert parts.network_.state_dict() == whole.network_.state_dict()


def test_partial_fit_knows_its_classes_from_the_first_call():
    X, y = IRIS
    model = MLPClassifier((4,)).partial_fit(X[:50], y[:50], classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match=r"did not name: \[7\]"):
        model.partial_fit(X, y * 0 + 7)
    with pytest.raises(ValueError, match="not what the first call of partial_fit had"):
        model.partial_fit(X, y, classes=[0, 1])


@pytest.mark.parametrize("activation", ["identity", "logistic", "silu", autodiff.softsign])
def test_activations(activation):
    assert MLPClassifier((3,), activation, **quick).fit(*IRIS).n_iter_ == 3


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs"}, "solver must be 'adam' or 'sgd', not 'lbfgs'"),
        ({"activation": "relo"}, "unknown activation 'relo'"),
        ({"hidden_layer_sizes": (4, 0)}, "n_out must be at least 1, not 0"),
        ({"max_iter": 0}, "epochs must be at least 1"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit(*IRIS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        ({"batch_size": "auto"}, TypeError, "batch_size must be a whole number, not 'auto'"),
        ({"activation": ["relu"]}, ValueError, r"unknown activation \['relu'\]"),
        ({"learning_rate_init": "0.1"}, TypeError, "learning_rate must be a number, not '0.1'"),
    ],
)
def test_parameters_of_a_wrong_kind(options, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**options).fit(*IRIS)


def test_wrong_data():
    X, y = IRIS
    with pytest.raises(ValueError, match="one class only"):
        MLPClassifier().fit(X, y * 0)
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier().fit(X, X[:, 0])
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(X)
    with pytest.raises(ValueError, match="expecting 4 features"):
        MLPClassifier((2,), **quick).fit(X, y).predict(X[:, :3])
    with pytest.warns(DataConversionWarning):
        MLPRegressor((2,), **quick).fit(X, y.reshape(-1, 1))


# ---- among scikit-learn's tools


@pytest.mark.slow
def test_a_search_in_parallel_over_a_pipeline():
    X, y = IRIS
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=4, random_state=0)),
        {"mlpclassifier__hidden_layer_sizes": [(2,), (8,)], "mlpclassifier__activation": ["tanh"]},
        cv=2,
        n_jobs=2,
    )
    search.fit(X, y)
    assert search.best_params_["mlpclassifier__hidden_layer_sizes"] == (8,)
    assert search.best_score_ > 0.7


def test_copies():
    X, y = IRIS
    model = MLPClassifier((4,), **quick).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.partial_fit(X, y).loss_ == model.partial_fit(X, y).loss_
    assert not hasattr(clone(model), "network_")
    assert clone(model).get_params() == model.get_params()


def test_tags():
    assert is_classifier(MLPClassifier())
    assert is_regressor(MLPRegressor())
    assert repr(MLPClassifier(alpha=0.5)) == "MLPClassifier(alpha=0.5)"


def test_the_networks_alone_do_not_load_scikit_learn():
    code = "import sys, nn; sys.exit('sklearn' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
