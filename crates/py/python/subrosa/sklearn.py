"""From scikit-learn: a fitted classifier that predicts under protection.

>>> clf = PrivateClassifier(make_pipeline(StandardScaler(), LogisticRegression()), via="rep3")
>>> clf.fit(X_train, y_train).predict(X_test)

Needs `scikit-learn`, `skl2onnx` and `onnx` (`pip install subrosa[sklearn]`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.utils import Extractor
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._native import ModelError
from ._session import InferenceSession

__all__ = ["PrivateClassifier", "to_bytes"]

# Operators of the scikit-learn domain that skl2onnx can also write as plain arithmetic.
_AS_ARITHMETIC = {"LinearClassifier", "LinearRegressor", "Scaler", "Normalizer"}

# What a converter may be asked for, best first: scores as they are, which cost one product and no
# normalisation under protection; probabilities as an array.
_ASKED = [{"zipmap": False, "raw_scores": True}, {"raw_scores": True}, {"zipmap": False}]


class PrivateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fits `estimator` in the clear and predicts under the protection `via`.

    Under protection are scores, one a class; the largest is chosen, and turned into probabilities,
    by whoever receives them. `calibrate`: whether the inputs' range is taken from the training
    data; inputs outside it are refused when predicting. Further `options` are those of
    `subrosa.InferenceSession`.
    """

    def __init__(
        self, estimator: Any, via: str = "rep3", calibrate: bool = True, options: dict[str, Any] | None = None
    ) -> None:
        self.estimator = estimator
        self.via = via
        self.calibrate = calibrate
        self.options = options

    def fit(self, X: Any, y: Any) -> PrivateClassifier:
        """Fits a clone of the estimator, converts it, and starts the parties."""
        X = np.asarray(X, dtype=np.float32)
        return self._protect(clone(self.estimator).fit(X, y), X)

    def protect(self, fitted: Any, X: Any) -> PrivateClassifier:
        """Takes an estimator that is fitted already; `X`: data like the inputs to come."""
        return self._protect(fitted, np.asarray(X, dtype=np.float32))

    def _protect(self, fitted: Any, X: np.ndarray) -> PrivateClassifier:
        options = dict(self.options or {})
        if self.calibrate and "input_range" not in options:
            options.setdefault("calibrate", X)
        model, self.raw_ = to_bytes(fitted, X)
        self.session_ = InferenceSession(model, self.via, **options)
        self.estimator_ = fitted
        self.classes_ = fitted.classes_
        self.n_features_in_ = X.shape[1]
        return self

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "session_")
        [scores] = self.session_.run(None, np.asarray(X, dtype=np.float32))
        return scores

    def predict(self, X: Any) -> np.ndarray:
        """One class a sample."""
        labels = self._scores(X).argmax(axis=1)
        return np.asarray(np.asarray(self.classes_)[labels])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, one column a class.

        Raises `AttributeError` for estimators that have none.
        """
        scores = self._scores(X)
        if not self.raw_:
            return scores
        if not isinstance(_last(self.estimator_), LogisticRegression):
            raise AttributeError(f"{type(_last(self.estimator_)).__name__} gives scores, not probabilities")
        if len(self.classes_) == 2:
            positive = 1 / (1 + np.exp(-scores[:, 1]))
            return np.column_stack([1 - positive, positive])
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def to_bytes(fitted: Any, X: np.ndarray) -> tuple[bytes, bool]:
    """A fitted classifier as ONNX whose output is one number a class, in operators of arithmetic
    where possible; and whether these are scores rather than probabilities.

    Raises `ModelError` for an estimator that does not convert.
    """
    exported, raw = _exported(fitted, np.asarray(X[:1], dtype=np.float32))
    # The first output is the label, which costs a comparison and a look-up: left to the receiver.
    inputs = [i.name for i in exported.graph.input]
    numbers = Extractor(exported).extract_model(inputs, [exported.graph.output[-1].name])
    return bytes(numbers.SerializeToString()), raw


def _exported(fitted: Any, example: np.ndarray) -> tuple[onnx.ModelProto, bool]:
    failed: Exception | None = None
    for asked in _ASKED:
        try:
            options = {id(_last(fitted)): asked}
            model = to_onnx(fitted, example, options=options, black_op=_AS_ARITHMETIC, target_opset=17)
            return model, asked.get("raw_scores", False)
        except (NameError, RuntimeError) as error:
            failed = error
    raise ModelError(f"{type(_last(fitted)).__name__} does not convert to arithmetic: {failed}") from failed


def _last(fitted: Any) -> Any:
    return fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted
