"""A new SQLite store is there whole or not at all, whoever is stopped while it is made, and however many want it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.tracking.mlflow_store import in_words
from pipelines.tracking.sqlite_file import make_whole

_STOPPED_HALF_WAY = """
import os, signal, sqlite3, sys
from pipelines.tracking.sqlite_file import make_whole

def fill(uri):
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
    connection.execute("create table first (x)")
    connection.commit()
    os.kill(os.getpid(), signal.SIGKILL)

make_whole(sys.argv[1], fill)
"""


def fill(uri: str) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
        for name in ("first", "second"):
            connection.execute(f"create table {name} (x)")
    connection.close()


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("select name from sqlite_master")}
    finally:
        connection.close()


def test_one_that_is_killed_half_way_leaves_no_store_and_the_next_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    killed = subprocess.run([sys.executable, "-c", _STOPPED_HALF_WAY, f"sqlite:///{path}"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert list(path.parent.iterdir()), "it had begun"
    make_whole(f"sqlite:///{path}?timeout=5", fill)
    assert tables(path) == {"first", "second"}
    assert list(path.parent.iterdir()) == [path]


def test_several_that_want_it_make_one(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    made: list[str] = []

    def slowly(uri: str) -> None:
        made.append(uri)
        time.sleep(0.05)
        fill(uri)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make_whole(f"sqlite:///{path}", slowly), range(4)))
    assert len(made) == 1
    assert tables(path) == {"first", "second"}


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(uri: str) -> None:
        fill(uri)
        raise RuntimeError("a migration failed")

    with pytest.raises(RuntimeError, match="a migration failed"):
        make_whole(f"sqlite:///{tmp_path / 'mlflow.db'}", fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///a%20b.db",
    ],
)
def test_other_stores_are_left_alone(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_whole(uri, lambda uri: pytest.fail(uri))


def test_a_store_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    fill(f"sqlite:///{path}")
    make_whole(f"sqlite:///{path}", lambda uri: pytest.fail(uri))


def test_a_file_that_was_left_half_made_is_told_as_that() -> None:
    error = RuntimeError(
        "(sqlite3.OperationalError) no such index: index_params_run_uuid\n[SQL: DROP INDEX ...]"
    )
    assert "move it away" in in_words(error, str)  # type: ignore[arg-type]
    other = RuntimeError("(sqlite3.OperationalError) database is locked")
    assert in_words(other, str) == str(other)  # type: ignore[arg-type]
