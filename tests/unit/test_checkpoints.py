"""Checkpoints: the same bits back; whatever is torn, altered, planted or another run's is refused and the one before used."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import CheckpointError
from orchestrator.training.reports import EpochReport, Totals
from orchestrator.training.state import TrainState
from pipelines import checkpoints
from pipelines.checkpoints import Checkpoints, write_atomically

ROOT = Path(__file__).parents[2]


def make_state(step: int = 7) -> TrainState:
    rng = np.random.default_rng(step)
    epoch = EpochReport(
        1,
        3,
        4,
        {"train/epoch_loss": 0.1 + 0.2, "val/loss": 1e-300},
        "val/loss",
        True,
        1,
        1e-300,
        0.05,
        Totals(40, 0, 0.1),
        1.5,
    )
    return TrainState(
        params=rng.normal(size=6),
        optimizer={"0/m": rng.normal(size=6), "0/count": np.array([float(step)])},
        rule={"metric": rng.normal(size=4)},
        best_params=np.array([0.0, -0.0, 5e-324, np.pi, 1e308, -1 / 3]),
        epoch=1,
        cursor=3,
        step=step,
        epoch_loss=0.1 * step,
        step_losses=rng.normal(size=step).tolist(),
        history=[epoch],
        best_value=1 / 3,
        best_epoch=1,
        totals=Totals(123, 456, 0.1 + 0.7),
    )


def bits(state: TrainState) -> tuple[Any, ...]:
    arrays = {"params": state.params, "best_params": state.best_params} | state.optimizer
    arrays |= {f"rule/{key}": value for key, value in state.rule.items()}
    plain = {
        key: value
        for key, value in vars(state).items()
        if not isinstance(value, np.ndarray) and key not in ("optimizer", "rule")
    }
    return {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays.items()}, plain


def make(folder: Path, keep: int = 3, fingerprint: str = "mine") -> Checkpoints:
    return Checkpoints(folder, keep, fingerprint)


def two(folder: Path) -> tuple[Checkpoints, Path, Path]:
    """A run with two checkpoints: (checkpoints, older, newer)."""
    kept = make(folder)
    return kept, kept.save(make_state(7)), kept.save(make_state(8))


def assert_older_is_used(kept: Checkpoints, newer: Path) -> None:
    with pytest.raises(CheckpointError):
        kept.load(newer)
    state, problems = kept.load_newest()
    assert state is not None
    assert bits(state) == bits(make_state(7))
    assert len(problems) == 1
    assert str(newer) in problems[0]


@pytest.mark.parametrize("step", [0, 1, 7])
def test_round_trip_keeps_every_bit(step: int, tmp_path: Path) -> None:
    state = make_state(step)
    kept = make(tmp_path / "new" / "folder")
    before = copy.deepcopy(state)
    path = kept.save(state)
    assert bits(state) == bits(before)
    assert bits(kept.load(path)) == bits(state)
    newest, problems = kept.load_newest()
    assert newest is not None
    assert bits(newest) == bits(state)
    assert problems == []


def test_fresh_state_round_trips(tmp_path: Path) -> None:
    """Infinity as the best value, no history, no optimizer state."""
    state = TrainState(params=np.zeros(2), optimizer={}, best_params=np.zeros(2))
    kept = make(tmp_path)
    assert bits(kept.load(kept.save(state))) == bits(state)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert make(tmp_path / "nothing").load_newest() == (None, [])
    assert make(tmp_path / "nothing").folders() == []


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    kept = make(tmp_path, keep=2)
    for step in (1, 2, 9, 10, 100):
        kept.save(make_state(step))
    assert [path.name for path in kept.folders()] == ["000000010-000001", "000000100-000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in kept.folders()]


def test_end_of_an_epoch_is_newer_than_its_last_step(tmp_path: Path) -> None:
    kept = make(tmp_path)
    within, ended = make_state(7), make_state(7)
    ended.epoch, ended.cursor, ended.stop_reason = 2, 0, "all epochs done"
    kept.save(ended)
    kept.save(within)
    state, _ = kept.load_newest()
    assert state is not None
    assert bits(state) == bits(ended)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    for name in ("aaa", "zzz", "000000001", ".hidden"):
        (tmp_path / name).mkdir()
    kept = make(tmp_path, keep=1)
    kept.save(make_state(1))
    newest = kept.save(make_state(2))
    assert kept.folders() == [newest]
    assert {path.name for path in tmp_path.iterdir()} == {"aaa", "zzz", "000000001", ".hidden", newest.name}


def test_leftovers_of_a_killed_writer_are_ignored_and_cleared(tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    shutil.copytree(newer, tmp_path / ".writing-000000009-000001-12345")
    assert kept.folders()[-1] == newer
    kept.save(make_state(10))
    assert not list(tmp_path.glob(".*"))


def test_whole_checkpoint_of_this_place_is_kept_and_a_damaged_one_replaced(tmp_path: Path) -> None:
    kept = make(tmp_path, keep=1)
    path = kept.save(make_state(7))
    inode = path.stat().st_ino
    assert kept.save(make_state(7)) == path
    assert path.stat().st_ino == inode, "it never disappears, not even for a moment"
    (path / "state.npz").write_bytes(b"")
    kept.save(make_state(7))
    assert bits(kept.load(path)) == bits(make_state(7))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# --- Damage ------------------------------


@pytest.mark.parametrize("name", ["state.npz", "manifest.json"])
def test_torn_file(name: str, tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    whole = (newer / name).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (newer / name).write_bytes(whole[:length])
        assert_older_is_used(kept, newer)
    (newer / name).unlink()
    assert_older_is_used(kept, newer)


def test_any_flipped_bit_of_the_arrays(tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    whole = (newer / "state.npz").read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 150):
        (newer / "state.npz").write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << rng.integers(8))]) + whole[place + 1 :]
        )
        with pytest.raises(CheckpointError):
            kept.load(newer)
    assert_older_is_used(kept, newer)


def test_any_flipped_bit_of_the_manifest(tmp_path: Path) -> None:
    """Refused, or, where JSON does not care (1e-5 and 1E-5), the very same state."""
    kept, _, newer = two(tmp_path)
    whole = (newer / "manifest.json").read_bytes()
    refused = 0
    for place in range(len(whole)):
        flipped = whole[place] ^ (1 << (place % 8))
        (newer / "manifest.json").write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
        try:
            state = kept.load(newer)
        except CheckpointError:
            refused += 1
        else:
            assert bits(state) == bits(make_state(8))
    assert refused >= 0.99 * len(whole)


def test_swapped_files(tmp_path: Path) -> None:
    kept, older, newer = two(tmp_path)
    shutil.copy(older / "state.npz", newer / "state.npz")
    assert_older_is_used(kept, newer)


def reseal(path: Path, **changes: Any) -> None:
    """Alter a manifest and give it a checksum that fits, as someone might who means it."""
    content = json.loads((path / "manifest.json").read_text())
    content.pop("checksum")
    content = {key: value for key, value in (content | changes).items() if value != "REMOVED"}
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(content | {"checksum": checksum}))


class Bomb:
    """Unpickling it is seen."""

    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "exploded", True)


def test_planted_pickle_is_refused_and_never_loaded(tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    for name in ("params", "optimizer/0/m"):
        buffer = io.BytesIO()
        arrays = dict(np.load(newer / "state.npz")) | {name: np.array([Bomb()], object)}
        np.savez(buffer, **arrays)
        original = (newer / "state.npz").read_bytes()
        (newer / "state.npz").write_bytes(buffer.getvalue())
        reseal(newer, sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
        assert_older_is_used(kept, newer)
        (newer / "state.npz").write_bytes(original)
    assert not Bomb.exploded
    np.load(io.BytesIO(buffer.getvalue()), allow_pickle=True)["optimizer/0/m"]
    assert Bomb.exploded, "the bomb itself works"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": "REMOVED"},
        {"sha256": "REMOVED"},
        {"cursor": "REMOVED"},
        {"history": [{"epoch": 1}]},
        {"history": 5},
        {"totals": {"n_circuits": 1, "surprise": 2}},
        {"totals": "REMOVED"},
    ],
)
def test_intact_manifest_of_another_shape(changes: dict[str, Any], tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    reseal(newer, **changes)
    assert_older_is_used(kept, newer)


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "{}", "nonsense", "\ufffe"])
def test_manifest_that_is_none(text: str, tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    (newer / "manifest.json").write_text(text, encoding="utf-16")
    assert_older_is_used(kept, newer)
    (newer / "manifest.json").write_text(text, encoding="utf-8")
    assert_older_is_used(kept, newer)


def test_arrays_that_are_no_archive(tmp_path: Path) -> None:
    kept, _, newer = two(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    for content in (b"", b"PK\x03\x04 not really", buffer.getvalue()):
        (newer / "state.npz").write_bytes(content)
        reseal(newer, sha256=hashlib.sha256(content).hexdigest())
        assert_older_is_used(kept, newer)


def test_nothing_whole_is_an_error_that_says_everything(tmp_path: Path) -> None:
    kept, older, newer = two(tmp_path)
    for path in (older, newer):
        (path / "state.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint can be used") as caught:
        kept.load_newest()
    assert str(older) in str(caught.value)
    assert str(newer) in str(caught.value)


def test_another_configurations_checkpoint(tmp_path: Path) -> None:
    two(tmp_path)
    with pytest.raises(CheckpointError, match="another configuration, model or data set"):
        make(tmp_path, fingerprint="other").load_newest()


# --- Failures while writing ------------------------------


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `n_bytes`: like a full disk, at a byte of our choice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_full_disk_leaves_earlier_checkpoints_whole(tmp_path: Path) -> None:
    kept = make(tmp_path / "kept")
    kept.save(make_state(7))
    other = make(tmp_path / "other").save(make_state(8))
    sizes = [(other / name).stat().st_size for name in ("state.npz", "manifest.json")]
    for limit in (0, 1, 100, max(sizes) // 2, min(sizes) - 1, max(sizes) - 1):
        with largest_file(limit), pytest.raises(CheckpointError, match="earlier ones are untouched"):
            kept.save(make_state(8))
        assert [path.name for path in kept.folder.iterdir()] == ["000000007-000001"]
        state, problems = kept.load_newest()
        assert state is not None
        assert bits(state) == bits(make_state(7))
        assert problems == []
    assert bits(kept.load(kept.save(make_state(8)))) == bits(make_state(8)), "with space again, it goes on"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        make(tmp_path / "file").save(make_state())


def test_everything_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename must find the files' bytes on disk; one before it finds the old state."""
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def seen_fsync(descriptor: int) -> None:
        events.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.partition("-")[0])
        fsync(descriptor)

    def seen_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(checkpoints.os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "rename", seen_rename)
    make(tmp_path / "folder").save(make_state())
    assert events == ["sync state.npz", "sync manifest.json", "sync .writing", "rename", "sync folder"]


