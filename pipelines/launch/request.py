"""What ``qfleet submit`` sends, decided here: which command, with which environment, under which id. Pure but for reading files.

The id follows from the content, so that a client that lost the answer and submits again finds its job instead of starting a second one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from actors.cluster_jobs import COMMAND_KEY, DIRECTORY_KEY, RUN_KEY, VERSIONS_KEY, JobRequest
from actors.ionq.errors import KEY_VARIABLES
from orchestrator.config import TrainingConfig, read_toml
from orchestrator.errors import ConfigError, InputError, nearest
from orchestrator.redaction import redact_uri
from pipelines.cli import parsed
from pipelines.launch.arguments import SUBMITTABLE
from pipelines.launch.start import own_versions
from pipelines.launch.working_dir import EXCLUDES, checked_file, checked_folder, files_of
from pipelines.tracking.fetched_model import is_model_uri

_MLFLOW = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"  # read by Ray's supervisor of the job
_OPEN_VARIABLES = ("MLFLOW_TRACKING_URI", _STOP_WAIT)
_FILE_OPTIONS = ("then", "space")
"""Options that may name a TOML file, which must go with the job."""
_COPY = "a job runs in a copy of the working directory that goes with it; what should stay needs an absolute path on the cluster"


@dataclass(frozen=True)
class Plan:
    """A command as a job; `request` gives what is sent.

    Attributes:
        command, arguments: as after ``qfleet``, files named as the job finds them.
        digest: of the content, hexadecimal.
        run: name of the run that the job makes or goes on with; of the data, where it makes none.
        is_named: whether the user gave that name, or a run of that name is there.
        directory: absolute folder of the runs on the cluster; None where the command has none.
        makes_study: it makes a study of several runs, and not one.
    """

    command: str
    arguments: tuple[str, ...]
    digest: str
    run: str
    is_named: bool
    directory: str | None
    folder: Path
    excludes: tuple[str, ...]
    env_vars: Mapping[str, str] = field(repr=False)
    makes_study: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the variables that were taken from this shell and may be secret."""
        return tuple(name for name in self.env_vars if name not in _OPEN_VARIABLES)

    def id(self, attempt: int = 1) -> str:
        """The job's id; the second attempt and those after it have ids of their own."""
        return f"qfleet-{self.command}-{self.run}-{self.digest[:8]}" + (f"-{attempt}" if attempt > 1 else "")

    def run_name(self, attempt: int = 1) -> str:
        """The run's name. A name made up here is made up anew for each attempt: a run of the old one may be there."""
        if self.is_named:
            return self.run
        return f"{self.run}-{self.digest[:8]}" + (f"-{attempt}" if attempt > 1 else "")

    def request(self, attempt: int = 1) -> JobRequest:
        """What is sent."""
        arguments = list(self.arguments)
        if self.command == "train" and not self.is_named:
            arguments += ["--set", f"run.name={self.run_name(attempt)}"]
        elif self.makes_study and not self.is_named:
            arguments += ["--name", self.run_name(attempt)]
        metadata = {
            COMMAND_KEY: self.command,
            RUN_KEY: self.run_name(attempt),
            VERSIONS_KEY: json.dumps(own_versions()),
        }
        if self.directory is not None:
            metadata[DIRECTORY_KEY] = self.directory
        return JobRequest(
            id=self.id(attempt),
            entrypoint=shlex.join(["python", "-m", "pipelines.launch.start", self.command, *arguments]),
            working_dir=str(self.folder),
            files=files_of(self.folder, self.excludes),
            env_vars=self.env_vars,
            metadata=metadata,
        )


def plan_of(options: argparse.Namespace, command_line: Sequence[str], environment: Mapping[str, str]) -> Plan:
    """Check the command as it will be checked on the cluster, and decide what to send.

    Args:
        options: of ``qfleet submit``: working_dir, exclude, env, stop_seconds.
        command_line: of the job: the command with its arguments and options.
        environment: of this process.

    Raises:
        InputError: anything that would fail there, or lose the results; nothing has been sent.
    """
    command = command_line[0]
    if command not in SUBMITTABLE:
        problem = f"must be one of {', '.join(SUBMITTABLE)}"
        raise ConfigError("COMMAND", command, problem, nearest(command, SUBMITTABLE))
    if options.stop_seconds < 1:
        raise ConfigError("--stop-seconds", options.stop_seconds, "must be at least 1 second", "120")
    _refuse_credentials(command_line)
    job = parsed(command_line)
    folder = checked_folder(options.working_dir)
    excludes = (*EXCLUDES, *options.exclude)
    arguments = list(command_line[1:])
    config = None
    if getattr(job, "config", None) is not None:
        config = TrainingConfig.from_toml(job.config, job.set)
        arguments[arguments.index(job.config)] = checked_file("config", job.config, folder, excludes)
        _check_files(config, folder, excludes)
        for option in _FILE_OPTIONS:
            given = getattr(job, option, None)
            if given is not None and given.endswith(".toml"):
                read_toml(given)  # one that is not there is refused now
                there = checked_file(f"--{option}", given, folder, excludes)
                arguments = [_renamed(argument, given, there) for argument in arguments]
    _check_outputs(job)
    directory, run, is_named = _run_of(command, job, config)
    makes_runs = config is not None or _makes_study(job)
    return Plan(
        command=command,
        arguments=tuple(arguments),
        digest=_digest(command, job, config),
        run=run,
        is_named=is_named,
        directory=directory,
        folder=folder,
        excludes=excludes,
        env_vars=_env_vars(options, job, config, directory if makes_runs else None, environment),
        makes_study=_makes_study(job),
    )


