"""The part of qfleet's own code that predicts, shipped with every logged model: qfleet is on no package index.

One archive, since a server takes files one by one. `pyfunc_model` unpacks it where qfleet is not installed.
"""

from __future__ import annotations

import ast
import functools
import zipfile
from pathlib import Path

CODE_FILE = "qfleet_code.zip"

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("orchestrator", "actors", "pipelines")
_ENTRY = "pipelines.predictor"
_WHOLE = "orchestrator"
"""Its registry names modules in strings, and it imports no other package of ours."""
_DIGESTED = "actors/simulation"
"""All of it: the cache of compiled kernels goes by a digest of its sources."""


def write_code(path: Path) -> Path:
    """Write the archive: the modules that `pipelines.predictor` may import, at the same places as here. Equal code, equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in code_files():
            about = zipfile.ZipInfo(name)  # without the time of the file
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(about, (_ROOT / name).read_bytes())
    return path


@functools.cache
def code_files() -> tuple[str, ...]:
    """Relative paths of the files, in order."""
    whole = [
        *(_ROOT / _WHOLE).rglob("*.py"),
        *(_ROOT / _WHOLE).rglob("*.toml"),
        *(_ROOT / _DIGESTED).rglob("*.py"),
    ]
    found, waiting = set(whole), [path for path in whole if path.is_relative_to(_ROOT / "actors")]
    waiting += _files_of(_ENTRY)
    while waiting:
        path = waiting.pop()
        found.add(path)
        if (
            path.name != "__init__.py"
        ):  # what a package offers is imported when it is asked for, and then by its own name
            waiting += [each for each in _imported_by(path) if each not in found]
    return tuple(sorted(path.relative_to(_ROOT).as_posix() for path in found))


def _imported_by(path: Path) -> list[Path]:
    """Files of our packages that the imports of a file name, those within functions included."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [file for name in names if name.partition(".")[0] in _PACKAGES for file in _files_of(name)]


def _files_of(module: str) -> list[Path]:
    """The file of a module and those of the packages it is in; only the latter where the name is of no module."""
    parts = module.split(".")
    files = [_ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    files.append(_ROOT.joinpath(*parts).with_suffix(".py"))
    return [file for file in files if file.is_file()]
