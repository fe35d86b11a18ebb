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
from sklearn.utils.validation import check_is_fitted

from ._session import InferenceSession

__all__ = ["PrivateClassifier", "to_bytes"]

_SCORES = "probabilities"
# Operators of the scikit-learn domain that skl2onnx can also write as plain arithmetic.
_AS_ARITHMETIC = {"LinearClassifier", "LinearRegressor", "Scaler", "Normalizer"}


class PrivateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fits `estimator` in the clear and predicts under the protection `via`.

    `calibrate`: whether the inputs' range is taken from the training data; inputs outside it are
    refused when predicting. Further `options` are those of `subrosa.InferenceSession`.
    """

    def __init__(self, estimator: Any, via: str = "rep3", calibrate: bool = True, options: dict[str, Any] | None = None) -> None:
        self.estimator = estimator
        self.via = via
        self.calibrate = calibrate
        self.options = options

    def fit(self, X: Any, y: Any) -> PrivateClassifier:
        """Fits a clone of the estimator, converts it, and starts the parties."""
        X = np.asarray(X, dtype=np.float32)
        self.estimator_ = clone(self.estimator).fit(X, y)
        return self._protect(X)

    def protect(self, fitted: Any, X: Any) -> PrivateClassifier:
        """Takes an estimator that is fitted already; `X`: data like the inputs to come."""
        self.estimator_ = fitted
        return self._protect(np.asarray(X, dtype=np.float32))

    def _protect(self, X: np.ndarray) -> PrivateClassifier:
        self.classes_ = self.estimator_.classes_
        self.n_features_in_ = X.shape[1]
        options = dict(self.options or {})
        if self.calibrate and "input_range" not in options:
            options.setdefault("calibrate", X)
        self.session_ = InferenceSession(to_bytes(self.estimator_, X), self.via, **options)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, one column a class, computed under protection."""
        check_is_fitted(self, "session_")
        [scores] = self.session_.run(None, np.asarray(X, dtype=np.float32))
        return scores

    def predict(self, X: Any) -> np.ndarray:
        """One class a sample."""
        check_is_fitted(self, "session_")
        labels = self.session_.predict(np.asarray(X, dtype=np.float32))
        return np.asarray(self.classes_)[labels]


def to_bytes(fitted: Any, X: np.ndarray) -> bytes:
    """A fitted classifier as ONNX: scores alone, in operators of arithmetic where possible."""
    exported = to_onnx(
        fitted,
        X[:1].astype(np.float32),
        options={id(fitted): {"zipmap": False}},
        black_op=_AS_ARITHMETIC,
        target_opset=17,
    )
    # The label is the largest score's; casting and looking it up is left to the caller.
    inputs = [i.name for i in exported.graph.input]
    scores = Extractor(exported).extract_model(inputs, [_SCORES])
    return bytes(onnx.ModelProto.SerializeToString(scores))
