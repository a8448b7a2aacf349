"""A streamed data set that Ray actors read and prepare, each its own files: the same bits as by this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config import DataConfig
from orchestrator.errors import DataError
from pipelines.data.datasets import prepare

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(120)]


def test_actors_prepare_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        x = rng.normal(size=(200 + number, 4)) + 3
        columns = {f"x{index}": x[:, index] for index in range(4)} | {"y": np.where(x[:, 0] > 3, "a", "b")}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    keys = {"path": str(tmp_path), "target": "y", "n_components": 2, "streaming": True}
    alone = prepare(DataConfig(**keys), task="binary", seed=1)
    others = prepare(DataConfig(**keys, readers=2), task="binary", seed=1, parent=tmp_path / "runs")
    assert alone.digest == others.digest
    assert alone.stored is not None
    assert others.stored is not None
    assert alone.stored.parts == others.stored.parts
    for split in ("train", "validation", "test"):
        assert getattr(alone, split).features.tobytes() == getattr(others, split).features.tobytes()
        assert np.array_equal(getattr(alone, split).targets, getattr(others, split).targets)
    damaged = tmp_path / "3.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"3\.parquet"):
        prepare(DataConfig(**keys, readers=2), task="binary", seed=1)
