"""The code of a Markdown page: its fenced blocks, and running them from the top to the bottom as a reader would.

    run_page(ROOT / "docs" / "page.md", tmp_path)                     # all Python blocks, in one namespace
    for block in code_blocks(path, "bash"):
        run_commands(block)                                           # its qfleet commands, in this process
    run_blocks(code_blocks(path), tmp_path)                           # Python, files and commands, in the page's order

A block whose first line is a comment that names a file (``# small.toml``, ``# my_rules.py``) is that file: it is written, and not run.

A block whose fence says more than the language, as in ```` ```python no-run ````, belongs to no language asked for, and is not run.
An error has the page and the line: in its traceback, and as the last line of what pytest prints of it.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from matplotlib.figure import Figure

_FILE = re.compile(r"# (?P<name>[\w-]+\.(?:toml|py|csv|json))")
_WRITTEN = ("python", "toml", "csv", "json")
"""Languages of blocks that may be files."""
_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>```+|~~~+)(?P<info>.*)$")


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        path: of the page. line: of its first line of code, counted from 1.
        info: what the opening fence says, e.g. "python".
        code: without the fence's indentation, with a newline at its end.
        heading: the nearest heading above it, without its marks. section: the nearest one of the second level, ``##``.
    """

    path: Path
    line: int
    info: str
    code: str
    heading: str
    section: str

    @property
    def file_name(self) -> str | None:
        """Of the file that it is, if its first line says so."""
        match = _FILE.fullmatch(self.code.partition("\n")[0].strip())
        return match["name"] if match else None

    @property
    def place(self) -> str:
        """Where it is, as `file:line`."""
        return f"{self.path.name}:{self.line}"


def code_blocks(path: Path, language: str | None = None) -> tuple[Block, ...]:
    """The fenced blocks of a page, in order: those whose fence says just `language`; all of them for None.

    Raises:
        ValueError: a fence is never closed.
    """
    return tuple(block for block in _blocks(path) if language is None or block.info == language)


def _blocks(path: Path) -> Iterator[Block]:
    heading, section, opening, lines, first = "", "", None, [], 0
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _FENCE.match(text)
        if opening is None:
            if match:
                opening, lines, first = match, [], number + 1
            elif text.startswith("#"):
                heading = text.lstrip("#").strip()
                if text.startswith("## "):
                    section = heading
        elif match and match["fence"].startswith(opening["fence"]) and not match["info"].strip():
            code = "".join(f"{line}\n" for line in lines)
            yield Block(path, first, opening["info"].strip(), code, heading, section)
            opening = None
        else:
            lines.append(text.removeprefix(opening["indent"]))
    if opening is not None:
        raise ValueError(f"{path}:{first - 1}: this fence is never closed")


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block of Python in `namespace`, whatever folder this process is in.

    Raises:
        SyntaxError, and whatever the code raises, with a note that says where on the page.
    """
    namespace.setdefault("__name__", "__main__")
    try:
        code = "\n" * (block.line - 1) + block.code  # so that tracebacks have the lines of the page
        exec(compile(code, str(block.path), "exec"), namespace)
    except BaseException as error:
        error.add_note(f"in the block at {block.path}:{_line_of(error, block)}")
        raise


def run_page(
    path: Path, folder: Path, namespace: dict[str, Any] | None = None, language: str = "python"
) -> dict[str, Any]:
    """Run all blocks of a page, the top one first, in one namespace, in `folder`.

    Returns: the namespace, with what the blocks have made.
    """
    return run_blocks(code_blocks(path, language), folder, namespace)


def run_blocks(
    blocks: Iterable[Block], folder: Path, namespace: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run some blocks, one after the other, in `folder`: Python in one namespace, the `qfleet` commands of ``bash`` in this process;
    blocks that are files are written there. Blocks of other languages are left alone."""
    names: dict[str, Any] = {} if namespace is None else namespace
    with contextlib.chdir(folder):
        for block in blocks:
            if _is_written(block):
                continue
            if block.info == "python":
                run_block(block, names)
            elif block.info == "bash":
                run_commands(block)
    return names


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings and studies of this process make no pictures: they would take half of a small one's time, and are tested elsewhere."""
    monkeypatch.setattr("pipelines.artifacts._draw", lambda *arguments, **named: [])
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())


def _is_written(block: Block) -> bool:
    """Write a block that is a file into the present folder; False for any other."""
    if block.info not in _WRITTEN or block.file_name is None:
        return False
    Path(block.file_name).write_text(block.code, encoding="utf-8")
    return True


