"""scikit-learn estimators under protection."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from sklearn.svm import LinearSVC
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import subrosa
from subrosa.sklearn import PrivateClassifier


@pytest.fixture(scope="module")
def table(patients):
    return tuple(np.asarray(patients[k]) for k in ("x_train", "y_train", "x_test", "y_test"))


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        MLPClassifier((16,), max_iter=300, random_state=0),
    ],
    ids=["logistic", "pipeline", "mlp"],
)
def test_a_classifier_predicts_as_in_the_clear(estimator, table):
    x_train, y_train, x_test, y_test = table
    names = np.array(["benign", "malignant"])
    private = PrivateClassifier(estimator, options={"input_range": (-16, 16)}).fit(x_train, names[y_train.astype(int)])
    fitted = private.estimator_
    x = x_test[:50]
    assert np.abs(private.predict_proba(x) - fitted.predict_proba(x)).max() < 0.02
    # A probability within the tolerance of one half may fall either way.
    sure = np.abs(fitted.predict_proba(x)[:, 1] - 0.5) > 0.02
    assert (private.predict(x) == fitted.predict(x))[sure].all() and sure.sum() > 40
    assert private.score(x_test, names[y_test.astype(int)]) > 0.9


def test_three_classes():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [4, 0], [0, 4]])
    y = rng.integers(0, 3, 300)
    x = (centres[y] + rng.normal(size=(300, 2))).astype(np.float32)
    private = PrivateClassifier(LogisticRegression()).fit(x, y)
    assert np.abs(private.predict_proba(x[:60]) - private.estimator_.predict_proba(x[:60])).max() < 0.02


def test_what_was_not_fitted_says_so():
    with pytest.raises(Exception, match="not fitted"):
        PrivateClassifier(LogisticRegression()).predict(np.zeros((1, 2)))


def test_inputs_outside_the_training_range_are_refused(table):
    private = PrivateClassifier(LogisticRegression(max_iter=1000)).fit(table[0], table[1])
    with pytest.raises(subrosa.InputError, match="outside the range"):
        private.predict(np.full((1, 30), 1e6))


def test_homomorphic_encryption_serves_a_linear_classifier(table):
    private = PrivateClassifier(LogisticRegression(max_iter=1000), via="ckks").fit(table[0], table[1])
    assert (private.predict(table[2][:3]) == private.estimator_.predict(table[2][:3])).all()


def test_scores_are_not_called_probabilities(table):
    private = PrivateClassifier(LinearSVC()).fit(table[0], table[1])
    assert (private.predict(table[0][:50]) == private.estimator_.predict(table[0][:50])).mean() > 0.97
    with pytest.raises(AttributeError, match="LinearSVC gives scores"):
        private.predict_proba(table[0][:1])


def test_a_tree_says_that_it_does_not_convert(table):
    with pytest.raises(subrosa.ModelError):
        PrivateClassifier(DecisionTreeClassifier()).fit(table[0], table[1])
