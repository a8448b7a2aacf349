"""The options of ``qfleet evaluate``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import add_actors, add_address, add_spending, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    evaluate = command(commands, "evaluate", "score a run or a registered model on any data set and backend")
    evaluate.add_argument(
        "run",
        help="run name, path of its folder, MLflow run id, 'latest'; or models:/NAME, models:/NAME@ALIAS, models:/NAME/VERSION, "
        "runs:/RUN_ID/model",
    )
    evaluate.add_argument("--directory", default="runs", help="where run names are looked up (default: runs)")
    _add_samples(evaluate)
    _add_backend(evaluate)
    evaluate.add_argument(
        "--baselines",
        action="store_true",
        help="train the separable twin, a support vector machine and a neural network on the same split, and compare",
    )
    evaluate.add_argument(
        "--against", metavar="RUN", help="another run or model, compared on the same samples"
    )
    evaluate.add_argument(
        "--output",
        metavar="FILE",
        help=".parquet or .csv of the samples: predictions, probabilities, standard errors",
    )
    evaluate.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="of MLflow, for models (default: MLFLOW_TRACKING_URI, else ./mlflow.db)",
    )
    evaluate.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    evaluate.add_argument("--dry-run", action="store_true", help="say what it would take; run nothing")
    add_spending(evaluate)


def _add_samples(evaluate: Any) -> None:
    evaluate.add_argument(
        "--split", choices=("train", "validation", "test"), help="of the run; default: test"
    )
    evaluate.add_argument(
        "--data",
        metavar="NAME|FILE|FOLDER",
        help="in place of a split: a built-in data set or a file that has the model's feature columns",
    )
    evaluate.add_argument(
        "--target-column", metavar="NAME", help="of --data; default: as in training, 'target' for a model"
    )


def _add_backend(evaluate: Any) -> None:
    evaluate.add_argument("--shots", type=int, help="repetitions of each circuit; default: as in training")
    evaluate.add_argument("--backend", help="another backend than in training")
    evaluate.add_argument("--noise", metavar="MODEL", help="the same as --set backend.noise=MODEL")
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="backend.KEY=VALUE",
        help="override a key of the backend section, e.g. backend.target=qpu.aria-1",
    )
    add_actors(evaluate)
    add_address(evaluate)
