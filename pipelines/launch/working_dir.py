"""The folder that a job gets a copy of: what is left out of it, and whether it is larger than it should be."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from orchestrator.errors import ConfigError

EXCLUDES = (
    ".git", ".venv", "runs", "mlflow.db*", "mlruns", "mlartifacts", "spool", "outputs", "build", "dist", "__pycache__", "*.egg-info",
    ".*_cache", ".env*", "*.nbi", "*.nbc",
)  # fmt: skip
"""What no job needs, and what may be private; as in cluster.yaml. What git ignores is left out beside it."""

LARGE_BYTES = 100_000_000
"""From here on a warning; Ray itself refuses an archive of 512 MiB."""


def size_warning(folder: Path, excludes: tuple[str, ...]) -> str | None:
    """What to say of a folder whose files, less the excluded, are larger than they should be; else None."""
    sizes: Counter[str] = Counter()
    for path in files_of(folder, excludes):
        try:
            sizes[Path(path).parts[0]] += (folder / path).stat().st_size
        except OSError:  # gone meanwhile
            continue
    total = sizes.total()
    if total < LARGE_BYTES:
        return None
    largest = ", ".join(f"{name} {_megabytes(size)}" for name, size in sizes.most_common(3))
    return (
        f"the working directory {folder} holds {_megabytes(total)} to upload ({largest}); leave out what the job does not need "
        "with --exclude or .gitignore"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def is_excluded(path: Path, excludes: tuple[str, ...]) -> str | None:
    """The pattern that leaves `path` (relative to the folder) out, or None."""
    for pattern in excludes:
        wanted = pattern.strip("/")
        if fnmatch(path.as_posix(), wanted) or any(fnmatch(part, wanted) for part in path.parts):
            return pattern
    return None


def checked_folder(given: str) -> Path:
    """The working directory.

    Raises:
        ConfigError: no such folder.
    """
    folder = Path(given).absolute()
    if not folder.is_dir():
        raise ConfigError("--working-dir", given, "no such folder", str(Path.cwd()))
    return folder


def checked_file(key: str, given: str, folder: Path, excludes: tuple[str, ...]) -> str:
    """A file that the job reads, as it will find it: relative to its copy of `folder`.

    Raises:
        ConfigError: it lies outside, or is left out of the copy.
    """
    path = Path(given).absolute()
    if not path.is_relative_to(folder):
        near = folder / path.name
        raise ConfigError(
            key,
            given,
            f"the job gets a copy of {folder} and nothing beside it",
            str(near) if near.exists() else None,
        )
    inside = path.relative_to(folder)
    if pattern := is_excluded(inside, excludes):
        raise ConfigError(key, given, f"is left out of what the job gets ({pattern!r})", path.name)
    return inside.as_posix()


def files_of(folder: Path, excludes: tuple[str, ...]) -> tuple[str, ...]:
    """The files that go, relative to `folder`: what git does not ignore, all where it is no repository, less the excluded."""
    paths = _tracked(folder) or _walked(folder, excludes)
    return tuple(sorted(path.as_posix() for path in paths if is_excluded(path, excludes) is None))


def _tracked(folder: Path) -> list[Path]:
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return []
    return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]


def _walked(folder: Path, excludes: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        here = Path(parent).relative_to(folder)
        folders[:] = [name for name in folders if is_excluded(here / name, excludes) is None]
        found += [here / name for name in names]
    return found
