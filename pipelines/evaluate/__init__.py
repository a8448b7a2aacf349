"""``qfleet evaluate``: any run or registered model, on any data set and backend, with what its scores are worth.

In Python: ``evaluate("my-run", backend="noisy", shots=1000)``, which returns an `Evaluation`.
"""

from pipelines.evaluate.command import run
from pipelines.evaluate.pipeline import evaluate
from pipelines.evaluate.result import Evaluation
from pipelines.evaluate.scores import Scores, score

__all__ = ["Evaluation", "Scores", "evaluate", "run", "score"]
