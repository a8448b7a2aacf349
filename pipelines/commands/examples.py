"""The options of ``qfleet examples`` and ``qfleet similar``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import EPILOG, add_run, command


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    summary = "a store of training examples with weights for several tasks"
    examples = commands.add_parser("examples", help=summary, description=summary, epilog=EPILOG)
    actions = examples.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    _add_add(actions)
    _add_select(actions)
    _add_changes(actions)
    for name, does in (
        ("show", "what a store holds, and its versions"),
        ("contexts", "its tasks"),
        ("weights", "what the weights of each task are worth"),
    ):
        _store(actions, name, does).add_argument("--as-of", type=int, metavar="VERSION", help="of the table")
    _add_benchmark(actions)
    _add_similar(commands)


def _store(actions: Any, name: str, does: str) -> Any:
    parser = command(actions, name, does)
    parser.add_argument("store", help="its folder")
    parser.set_defaults(module="pipelines.example_store.command")
    return parser


def _add_add(actions: Any) -> None:
    add = _store(actions, "add", "add the examples of a file, or replace those of the same ids")
    add.add_argument("file", help=".parquet, .csv or .arrow file, or a folder, as for data.path")
    add.add_argument("--target", required=True, metavar="COLUMN", help="that is to be learned")
    add.add_argument(
        "--features", nargs="+", metavar="COLUMN", help="default: all numeric ones but those named here"
    )
    add.add_argument("--id", metavar="COLUMN", help="of the ids (default: digests of the content)")
    add.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=WEIGHT|COLUMN",
        help="a task, and the weight of the examples in it: a number, or a column of numbers, 0 for not of it",
    )
    add.add_argument("--metadata", nargs="+", default=[], metavar="COLUMN", help="other columns, for --where")
    add.add_argument(
        "--vectors",
        choices=("features", "pca"),
        help="what --near compares (default: as the store has it; features in a new one)",
    )


def _add_select(actions: Any) -> None:
    select = _store(actions, "select", "training data for a task")
    select.add_argument("--context", required=True, metavar="NAME", help="the task")
    select.add_argument("-k", type=int, metavar="N", help="examples (default: all)")
    select.add_argument(
        "--near",
        metavar="VALUES|id:ID|FILE",
        help="features separated by commas, an example's id, or a file with the feature columns (the mean of its rows' vectors)",
    )
    select.add_argument(
        "--where", metavar="SQL", help="condition on metadata, e.g. \"site = 'a' AND amount > 10\""
    )
    select.add_argument("--min-weight", type=float, default=0.0, metavar="W", help="default: 0")
    select.add_argument(
        "--ranked", action="store_true", help="the nearest or heaviest, in place of a draw by weight"
    )
    select.add_argument("--metric", choices=("cosine", "l2"), default="cosine", help="default: cosine")
    select.add_argument("--pool", type=int, metavar="N", help="draw from the N nearest (default: twice k)")
    select.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    select.add_argument("--as-of", type=int, metavar="VERSION", help="of the table (default: the newest)")
    select.add_argument("--output", metavar="FILE", help=".parquet or .csv, for data.path")
    select.add_argument(
        "--with-weights",
        action="store_true",
        help="columns weight and distance in it; then set data.features",
    )


def _add_changes(actions: Any) -> None:
    weight = _store(actions, "set-weight", "give examples another weight in a task")
    weight.add_argument("--context", required=True, metavar="NAME", help="the task")
    weight.add_argument("--weight", type=float, required=True, metavar="W", help="0: not of this task")
    remove = _store(actions, "remove", "remove examples from all tasks")
    for parser in (weight, remove):
        parser.add_argument("--id", nargs="+", required=True, metavar="ID", help="of the examples")
    compact = _store(actions, "compact", "join small files, and forget old versions")
    compact.add_argument("--keep-days", type=float, default=7.0, metavar="DAYS", help="default: 7")


def _add_benchmark(actions: Any) -> None:
    benchmark = command(
        actions, "benchmark", "does choosing by weight or nearness help? bytes of one table and of copies"
    )
    benchmark.add_argument(
        "--seeds", type=int, default=10, metavar="N", help="trainings of each kind (default: 10)"
    )
    benchmark.add_argument(
        "--examples", type=int, nargs="+", default=[12, 40], metavar="K", help="to train on (default: 12 40)"
    )
    benchmark.add_argument("--name", metavar="NAME", help="of the study (default: examples and the time)")
    benchmark.add_argument("--directory", default="runs", help="of studies (default: runs)")
    benchmark.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    benchmark.set_defaults(module="pipelines.example_store.study")


def _add_similar(commands: Any) -> None:
    similar = command(commands, "similar", "runs like a run: in architecture, data set and behaviour")
    add_run(similar)
    similar.add_argument("-k", "--k", type=int, default=5, metavar="N", help="runs to show (default: 5)")
    similar.add_argument(
        "--weights",
        default="architecture=1,data=1,behaviour=1",
        metavar="BLOCK=W,...",
        help="of the blocks (default: architecture=1,data=1,behaviour=1)",
    )
    similar.add_argument(
        "--probe",
        type=int,
        default=64,
        metavar="N",
        help="inputs that behaviour is compared on (default: 64)",
    )
    similar.add_argument(
        "--tracking-uri", metavar="URI", help="runs of this MLflow too, whose model can be fetched"
    )
    similar.add_argument("--experiment", default="qfleet", metavar="NAME", help="of them (default: qfleet)")
    similar.add_argument(
        "--store",
        metavar="FOLDER",
        help="keeps the embeddings (default: .similar in the directory of the runs)",
    )