def _renamed(argument: str, given: str, there: str) -> str:
    """`argument` with the file as the job finds it, whether it stands alone or after an option's equals sign."""
    option, equals, value = argument.partition("=")
    if argument == given:
        return there
    return f"{option}={there}" if equals and option.startswith("--") and value == given else argument


def _makes_study(job: argparse.Namespace) -> bool:
    """Whether the command trains several runs as one study, which has a name and a folder."""
    return hasattr(job, "name") and not hasattr(job, "run")


def _run_of(
    command: str, job: argparse.Namespace, config: TrainingConfig | None
) -> tuple[str | None, str, bool]:
    """(folder of the runs, name, whether it is a given one) of the run that the job makes or takes up."""
    if config is not None:
        source = config.data.name or Path(config.data.path or "data").stem
        stem = re.sub(r"[^A-Za-z0-9]+", "-", source).strip("-") or "run"
        if command != "train" and not _makes_study(job):
            return None, stem, False
        own = getattr(job, "directory", None)
        given, name = own or config.run.directory, job.name if _makes_study(job) else config.run.name
        _check_stays("--directory" if own else "run.directory", given)
        return given, name or stem, name is not None
    if not hasattr(job, "run"):  # a benchmark, of no configuration of ours
        directory, name = getattr(job, "directory", None), getattr(job, "name", None)
        if directory is not None:
            _check_stays("--directory", directory)
        return directory, name or job.what, name is not None
    if job.run == "latest":
        raise InputError(
            "run = 'latest': which one that is changes with time; name the run that the job is for"
        )
    path = PurePosixPath(job.run)
    if is_model_uri(job.run):
        path = PurePosixPath(re.sub(r"[^A-Za-z0-9]+", "-", job.run))
    if path.is_absolute():
        return str(path.parent), path.name, True
    _check_stays("--directory", job.directory)
    return job.directory, path.name, True


def _check_stays(option: str, given: str) -> None:
    """Refuse a place that would be lost with the job's copy of the folder."""
    if not PurePosixPath(given).is_absolute():
        raise ConfigError(option, given, _COPY, str(Path(given).absolute()))


def _digest(command: str, job: argparse.Namespace, config: TrainingConfig | None) -> str:
    """Of all that decides what the job does, so that equal requests are known as one."""
    told = ("json", "module") if config is None else ("json", "module", "config", "set")
    options = {k: v for k, v in vars(job).items() if k not in told}
    content = [command, options, None if config is None else config.to_dict()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_files(config: TrainingConfig, folder: Path, excludes: tuple[str, ...]) -> None:
    """Files of the configuration with relative paths must go with the job; absolute ones are the cluster's own."""
    for key, given in (("data.path", config.data.path), ("budget.prices", config.budget.prices)):
        if given is None or Path(given).is_absolute():
            continue
        checked_file(key, str(folder / given), folder, excludes)
        if not (folder / given).is_file():
            siblings = [each.name for each in (folder / given).parent.glob("*")]
            raise ConfigError(key, given, f"no such file in {folder}", nearest(Path(given).name, siblings))


def _check_outputs(job: argparse.Namespace) -> None:
    """Files that the job writes where it is told to must not be lost with its copy of the folder."""
    for name in ("log_file", "output", "export", "plot"):
        given = getattr(job, name, None)
        if given is not None:
            _check_stays(f"--{name.replace('_', '-')}", given)


def _refuse_credentials(command_line: Sequence[str]) -> None:
    for argument in command_line:
        if redact_uri(argument) != argument:
            raise ConfigError(
                "argument",
                argument,
                "would stand in the cluster's log with its password; set it as MLFLOW_TRACKING_URI here",
            )


def _env_vars(
    options: argparse.Namespace,
    job: argparse.Namespace,
    config: TrainingConfig | None,
    new_runs: str | None,
    environment: Mapping[str, str],
) -> dict[str, str]:
    """The job's environment. Keys are taken from ours by name; what is not asked for stays here."""
    found = {_STOP_WAIT: str(options.stop_seconds)}
    configured = getattr(job, "tracking_uri", None) if config is None else config.tracking.uri
    uri = configured or environment.get("MLFLOW_TRACKING_URI")
    if uri is None and new_runs is not None:
        uri = f"sqlite:///{new_runs.rstrip('/')}/mlflow.db"
    if uri is not None:
        found["MLFLOW_TRACKING_URI"] = _absolute_uri(uri, new_runs)
        found |= {name: environment[name] for name in _MLFLOW if environment.get(name)}
    is_ionq = config is not None and config.backend.name == "ionq"
    for name in options.env:
        if not environment.get(name):
            raise ConfigError(
                "--env", name.partition("=")[0], "takes the name of a variable that is set here, not its value",
                nearest(name, environment),
            )  # fmt: skip
    keys = [name for name in KEY_VARIABLES if environment.get(name)] if is_ionq else []
    return found | {name: environment[name] for name in (*keys, *options.env)}


def _absolute_uri(uri: str, new_runs: str | None) -> str:
    path = uri.removeprefix("sqlite:///")
    if path != uri and not path.startswith("/"):
        near = f"sqlite:///{(new_runs or str(Path.cwd())).rstrip('/')}/{PurePosixPath(path).name}"
        raise ConfigError("tracking.uri", uri, _COPY, near)
    return uri
