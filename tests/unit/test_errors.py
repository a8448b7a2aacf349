"""Errors: they pickle whole, say what to do, and name the nearest valid choice."""

from __future__ import annotations

import inspect
import pickle

import pytest

from orchestrator import errors
from orchestrator.errors import (
    BudgetError,
    ConfigError,
    InputError,
    MissingExtraError,
    NotRecordedError,
    QfleetError,
    UnknownNameError,
    nearest,
)

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, QfleetError)]
ARGUMENTS: dict[type[QfleetError], tuple[object, ...]] = {
    BudgetError: (100_000_000, 99_000_000, 500_000, 600_000),
    MissingExtraError: ("torch", "torch"),
    ConfigError: ("run.epochs", 0, "must be positive", "1"),
    NotRecordedError: ("a-run", 97, 100, 3, "qpu.aria-1", 1_500_000),
    UnknownNameError: ("loss", "mes", ("mse", "cross_entropy")),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_crosses_process_borders_whole(kind: type[QfleetError]) -> None:
    error = kind(*ARGUMENTS.get(kind, ("what happened and what to do",)))
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert back.args == error.args
    assert str(back) == str(error) != ""
    assert vars(back) == vars(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_code_says_whose_fault_it_is(kind: type[QfleetError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 1)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("epoch", "epochs"),
        ("EPOCHS", "epochs"),
        ("batchsize", "batch_size"),
        ("zzz", None),
        (3, None),
        ("myrun-b", "MyRun-A"),
    ],
)
def test_nearest(value: object, found: str | None) -> None:
    assert nearest(value, ["epochs", "batch_size", "seed", "MyRun-A"]) == found


def test_nearest_of_nothing() -> None:
    assert nearest("x", []) is None


def test_texts() -> None:
    assert (
        str(ConfigError("run.epoch", 5, "no such key", "epochs"))
        == "run.epoch = 5: no such key; did you mean 'epochs'?"
    )
    assert str(ConfigError("run.epochs", 0, "must be positive")) == "run.epochs = 0: must be positive"
    text = str(UnknownNameError("loss", "mes", ("mse", "cross_entropy")))
    assert text == "unknown loss 'mes'; did you mean 'mse'? known: mse, cross_entropy, or 'module:attribute'"
