"""The options of ``qfleet compare`` and ``qfleet finetune``."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines.commands.common import add_actors, add_overrides, add_spending, command


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    _add_compare(commands)
    _add_finetune(commands)


def _add_compare(commands: Any) -> None:
    compare = command(
        commands, "compare", "the same training with several settings and seeds, and which is better"
    )
    compare.add_argument("config", help="TOML file, as for train; what all have in common")
    compare.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="SECTION.KEY=A,B,...",
        help="train with each of these values, e.g. model.ansatz=three_rotation,hardware_efficient; several --vary: with all combinations. "
        "Commas within quotes or brackets belong to a value: model.observables=first,['Z0','Z1']",
    )
    compare.add_argument(
        "--setting",
        action="append",
        default=[],
        nargs="+",
        metavar=("LABEL", "SECTION.KEY=VALUE"),
        help="a setting of several keys together, e.g. --setting aria backend.name=noisy backend.shots=500; without keys: as configured",
    )
    compare.add_argument(
        "--seeds", type=int, metavar="N", help="seeds of each setting, from run.seed on (default: 5)"
    )
    compare.add_argument(
        "--against",
        default="best",
        metavar="NAME",
        help="what the others are tested against: best (default), first, or the name of a setting, fixed beforehand",
    )
    compare.add_argument(
        "--at-once",
        type=int,
        default=1,
        metavar="N",
        help="trainings side by side, each in a process of its own on Ray without a fleet, for small models (default: 1)",
    )
    _add_study(compare)
    compare.set_defaults(module="pipelines.compare.command")


def _add_finetune(commands: Any) -> None:
    finetune = command(
        commands, "finetune", "pre-train on a simulator, freeze a part, finish on another backend; measured"
    )
    finetune.add_argument("config", help="TOML file, as for train: the pre-training")
    finetune.add_argument(
        "--then",
        required=True,
        metavar="BACKEND",
        help="backend to finish on, e.g. noisy or ionq; or a TOML file of the sections that differ there",
    )
    finetune.add_argument(
        "--then-set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key there, e.g. backend.noise=aria-1",
    )
    finetune.add_argument(
        "--then-epochs", type=int, metavar="N", help="epochs there (default: a fifth of run.epochs)"
    )
    finetune.add_argument(
        "--freeze",
        action="append",
        default=[],
        metavar="PARAMETERS",
        help="that stay as pre-trained and cost no circuit there, as in model.frozen: layer0, p3..p9, head",
    )
    finetune.add_argument(
        "--from-scratch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="also train on that backend from the start, to compare with (default: where that costs no money)",
    )
    _add_study(finetune)
    finetune.set_defaults(module="pipelines.finetune.command")


def _add_study(parser: argparse.ArgumentParser) -> None:
    """What every study has."""
    parser.add_argument("--name", help="of the study (default: made from the time)")
    parser.add_argument(
        "--directory", metavar="FOLDER", help="that the study's folder is made in (default: run.directory)"
    )
    add_overrides(parser)
    add_actors(parser)
    add_spending(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and print what it would take; start nothing"
    )
