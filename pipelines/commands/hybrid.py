"""The options of ``qfleet hybrid``."""

from __future__ import annotations

from typing import Any

from pipelines.commands.common import EPILOG, add_actors, add_overrides, add_spending, command


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    summary = "a circuit within a PyTorch network, beside a classical twin"
    hybrid = commands.add_parser("hybrid", help=summary, description=summary, epilog=EPILOG)
    workloads = hybrid.add_subparsers(title="workloads", dest="workload", required=True, metavar="WORKLOAD")
    images = command(workloads, "images", "two kinds of images of 180 x 180 pixels, or your own")
    images.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="with one folder of JPEG or PNG files a class (default: drawn heads with pointed or hanging ears)",
    )
    images.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="images for training and validation, four to one (default: 1000)",
    )
    images.add_argument(
        "--test-samples", type=int, default=400, metavar="N", help="beside these (default: 400)"
    )
    images.add_argument("--size", type=int, default=180, metavar="PIXELS", help="a side (default: 180)")
    images.add_argument(
        "--skip-damaged", action="store_true", help="leave out files that cannot be read, and say which"
    )
    digits = command(workloads, "digits", "handwritten digits of 8 x 8 pixels, ten classes")
    for parser, depth, epochs, seeds in ((images, 4, 5, 1), (digits, 4, 30, 3)):
        _add_common(parser, depth, epochs, seeds)


def _add_common(parser: Any, depth: int, epochs: int, seeds: int) -> None:
    parser.set_defaults(module="pipelines.hybrid.command")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help=f"passes over the training samples (default: {epochs})"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: 32")
    parser.add_argument("--seed", type=int, default=7, help="of the data, weights and batches (default: 7)")
    parser.add_argument(
        "--seeds",
        type=int,
        default=seeds,
        metavar="N",
        help=f"train with so many, from --seed on (default: {seeds})",
    )
    parser.add_argument("--qubits", type=int, default=8, metavar="N", help="default: 8")
    parser.add_argument(
        "--depth", type=int, default=depth, metavar="N", help=f"layers of the circuit (default: {depth})"
    )
    parser.add_argument("--backend", metavar="NAME", help="of the circuits (default: ideal, exact)")
    parser.add_argument("--shots", type=int, metavar="N", help="of each circuit (default: exact)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of torch; they decide the last bits (default: 1)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the study (default: hybrid and the time)")
    parser.add_argument("--directory", default="runs", help="of studies (default: runs)")
    parser.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    add_overrides(parser)
    add_actors(parser)
    add_spending(parser)
