"""The metric journal and the spool: what is on disk survives crashes, and is told once."""

from __future__ import annotations

import json
import math
import multiprocessing
import os

import pytest

from orchestrator.errors import InputError
from pipelines.tracking.journal import MetricJournal, MetricPoint, Spool, read_history, read_points


def test_points_come_back_as_they_were_logged(tmp_path):
    with MetricJournal(tmp_path / "m.jsonl") as journal:
        assert journal.log({"train/loss": 0.1 + 0.2, "gradient/norm": 3}, 1, timestamp_ms=1000) == 2
        journal.log({"train/loss": 5e-324}, 2, timestamp_ms=1001)
    points, offset = read_points(tmp_path / "m.jsonl")
    assert points == [
        MetricPoint("train/loss", 0.1 + 0.2, 1, 1000),
        MetricPoint("gradient/norm", 3.0, 1, 1000),
        MetricPoint("train/loss", 5e-324, 2, 1001),
    ]
    assert offset == (tmp_path / "m.jsonl").stat().st_size


def test_non_finite_values_stay_what_they_are_in_strict_json(tmp_path):
    with MetricJournal(tmp_path / "m.jsonl") as journal:
        journal.log({"a": math.nan, "b": math.inf, "c": -math.inf}, 1)
    json.loads((tmp_path / "m.jsonl").read_text(), parse_constant=pytest.fail)
    values = {point.key: point.value for point in read_points(tmp_path / "m.jsonl")[0]}
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)


def test_a_step_that_is_done_again_is_not_journaled_again(tmp_path):
    path = tmp_path / "m.jsonl"
    with MetricJournal(path) as journal:
        for step in range(1, 6):
            journal.log({"train/loss": 1 / step}, step, timestamp_ms=step)
        assert journal.log({"train/loss": 9.0}, 5) == 0
    before = path.read_bytes()
    with MetricJournal(path) as journal:  # resumed from the checkpoint of step 3
        assert journal.n_points == 5
        assert [journal.log({"train/loss": 1 / step}, step) for step in (4, 5, 6)] == [0, 0, 1]
        assert (
            journal.log({"train/loss": 0.0, "val/loss": 0.5}, 5) == 1
        )  # what is new at a known step is kept
    assert path.read_bytes().startswith(before)
    assert [step for step, _ in read_history(path)["train/loss"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("n_lost", [1, 2, 20])
def test_a_torn_last_line_is_dropped_and_done_again(tmp_path, n_lost):
    path = tmp_path / "m.jsonl"
    with MetricJournal(path) as journal:
        journal.log({"a": 1.0}, 1, timestamp_ms=1)
        whole = journal.size
        journal.log({"a": 2.0}, 2, timestamp_ms=2)
    os.truncate(path, path.stat().st_size - n_lost)
    assert read_points(path)[1] == whole  # a reader leaves it alone
    with MetricJournal(path) as journal:
        assert (journal.n_points, journal.size) == (1, whole)
        assert journal.log({"a": 2.0}, 2, timestamp_ms=3) == 1
    assert [point.value for point in read_points(path)[0]] == [1.0, 2.0]


def test_a_damaged_line_costs_its_own_points_only(tmp_path):
    path = tmp_path / "m.jsonl"
    with MetricJournal(path) as journal:
        journal.log({"a": 1.0}, 1)
    with path.open("ab") as file:
        file.write(b"\0" * 100 + b"\n" + b'{"step": 2}\n[]\n')
    with MetricJournal(path) as journal:
        journal.log({"a": 3.0}, 3)
    assert [point.step for point in read_points(path)[0]] == [1, 3]


def test_offsets_split_the_journal_without_loss(tmp_path):
    path = tmp_path / "m.jsonl"
    with MetricJournal(path) as journal:
        for step in range(10_000):
            journal.log({"a": step, "b": -step}, step, timestamp_ms=step)
    read, offset, n_batches = [], 0, 0
    while True:
        points, offset = read_points(path, offset, max_points=1000)
        if not points:
            break
        read += points
        n_batches += 1
    assert n_batches == 20
    assert read == [MetricPoint(k, v, s, s) for s in range(10_000) for k, v in (("a", s), ("b", -s))]
    assert read_points(path, offset + 1)[0][0].step == 0  # an offset beyond the end: the file was replaced


def test_one_writer_at_a_time(tmp_path):
    with MetricJournal(tmp_path / "m.jsonl"), pytest.raises(InputError, match="in use"):
        MetricJournal(tmp_path / "m.jsonl")
    MetricJournal(tmp_path / "m.jsonl").close()


def _log_in_child(journal):
    os._exit(journal.log({"a": 1.0}, 1))


def test_a_forked_child_writes_nothing(tmp_path):
    with MetricJournal(tmp_path / "m.jsonl") as journal:
        child = multiprocessing.get_context("fork").Process(target=_log_in_child, args=(journal,))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert journal.size == (tmp_path / "m.jsonl").stat().st_size == 0


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    path = tmp_path / "m.jsonl"
    with MetricJournal(path) as journal:
        journal.log({"a": 1.0}, 1)
        write = os.write
        monkeypatch.setattr("pipelines.tracking.journal.os.write", lambda fd, line: write(fd, line[:7]))
        with pytest.raises(OSError, match="disk full"):
            journal.log({"a": 2.0}, 2)
        monkeypatch.undo()
        assert journal.log({"a": 2.0}, 2) == 1
    assert [point.step for point in read_points(path)[0]] == [1, 2]


def test_spool_state_survives_and_unknown_keys_do_not_hurt(tmp_path):
    spool = Spool(tmp_path)
    spool.state.run_id = "abc"
    spool.save(durable=True)
    values = json.loads(spool.path.read_text())
    spool.path.write_text(json.dumps({**values, "of_a_later_version": 1}))
    again = Spool(tmp_path)
    assert (again.state.run_id, again.state.token) == ("abc", spool.state.token)


def test_a_damaged_spool_is_set_aside(tmp_path):
    (tmp_path / "tracking.json").write_text("{")
    assert Spool(tmp_path).state.run_id is None
    assert (tmp_path / "tracking.json.damaged").read_text() == "{"


def test_files_are_mirrored_and_shipped_when_they_changed(tmp_path):
    spool = Spool(tmp_path / "run")
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "a.png").write_bytes(b"a")
    (tmp_path / "plots" / "deep" / "b.png").write_bytes(b"b")
    assert spool.put_file(tmp_path / "plots") == ["plots/a.png", "plots/deep/b.png"]
    assert spool.put_text("hello", "notes/x.txt") == "notes/x.txt"
    assert spool.put_file(spool.artifacts / "notes" / "x.txt") == ["notes/x.txt"]  # it lies there already
    assert sorted(spool.unshipped_files()) == ["notes/x.txt", "plots/a.png", "plots/deep/b.png"]
    with pytest.raises(InputError):
        spool.put_text("x", "../outside.txt")