def test_killed_writer_never_leaves_an_unreadable_newest(tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that does nothing but save; each round goes on where the last one was killed.

    The newest checkpoint is whole, and no older than the last one whose `save` returned.
    """
    writer = textwrap.dedent(
        f"""
        import sys, numpy as np
        from pathlib import Path
        from orchestrator.training.state import TrainState
        from pipelines.checkpoints import Checkpoints
        kept = Checkpoints(Path({str(tmp_path)!r}), 2, "mine")
        state, problems = kept.load_newest()
        assert not problems, problems
        step = 0 if state is None else state.step
        while True:
            step += 1
            kept.save(TrainState(np.full(2000, step), {{"m": np.full(2000, -step)}}, np.zeros(1), step=step))
            print(step, flush=True)
        """
    )
    rng = np.random.default_rng(1)
    reached = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", writer], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            first = int(process.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.1))
        finally:
            process.kill()
            rest, _ = process.communicate()
        saved = [first, *map(int, rest.split())]
        assert saved == list(range(reached + 1, reached + 1 + len(saved)))
        state, problems = make(tmp_path, keep=2).load_newest()
        assert problems == []
        assert state is not None
        assert saved[-1] <= state.step <= saved[-1] + 1
        reached = state.step
        np.testing.assert_array_equal(state.params, reached)
        np.testing.assert_array_equal(state.optimizer["m"], -reached)


def test_atomic_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with largest_file(100), pytest.raises(OSError, match="large"):
        write_atomically(path, b"x" * 1000)
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
