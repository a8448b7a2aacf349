"""Embeddings that were made before, in a table of the example store's kind; without lancedb each is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.errors import QfleetError
from pipelines.example_store.table import LanceTable, MissingExtraError, arrow_table, check_installed
from pipelines.similarity.embedding import Embedding
from pipelines.similarity.known import KnownRun

_COLUMNS = ("key", "architecture", "data", "behaviour", "kind")


def embeddings(
    runs: list[KnownRun], n_probes: int, folder: Path, say: Callable[[str], None]
) -> dict[str, Embedding]:
    """Embedding by key of the run, taken from the table in `folder` or made and put there.

    `say` is told of what is made anew, and of runs that are left out because a file is damaged.
    """
    table = _table(folder, say)
    keys = {run.key: f"{run.key}-{n_probes}" for run in runs}
    found = {} if table is None else _read(table, list(keys.values()))
    missing = [run for run in {run.key: run for run in runs}.values() if keys[run.key] not in found]
    if missing:
        say(f"embedding {len(missing)} of {len(keys)} models")
    made = {}
    for run in missing:
        try:
            made[keys[run.key]] = run.embed(n_probes)
        except QfleetError as error:
            say(f"left out {run.name}: {error}")
    if table is not None and made:
        try:
            _write(table, made)
        except QfleetError as error:  # such as another process that does the same
            say(f"embeddings are not kept: {error}")
    known = found | made
    return {key: known[full] for key, full in keys.items() if full in known}


def _table(folder: Path, say: Callable[[str], None]) -> LanceTable | None:
    try:
        check_installed()
    except MissingExtraError as error:
        say(f"embeddings are not kept: {error}")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return LanceTable(folder, "embeddings")


def _read(table: LanceTable, keys: list[str]) -> dict[str, Embedding]:
    if not table.is_there:
        return {}
    rows = table.read_keys(_COLUMNS, "key", keys).to_pylist()
    return {
        row["key"]: Embedding(
            architecture=np.array(row["architecture"], np.float64),
            data=np.array(row["data"], np.float64),
            behaviour=np.array(row["behaviour"], np.float64),
            kind=row["kind"],
        )
        for row in rows
    }


def _write(table: LanceTable, made: dict[str, Embedding]) -> None:
    rows = arrow_table(
        {
            "key": list(made),
            **{
                block: [getattr(one, block).tolist() for one in made.values()]
                for block in ("architecture", "data", "behaviour")
            },
            "kind": [one.kind for one in made.values()],
        }
    )
    if table.is_there:
        table.merge(rows, "key")
    else:
        table.create(rows)
