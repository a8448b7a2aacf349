"""StudyFolder: one study on disk.

::

    runs/<name>/study.json     which kind of study, what it asks, and of which configuration
    runs/<name>/members/       its trainings, each a run's folder: ``qfleet evaluate <name>/members/<member>``
    runs/<name>/report.md      what came out of it, once it has ended; report.json: for machines
    runs/<name>/artifacts/     plots and tables, as they are at MLflow
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, InputError, nearest
from orchestrator.redaction import redact_uri
from pipelines.display.formatting import from_here
from pipelines.run_folder import RunFolder

FORMAT = 1
KINDS: dict[str, str] = {
    "tune": "pipelines.tune.command",
    "benchmark-source": "pipelines.benchmark.source_configs",
    "compare": "pipelines.compare.command",
    "finetune": "pipelines.finetune.command",
    "federated": "pipelines.federated.command",
    "continual": "pipelines.continual.command",
    "examples": "pipelines.example_store.study",
    "hybrid": "pipelines.hybrid.command",
}
"""Kind of a study -> the module that runs it, and resumes it by ``resume(folder, options)``."""


class StudyFolder:
    """One study's folder; see the module for its layout."""

    def __init__(self, path: Path) -> None:
        self._folder = RunFolder(path)  # files are written, and the folder is locked, as a run's is
        self.path = self._folder.path
        self.name = self.path.name
        self.lock, self.unlock = self._folder.lock, self._folder.unlock
        self.write_json, self.read_json = self._folder.write_json, self._folder.read_json
        self._given: TrainingConfig | None = (
            None  # with the credentials of its tracking URI, which no file holds
        )

    @classmethod
    def create(
        cls,
        kind: str,
        config: TrainingConfig,
        asks: Mapping[str, Any],
        *,
        directory: str | Path,
        name: str | None,
    ) -> StudyFolder:
        """A new folder.

        Args:
            kind: of `KINDS`.
            config: what the trainings have in common.
            asks: what else the kind needs to be resumed, as plain values.
            name: of the study; None: after its kind and the time.

        Raises:
            InputError: a study or a run of that name is there, or the folder cannot be made.
        """
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise InputError(f"a study cannot be called {name!r}: letters, digits, '.', '_' and '-' only")
        parent = Path(directory)
        stem = name or f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = [stem] if name else [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
        for each in names:
            path = parent / each
            if (path / "study.json").exists() or (path / "config.toml").exists():
                continue
            try:
                (path / "members").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{path}: {error}") from None
            study = cls(path)
            if study._is_claimed(kind, config, asks):
                return study
        raise InputError(
            f"{parent / stem} exists; continue it with 'qfleet resume {stem}' or choose another name"
        )

    def _is_claimed(self, kind: str, config: TrainingConfig, asks: Mapping[str, Any]) -> bool:
        """Write what it asks; False where another process that was started together with this one has done so."""
        try:
            self.lock()
        except InputError:
            return False
        try:
            if (self.path / "study.json").exists():
                return False
            values = config.to_dict()
            if config.tracking.uri is not None:
                values["tracking"]["uri"] = redact_uri(config.tracking.uri)
            content = {"format": FORMAT, "kind": kind, "asks": dict(asks), "config": values}
            self.write_json("study.json", content)
            self._given = config
        finally:
            self.unlock()
        return True

    @classmethod
    def find(cls, name: str, directory: str | Path = "runs") -> StudyFolder | None:
        """The study of that name under `directory`, or at that path; None where there is none."""
        for path in (Path(name), Path(directory) / name):
            if (path / "study.json").is_file():
                return cls(path)
        return None

    @property
    def kind(self) -> str:
        """One of `KINDS`.

        Raises:
            CheckpointError: study.json is damaged, or of another version of qfleet.
        """
        kind, known = self._content().get("kind"), sorted(KINDS)
        if kind not in known:
            close = nearest(str(kind), known)
            hint = f"; nearest: {close!r}" if close else ""
            raise CheckpointError(f"{self.path / 'study.json'}: kind {kind!r} is not known here{hint}")
        return str(kind)

    @property
    def asks(self) -> dict[str, Any]:
        """What the kind needs beside the configuration."""
        return dict(self._content()["asks"])

    @property
    def config(self) -> TrainingConfig:
        """What its trainings have in common; read from the disk, without the credentials that the tracking URI may have had."""
        return self._given or TrainingConfig.from_dict(self._content()["config"])

    @property
    def handle(self) -> str:
        """What `find` knows it by from the working directory."""
        return self.name if self.path.parent == Path("runs").absolute() else from_here(self.path)

    @property
    def members(self) -> Path:
        """Where the folders of its trainings are."""
        return self.path / "members"

    @property
    def artifacts(self) -> Path:
        """Folder of plots and tables, made if absent."""
        return self._folder.artifacts

    def report(self) -> dict[str, Any] | None:
        """What came out of it; None where it has not ended."""
        try:
            return self.read_json("report.json")
        except CheckpointError:
            return None

    def _content(self) -> dict[str, Any]:
        content = self.read_json("study.json")
        if content.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.path / 'study.json'}: format {content.get('format')!r}, this version of qfleet reads {FORMAT}"
            )
        return content
