"""Logs as JSON lines: what a line holds, whose lines go where, and that the console is left as it was."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from actors.json_log import JsonLog, log_context, log_fields
from orchestrator.redaction import Redactor

LOGGER = logging.getLogger("actors.somewhere")


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_and_where() -> None:
    stream = io.StringIO()
    with JsonLog(stream, {"run": "r", "step": 3}, Redactor("http://ann:hunter2@h")), log_context(job="j"):
        LOGGER.info("to %s\nand on", "http://bob:pass-word@h", extra={"worker": "actor-1"})
        LOGGER.debug("too little")
        logging.getLogger("elsewhere").warning("not ours")
        try:
            raise ValueError("hunter2")
        except ValueError:
            LOGGER.exception("failed")
    LOGGER.info("after its end")
    first, second = lines_of(stream)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO", "logger": "actors.somewhere", "message": "to http://***@h\nand on",
        "run": "r", "step": 3, "job": "j", "worker": "actor-1",
    }  # fmt: skip
    assert second["error"].endswith("ValueError: ***")
    assert "Traceback" in second["error"]


def test_runs_side_by_side_write_their_own_lines(tmp_path: Path) -> None:
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        with log_context(run=name), JsonLog(tmp_path / "logs" / name, {"run": name}):
            barrier.wait()
            LOGGER.info("of %s", name)
            barrier.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        [line] = (tmp_path / "logs" / name).read_text(encoding="utf-8").splitlines()
        assert (json.loads(line)["message"], json.loads(line)["run"]) == (f"of {name}", name)


def test_levels_and_handlers_are_put_back() -> None:
    ours = [logging.getLogger(name) for name in ("orchestrator", "actors", "pipelines")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in ours]
    first, second = JsonLog(io.StringIO()), JsonLog(io.StringIO())
    first.close()
    first.close()
    assert ours[0].handlers != before[0][2]
    second.close()
    assert [(logger.level, logger.propagate, list(logger.handlers)) for logger in ours] == before


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with JsonLog(Full(), is_beside=False):
        LOGGER.info("lost")


def test_a_message_that_does_not_fit_its_arguments_is_told_and_no_harm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    with JsonLog(stream, is_beside=False):
        LOGGER.info("%d jobs", "many")
        LOGGER.info("goes on")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["goes on"]
    assert "%d jobs" in capsys.readouterr().err


def test_a_name_that_is_no_text_does_not_lose_its_line(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log", is_beside=False):
        LOGGER.info("cannot read %s", os.fsdecode(b"caf\xe9.csv"))
    [line] = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["message"].startswith("cannot read caf")


def test_the_context_nests_and_travels() -> None:
    with log_context(run="r", job="a"):
        with log_context(job="b"):
            assert log_fields() == {"run": "r", "job": "b"}
        assert log_fields() == {"run": "r", "job": "a"}
    assert log_fields() == {}


SAY = """
import logging, sys
{setup}
from actors.json_log import JsonLog
def say():
    for name in ("pipelines.x", "actors.ray_fleet", "orchestrator"):
        for level in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger(name), level)("%s of %s", level, name)
if sys.argv[1] == "with":
    with JsonLog(open("/dev/null", "w")):
        say()
else:
    say()
"""


@pytest.mark.parametrize(
    "setup",
    [
        "",  # Python's last resort: warnings on stderr
        "logging.basicConfig(level=logging.WARNING)",
        "logging.basicConfig(level=logging.INFO)",
        "logging.basicConfig(); logging.getLogger('actors.ray_fleet').setLevel(logging.DEBUG)",
        "logging.getLogger('pipelines').setLevel(logging.ERROR); logging.getLogger('actors').addHandler(logging.StreamHandler())",
    ],
)
def test_the_console_shows_what_it_showed(setup: str) -> None:
    shown = [
        subprocess.run(
            [sys.executable, "-c", SAY.format(setup=setup), how], capture_output=True, text=True, check=True
        ).stderr
        for how in ("without", "with")
    ]
    assert shown[0] == shown[1]
    assert "error of orchestrator" in shown[0]


def test_what_has_been_shown_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with JsonLog(stream):
        LOGGER.error("shown by the command", extra={"is_shown": True})
        LOGGER.error("new")
    assert caplog.messages == ["new"]
    assert len(lines_of(stream)) == 2


def test_a_line_that_was_torn_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text('{"message": "whole"}\n{"messa')
    with JsonLog(path):
        LOGGER.warning("after")
    whole, torn, after = path.read_text().splitlines()
    assert (json.loads(whole)["message"], torn) == ("whole", '{"messa')
    assert json.loads(after)["message"] == "after"
