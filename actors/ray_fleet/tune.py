"""Ray Tune as what runs trials side by side: a Searcher and a TrialScheduler around whatever decides, and nothing decided here.

Tune starts a process for each trial, places it, starts one that is lost again, and hands on what it reports. Its own state is not used: it
goes to a folder that is removed, and a search is resumed from its own journal.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from actors.ray_fleet.connection import connect, release
from orchestrator.errors import ExecutionError, FleetError

_MAX_LOSSES = 3
"""How often a trial is begun again whose process is lost."""
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

Tell = Callable[[dict[str, Any]], None]
"""Given to a trial: takes what it reports, plain values."""
Function = Callable[[Any, Tell], dict[str, Any]]
"""A trial: (argument, tell) -> result, plain values; picklable, and content: begun again it comes to the same result."""


class Decides(Protocol):
    """Which trials there are; called in the driver, one call at a time."""

    @property
    def is_finished(self) -> bool:
        """No further trial will come."""

    def ask(self) -> tuple[int, Any] | None:
        """Number and argument of the next trial; None: not now."""

    def told(self, number: int, report: dict[str, Any]) -> None:
        """A trial has reported."""

    def ended(self, number: int, result: dict[str, Any]) -> None:
        """A trial has ended with this result."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A connection to the cluster at `address`, for fleets and trials alike; a local Ray where none is named.

    Raises:
        FleetError: it cannot be reached.
    """
    connection = connect(address)
    try:
        yield
    finally:
        release(connection)


def run_trials(decides: Decides, function: Function, *, cpus_each: float) -> None:
    """Run all trials of `decides` on the cluster that this process is connected to, on this machine, where their folders are.

    Args:
        cpus_each: reserved for a trial's process; 0: it leaves the work to a fleet.

    Raises:
        ExecutionError: a trial raised, or lost its process too often.
    """
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        with tempfile.TemporaryDirectory(prefix="qfleet-tune-") as folder:
            _run(decides, function, cpus_each, folder)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _run(decides: Decides, function: Function, cpus_each: float, folder: str) -> None:
    searcher = _Asking(decides, function, os.getcwd())
    listening = _Listening(decides, searcher)
    here = f"node:{ray.util.get_node_ip_address()}"
    # A trial's folder is on this machine, so its process is, too.
    bundle = {here: 0.0001, **({"CPU": cpus_each} if cpus_each else {})}
    tuner = tune.Tuner(
        tune.with_resources(_trial, tune.PlacementGroupFactory([bundle])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=listening,
            num_samples=-1,
            reuse_actors=True,  # a process that has imported everything takes the next trial
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=folder,
            verbose=0,
            stop=_OnError(listening),
            failure_config=tune.FailureConfig(max_failures=_MAX_LOSSES),
        ),
    )
    results = tuner.fit()
    if listening.error is not None:
        raise listening.error
    if results.errors:
        raise ExecutionError(f"Ray Tune could not run a trial: {results.errors[0]}") from results.errors[0]
    if not decides.is_finished:
        raise FleetError("Ray Tune ended before the search did")


def _trial(config: dict[str, Any]) -> None:
    """In the trial's process."""
    os.chdir(config["folder"])  # relative paths mean here what they mean in the driver
    try:
        function, argument = cloudpickle.loads(config["work"])
        result = function(argument, lambda report: tune.report({"told": cloudpickle.dumps(report)}))
        last = {"ended": cloudpickle.dumps(result)}  # pickled: Tune flattens what it is told
    except Exception as error:  # it would come again: told, and not tried again
        last = {"raised": cloudpickle.dumps(error)}
    tune.report(last)


class _Shared:
    """Tune copies and pickles what it is configured with; there is one search, so a copy is the same, and a pickle is empty."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


class _Asking(_Shared, Searcher):
    """Hands on the next trial, once `decides` has one."""

    def __init__(self, decides: Decides, function: Function, folder: str) -> None:
        super().__init__()
        self._decides, self._function, self._folder = decides, function, folder
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """What the next trial is to do; None: wait."""
        asked = self._decides.ask()
        if asked is None:
            return Searcher.FINISHED if self._decides.is_finished else None
        self.numbers[trial_id] = asked[0]
        return {"folder": self._folder, "work": cloudpickle.dumps((self._function, asked[1]))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The scheduler has heard of it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the search has a journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Listening(_Shared, FIFOScheduler):
    """Hands on what trials report. They end by themselves, each by the rule that it was given."""

    def __init__(self, decides: Decides, searcher: _Asking) -> None:
        super().__init__()
        self._decides, self._searcher = decides, searcher
        self.error: BaseException | None = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Hand it on, and let the trial continue."""
        number = self._searcher.numbers[trial.trial_id]
        try:
            if "raised" in result:
                raise cloudpickle.loads(result["raised"])
            if "ended" in result:
                self._decides.ended(number, cloudpickle.loads(result["ended"]))
            elif "told" in result:
                self._decides.told(number, cloudpickle.loads(result["told"]))
        except Exception as error:  # Tune would take it for the trial's, and try again
            self.error = self.error or error
        return str(FIFOScheduler.CONTINUE)


class _OnError(_Shared, tune.Stopper):
    """Ends everything where a trial, or what decides, has raised."""

    def __init__(self, listening: _Listening) -> None:
        self._listening = listening

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Of one trial: never."""
        return False

    def stop_all(self) -> bool:
        """Whether something was raised."""
        return self._listening.error is not None