def commands_of(block: Block) -> list[tuple[int, list[str]]]:
    """The commands of a block of shell: (line on the page, words) of each, without comments; a backslash continues a line.

    Raises:
        ValueError: a quotation is never closed; its text names the line.
    """
    commands, pending, started = [], "", block.line
    for number, text in enumerate(block.code.splitlines(), start=block.line):
        if not pending:
            started = number
        if text.rstrip().endswith("\\"):
            pending += text.rstrip()[:-1] + " "
            continue
        try:
            words = shlex.split((pending + text).removeprefix("$ "), comments=True)
        except ValueError as error:
            raise ValueError(f"{block.path}:{started}: {error}") from None
        pending = ""
        if words:
            commands.append((started, words))
    return commands


def run_commands(block: Block, expect: int = 0, arguments: Iterable[str] = ()) -> None:
    """Run the `qfleet` commands of a block in this process, in its present folder; each must end with exit code `expect`.

    Args:
        arguments: put behind those of every command.

    Raises:
        AssertionError: a command ended otherwise, or is not one of qfleet's; its text names the line.
    """
    from pipelines.cli import main

    for line, words in commands_of(block):
        assert words[0] == "qfleet", f"{block.path}:{line}: not a command of qfleet: {shlex.join(words)}"
        try:
            code = main([*words[1:], *arguments])
        except SystemExit as ended:  # argparse's
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException as error:
            error.add_note(f"in the command at {block.path}:{line}")
            raise
        assert code == expect, f"{block.path}:{line}: exit code {code}: {shlex.join(words)}"


Run = Callable[[Sequence[str]], str]
"""Runs a command, given as words; returns what it printed on both streams."""


def follow(
    path: Path, folder: Path, run: Run | None = None, namespace: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Do what a page says from the top to the bottom, in `folder`, and hold what it shows against what is printed.

    A block of Python or TOML that begins with its file's name (``# my_part.py``) is written there; other Python is run, in one namespace;
    the commands of a block of bash are run. A block without a language that follows one that was run is what it prints: its lines
    must come in their order, whatever is printed between them, and ``...`` stands for anything in a line. Other blocks are left alone,
    so what begins with ``$`` and has no language is only to be read.

    Args:
        run: a command; None: one of qfleet's, in this process.

    Raises:
        AssertionError: a line that is shown was not printed, and whatever the code raises; the text, or a note, names the line of the page.
    """
    names: dict[str, Any] = {} if namespace is None else namespace
    printed: str | None = None
    with contextlib.chdir(folder):
        for block in code_blocks(path):
            if _is_written(block):
                printed = None
            elif block.info == "python":
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    run_block(block, names)
                printed = out.getvalue()
            elif block.info == "bash":
                printed = "".join((run or _in_this_process)(words) for _, words in commands_of(block))
            elif block.info == "" and not block.code.startswith("$ ") and printed is not None:
                check_shown(block, printed)
                printed = None
            else:
                printed = None
    return names


def check_shown(block: Block, printed: str) -> None:
    """Hold the lines of a block against what was printed.

    Raises:
        AssertionError: a line is not there, or not behind the one before; the text names it, and has what was printed.
    """
    lines = iter(printed.splitlines())
    for number, shown in enumerate(block.code.splitlines(), start=block.line):
        if shown.strip() in ("", "..."):
            continue
        wanted = ".*".join(re.escape(part.strip()) for part in re.split(r"\.\.\.|…", shown))
        is_there = any(re.fullmatch(rf"\s*{wanted}\s*", line) for line in lines)
        assert is_there, f"{block.path}:{number}: not printed: {shown!r}\nin:\n{printed}"


def _in_this_process(words: Sequence[str]) -> str:
    from pipelines.cli import main

    assert words[0] == "qfleet", f"not a command of qfleet: {shlex.join(words)}"
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
        code = main(list(words[1:]))
    assert code == 0, f"exit code {code}: {shlex.join(words)}\n{text.getvalue()}"
    return text.getvalue()


def _line_of(error: BaseException, block: Block) -> int:
    """The line of the page where `error` came about, as nearly as its traceback says."""
    if (
        isinstance(error, SyntaxError)
        and error.filename == str(block.path)
        and error.__traceback__ is not None
    ):
        return error.lineno or block.line
    line, trace = block.line, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(block.path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
