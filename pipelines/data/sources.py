"""Which files make up a data set: one file, a folder of them, hive-partitioned folders, or a glob.

A folder ``site=a`` says that all rows of the files below it have the value ``a`` in a column ``site`` that the files need not hold. Values
are whole numbers where all of them are, else text; ``__HIVE_DEFAULT_PARTITION__`` is no value.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import unquote

from orchestrator.errors import ConfigError, DataError, nearest

EXTENSIONS = (".parquet", ".csv", ".arrow", ".feather", ".ipc")
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png")

_PARTITION = re.compile(r"([^=/]+)=(.*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class SourceFile:
    """A file of a data set.

    Attributes:
        path: of the file.
        partitions: (column, value) that the names of its folders give; the same columns for all files of a data set.
        texts: those of these columns that hold text in the data set, though this file's value may be none.
    """

    path: Path
    partitions: tuple[tuple[str, int | str | None], ...] = ()
    texts: tuple[str, ...] = ()


def find_files(path: str | Path) -> list[SourceFile]:
    """The files that make up `path`, in the order of their paths.

    Raises:
        ConfigError: there is no such file or folder, or it is of no known kind.
        DataError: a folder holds no data file, several kinds of them, or sub-folders that are no ``key=value``.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _partitioned(path, _files_of(path))
    if path.exists():
        if path.suffix.lower() not in EXTENSIONS:
            problem = f"unknown extension {path.suffix!r}; known: {', '.join(EXTENSIONS)}, or a folder of such files"
            raise ConfigError("data.path", str(path), problem, nearest(path.suffix, EXTENSIONS))
        return [SourceFile(path)]
    if not _GLOB.search(str(path)):
        raise _missing(path)
    found = sorted(
        Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).suffix.lower() in EXTENSIONS
    )
    if not found:
        raise ConfigError("data.path", str(path), f"matches no {', '.join(EXTENSIONS)} file")
    _check_one_kind(path, found)
    return _partitioned(_fixed_part(path), found)


def _files_of(folder: Path) -> list[Path]:
    """The visible data files below a folder; its Parquet files, where there are some."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in EXTENSIONS and file.is_file() and _is_visible(file.relative_to(folder))
    )
    parquet = [file for file in files if file.suffix.lower() == ".parquet"]
    files = parquet or files
    if not files:
        images = next((each for each in folder.glob("*/*") if each.suffix.lower() in IMAGE_EXTENSIONS), None)
        hint = (
            ""
            if images is None
            else f"; {images.relative_to(folder)} is an image: set data.image_size, e.g. 8"
        )
        raise DataError(
            f"{folder}: is a folder without any .parquet file, or {', '.join(EXTENSIONS[1:])}{hint}"
        )
    _check_one_kind(folder, files)
    for file in files:
        for name in file.relative_to(folder).parts[:-1]:
            if not _PARTITION.fullmatch(name):
                raise DataError(
                    f"{file}: lies in a sub-folder {name!r}, which is no key=value of a partitioned data set; "
                    "keep all files in one folder, or give a glob"
                )
    return files


def _is_visible(path: PurePath) -> bool:
    return not any(part.startswith((".", "_")) for part in path.parts)


def _check_one_kind(where: Path, files: Sequence[Path]) -> None:
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1 and (".csv" in kinds or ".parquet" in kinds):
        glob_of_one = where / f"*{kinds[0]}" if where.is_dir() else Path(f"{where}{kinds[0]}")
        raise ConfigError(
            "data.path", str(where), f"holds files of several kinds: {', '.join(kinds)}", str(glob_of_one)
        )


def _fixed_part(pattern: Path) -> Path:
    """The folder of a glob below which its wildcards begin."""
    fixed: list[str] = []
    for part in pattern.parts:
        if _GLOB.search(part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def _partitioned(root: Path, files: Sequence[Path]) -> list[SourceFile]:
    """The files, with the columns that the names of their folders below `root` give."""
    named = [_pairs(file.relative_to(root).parts[:-1]) for file in files]
    keys = [key for key, _ in named[0]]
    for file, pairs in zip(files, named, strict=True):
        if [key for key, _ in pairs] != keys:
            raise DataError(
                f"{file}: is partitioned by {_listed(key for key, _ in pairs)}, but {files[0]} by {_listed(keys)}"
            )
    if len(set(keys)) < len(keys):
        raise DataError(f"{files[0]}: is partitioned by the same key twice: {_listed(keys)}")
    whole = [all(_is_whole(pairs[index][1]) for pairs in named) for index in range(len(keys))]
    texts = tuple(key for key, is_whole in zip(keys, whole, strict=True) if not is_whole)
    return [
        SourceFile(
            file,
            tuple(
                (key, None if text == _NO_VALUE else int(text) if is_whole else text)
                for (key, text), is_whole in zip(pairs, whole, strict=True)
            ),
            texts,
        )
        for file, pairs in zip(files, named, strict=True)
    ]


def _pairs(folders: Iterable[str]) -> list[tuple[str, str]]:
    matches = (_PARTITION.fullmatch(name) for name in folders)
    return [(unquote(match[1]), unquote(match[2])) for match in matches if match]


def _is_whole(text: str) -> bool:
    """Whether it is a whole number as Python would write it ('007' is a name), or no value."""
    return text == _NO_VALUE or (re.fullmatch(r"-?\d{1,18}", text) is not None and str(int(text)) == text)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(repr(key) for key in keys) or "nothing"


def _missing(path: Path) -> ConfigError:
    if not path.parent.is_dir():
        return ConfigError("data.path", str(path), f"no such file, and no folder {str(path.parent)!r}")
    close = nearest(path.name, (p.name for p in path.parent.iterdir()))
    return ConfigError("data.path", str(path), "no such file", str(path.with_name(close)) if close else None)
