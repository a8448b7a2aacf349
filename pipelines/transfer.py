"""Transfer learning: the parameters of a trained run as the start of another, perhaps deeper, model."""

from __future__ import annotations

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.models.model import Model
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, best_params, load_run


def starting_params(run: PreparedRun) -> np.ndarray | None:
    """float64 [P]: the initial parameters, those of ``model.initial_run`` in place of its namesakes; None where no run is named.

    Raises:
        InputError: there is no such run, it has no checkpoint, or it shares no name with this model.
    """
    name = run.config.model.initial_run
    if name is None:
        return None
    folder = RunFolder.find(name, run.config.run.directory)
    source, fingerprint = load_run(folder)
    trained, _ = best_params(folder, source, fingerprint)
    start = run.task.model.initial_params(run.config.run.seed)
    own, theirs = shared_params(run.task.model, source.task.model)
    if not len(own):
        problem = "its model has no parameter of a name that this one has"
        raise ConfigError("model.initial_run", name, problem)
    start[own] = trained[theirs]
    return start


def shared_params(model: Model, source: Model) -> tuple[np.ndarray, np.ndarray]:
    """Where parameters of one name stand in `model` and in `source`, int64 each. Heads are shared where they are of one kind and size."""
    same_head = model.head_name == source.head_name and model.head.n_params == source.head.n_params
    place = {name: i for i, name in enumerate(source.circuit_param_names)}
    names = model.circuit_param_names
    pairs = [(i, place[name]) for i, name in enumerate(names) if name in place]
    if same_head:
        pairs += [
            (model.n_circuit_params + i, source.n_circuit_params + i) for i in range(model.head.n_params)
        ]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
