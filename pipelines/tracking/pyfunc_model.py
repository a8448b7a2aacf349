"""The trained model as an MLflow pyfunc, logged from code: MLflow keeps this file beside the model's JSON and arrays; no pickle.

`predict` takes a pandas DataFrame whose columns stand in any order (further ones are ignored) or an array [S, F] in the order of
training, and returns a DataFrame of the predictor's columns. Through ``mlflow.pyfunc.load_model`` MLflow first holds the input
against the signature and refuses a bare array, which carries no names; ``loaded.unwrap_python_model().predict(array)`` takes it.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
import zipfile
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class QfleetModel(PythonModel):
    """Predicts with `pipelines.predictor.Predictor`, which is imported when the model is loaded, not when it is logged."""

    def load_context(self, context: Any) -> None:
        """Load the predictor from the logged folder, by the qfleet that is installed, else by the code that came with the model."""
        try:
            from pipelines.predictor import Predictor
        except ImportError:
            add_code(context.artifacts["code"])
            from pipelines.predictor import Predictor
        self.predictor = Predictor.load(context.artifacts["predictor"])

    # MLflow reads this hint; with none, or a union, it prints advice whenever the class is made. Arrays are taken all the same.
    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The predictor's table for a DataFrame or an array [S, F]; returns a DataFrame."""
        features = ordered_features(model_input, tuple(self.predictor.feature_names))
        table = pd.DataFrame(self.predictor.predict_table(features))
        if isinstance(model_input, pd.DataFrame):
            table.index = model_input.index
        return table


def add_code(archive: str) -> None:
    """Unpack the code that came with the model, for as long as this process lives, and let it be imported.

    In a folder of our own: one with a name that can be foretold could be filled by others. Compiled kernels are cached elsewhere, by
    the content of their sources.
    """
    folder = tempfile.mkdtemp(prefix="qfleet-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(archive) as code:
        code.extractall(folder)
    sys.path.insert(0, folder)
    for name in (
        "orchestrator",
        "actors",
        "pipelines",
    ):  # what an import that failed left, or another package of that name
        for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[module]
    importlib.invalidate_caches()


def ordered_features(model_input: Any, names: tuple[str, ...]) -> np.ndarray:
    """float64 [S, F], the columns in the order of `names`.

    Raises:
        ValueError: a column is missing (the text names it), or an array has another number of columns.
    """
    if isinstance(model_input, pd.DataFrame):
        missing = [name for name in names if name not in model_input.columns]
        if missing:
            raise ValueError(f"columns missing from the input: {', '.join(map(repr, missing))}")
        return model_input.loc[:, list(names)].to_numpy(np.float64)
    features = np.atleast_2d(np.asarray(model_input, np.float64))
    if features.ndim != 2 or features.shape[1] != len(names):
        raise ValueError(
            f"an array of shape {features.shape} was given; expected [samples, {len(names)}], columns {', '.join(names)}"
        )
    return features


set_model(QfleetModel())
