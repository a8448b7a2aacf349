"""Where a run comes from: commit, job, machine and versions; and how credentials are kept out of all of it."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

PACKAGES = (
    "qfleet",
    "cirq-core",
    "cirq-ionq",
    "mlflow",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "ray",
    "scikit-learn",
    "scipy",
)
# Settings that change speed or results; none of them can hold a credential.
_ENVIRONMENT = re.compile(
    r"^(OMP|MKL|OPENBLAS|NUMBA)_NUM_THREADS$|^PYTHONHASHSEED$|^CUDA_VISIBLE_DEVICES$|^CI$"
)
# Up to the last @ of the word: a password may hold an @ or a / itself. Masking too much is the safe side.
_USERINFO = re.compile(r"(?<=://)[^\s'\"<>]+@")
_QUERY_SECRET = re.compile(
    r"([?&;](?:\w*(?:password|passwd|pwd|token|secret|api_?key|credential)\w*)=)[^&;\s'\"]*", re.I
)


class Redactor:
    """Takes credentials out of any text: those of the given URIs wherever they occur, and of every URI by its form.

    >>> Redactor("https://ann:hunter2@host/x")("cannot reach https://ann:hunter2@host/x, hunter2")
    'cannot reach https://***@host/x, ***'
    """

    def __init__(self, *uris: str | None) -> None:
        found: set[str] = set()
        for uri in uris:
            for userinfo in re.findall(r"://([^\s'\"<>]+)@", uri or ""):
                found |= {userinfo, unquote(userinfo)}
                found |= {part for text in (userinfo, unquote(userinfo)) for part in text.split(":", 1)[1:]}
            for match in _QUERY_SECRET.finditer(uri or ""):
                found.add(match.group(0).removeprefix(match.group(1)))
        # A very short one would blot out parts of ordinary words; its URI is still masked by form.
        self.secrets = tuple(sorted((each for each in found if len(each) >= 4), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """`text` without them."""
        text = redact_uri(text)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    @property
    def mask(self) -> tuple[bytes, ...]:
        """The same as bytes, for files."""
        return tuple(secret.encode() for secret in self.secrets)


def redact_uri(text: str) -> str:
    """`text` with ``user:password@`` of every URI, and passwords and tokens of queries, replaced by ``***``."""
    return _QUERY_SECRET.sub(r"\1***", _USERINFO.sub("***@", text))


def git_commit(folder: str | Path | None = None) -> tuple[str, bool] | None:
    """Commit of the working tree that `folder` (by default: this package) is the root of, and whether it was changed.

    None where there is no such tree: an installed package that merely lies inside someone else's repository has no commit.
    """
    root = Path(folder).resolve() if folder else Path(__file__).resolve().parents[2]
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root:
        return None
    return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed version by distribution name, without importing anything."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def ray_submission_id() -> str | None:
    """Id of the Ray job that this process is the driver of (``ray job submit``); None outside one."""
    try:
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", ""))["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(job)


def provenance_tags(backend: str | None = None) -> dict[str, str]:
    """MLflow tags: who, what program, which commit, which Ray job, which versions."""
    job = ray_submission_id()
    tags = {
        "mlflow.source.name": Path(sys.argv[0] if sys.argv else "").name or "python",
        "mlflow.source.type": "JOB" if job else "LOCAL",
        "qfleet.version": versions(("qfleet",)).get("qfleet", "unknown"),
        "qfleet.python": platform.python_version(),
    }
    if user := _user():
        tags["mlflow.user"] = user
    if found := git_commit():
        tags["mlflow.source.git.commit"] = found[0]
        tags["git.commit"] = found[0]
        tags["git.dirty"] = str(found[1]).lower()
    if job:
        tags["ray.job_id"] = job
    if backend:
        tags["backend"] = backend
    return tags


def environment_text() -> str:
    """A text from which the machine and the installation can be told apart from others, and the latter rebuilt."""
    commit = git_commit()
    lines = [
        f"python {platform.python_version()} ({platform.python_implementation()})",
        f"platform {platform.platform()}",
        f"machine {platform.machine()}, {os.cpu_count()} CPUs{_memory()}",
        f"qfleet commit {commit[0] + (' (changed)' if commit[1] else '') if commit else 'not from a repository'}",
    ]
    lines += [f"{name}={os.environ[name]}" for name in sorted(os.environ) if _ENVIRONMENT.match(name)]
    return "\n".join([*lines, "", "# installed distributions", *_distributions(), ""])


def _distributions() -> list[str]:
    names = {
        f"{each.metadata['Name']}=={each.version}"
        for each in importlib.metadata.distributions()
        if each.metadata["Name"]
    }
    return sorted(names, key=str.lower)


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB memory"
    except (ValueError, OSError):
        return ""


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
