"""The two stages as configurations, what each will take, and what is refused before either starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.config.training import apply_overrides, read_toml
from orchestrator.errors import ConfigError, QfleetError
from pipelines.compose import build_backend, check_fallback, on_backend
from pipelines.run_setup import prepare_run
from pipelines.spending import check_allowed
from pipelines.studies.beforehand import Expected, expected, expected_test, together
from pipelines.transfer import starting_params

_SAME = ("data", "model", "loss", "tracking")
_SAME_OF_RUN = ("name", "directory", "seed")


@dataclass(frozen=True)
class Stages:
    """What is to be trained where.

    Attributes:
        first: the pre-training. second: what goes on from it, on another backend.
        scratch: the training on that backend from the start that the two are compared with; None: it is only quoted.
    """

    first: TrainingConfig
    second: TrainingConfig
    scratch: TrainingConfig | None

    def whole_on_second(self) -> TrainingConfig:
        """The first stage's training, if all of it ran on the second backend: what the recipe saves."""
        changes: dict[str, Any] = {
            "run": self.second.run.model_copy(
                update={"epochs": self.first.run.epochs, "max_steps": self.first.run.max_steps}
            ),
            "model": self.first.model,
        }
        return self.second.model_copy(update=changes)

    def to_json(self) -> dict[str, Any]:
        """The later ones as plain values; where they are logged is the first one's, which may hold a password."""
        return {
            name: None if config is None else {k: v for k, v in config.to_dict().items() if k != "tracking"}
            for name, config in (("second", self.second), ("scratch", self.scratch))
        }

    @classmethod
    def from_json(
        cls, first: TrainingConfig, values: Mapping[str, Any], overrides: Sequence[str] = ()
    ) -> Stages:
        """What `to_json` gave, with overrides of the fleet."""
        later = {
            name: None
            if values[name] is None
            else TrainingConfig.from_dict(values[name])
            .model_copy(update={"tracking": first.tracking})
            .with_overrides(overrides)
            for name in ("second", "scratch")
        }
        assert later["second"] is not None
        return cls(first.with_overrides(overrides), later["second"], later["scratch"])


@dataclass(frozen=True)
class Quote:
    """What each part will take.

    Attributes:
        pretrained: the first stage. transferred: the test of its parameters on the second backend. finetuned: the second stage.
        from_scratch: training on the second backend from the start.
    """

    pretrained: Expected
    transferred: Expected
    finetuned: Expected
    from_scratch: Expected

    @property
    def recipe(self) -> Expected:
        """Both stages, without the test between them, which the recipe itself does not need."""
        return together([self.pretrained, self.finetuned])

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        names = ("pretrained", "transferred", "finetuned", "from_scratch")
        return {name: getattr(self, name).to_json() for name in names}


def stages_of(
    config: TrainingConfig,
    then: str,
    then_set: Sequence[str] = (),
    *,
    freeze: Sequence[str | int] = (),
    epochs: int | None = None,
    from_scratch: bool | None = None,
) -> Stages:
    """The stages of a recipe.

    Args:
        config: the pre-training.
        then: name of the backend to finish on, which is given those of the first one's settings that it has; or a TOML file of sections
            that are laid over the configuration.
        then_set: ``section.key=value`` there.
        freeze: parameters that stay as pre-trained, as in ``model.frozen``, beside those that are frozen already.
        epochs: there; None: what the TOML file or `then_set` say, else a fifth of those before, at least one.
        from_scratch: also train there from the start; None: where that costs no money.

    Raises:
        InputError: a key or value is refused; the two stages are of different models or data, or run in the same place.
    """
    second = _second(config, then, then_set, epochs)
    _check_same_task(config, second)
    if second.backend == config.backend:
        raise ConfigError(
            "--then",
            then,
            "is where the pre-training runs as well; name another backend, or settings of it by --then-set",
        )
    frozen = (*second.model.frozen, *(_parameter(name) for name in freeze))
    model = second.model.model_copy(update={"frozen": tuple(dict.fromkeys(frozen)), "initial_run": None})
    second = second.model_copy(update={"model": model})
    stages = Stages(config, second, None)
    if from_scratch is None:
        from_scratch = not build_backend(second).capabilities.is_paid
    return Stages(config, second, stages.whole_on_second()) if from_scratch else stages


def quoted(stages: Stages) -> Quote:
    """Prepare every part and say what it will take. Nothing is written.

    Raises:
        InputError: a part cannot work; its notes say which.
    """
    found = {}
    for name, config in (
        ("pretrained", stages.first),
        ("finetuned", stages.second),
        ("from_scratch", stages.whole_on_second()),
    ):
        try:
            run = prepare_run(config)
            check_fallback(config)
            if name == "pretrained":
                starting_params(run)
        except QfleetError as error:
            error.add_note(f"This is the stage {name!r}; nothing was started.")
            raise
        found[name] = run
    if not len(found["pretrained"].data.test.targets):
        raise ConfigError(
            "data.test_fraction", 0.0, "what the transfer loses is measured on the test split", "0.2"
        )
    if bool(found["finetuned"].task.model.frozen.all()):
        raise ConfigError(
            "--freeze", list(stages.second.model.frozen), "leaves nothing to train; freeze less"
        )
    return Quote(
        pretrained=expected(found["pretrained"]),
        transferred=expected_test(found["finetuned"]),
        finetuned=expected(found["finetuned"]),
        from_scratch=expected(found["from_scratch"]),
    )


def check_spending(stages: Stages, yes_spend_usd: float | None) -> None:
    """Refuse to spend what nobody has allowed, and to send circuits where they may not go.

    Raises:
        InputError: the text says what to do.
    """
    for config in (stages.first, stages.second):
        check_allowed(config, build_backend(config), yes_spend_usd)


def _second(config: TrainingConfig, then: str, then_set: Sequence[str], epochs: int | None) -> TrainingConfig:
    """The second stage as it is asked for, before what is frozen."""
    is_file = then.endswith(".toml")
    values = read_toml(then) if is_file else {"backend": {"name": then}}
    default = max(1, round(config.run.epochs / 5))
    sections = {"run": {"epochs": default, **_table(values, "run")}}
    laid = {**values, **sections}
    name = apply_overrides(laid, then_set).get("backend", {}).get("name")
    moved = on_backend(config, name) if isinstance(name, str) else config
    merged = moved.to_dict()
    merged["run"].pop("max_steps", None)
    for section in laid:
        merged[section] = {**merged.get(section, {}), **_table(laid, section)}
    found = TrainingConfig.from_dict(merged).with_overrides(then_set)
    return found if epochs is None else found.with_overrides([f"run.epochs={epochs}"])


def _table(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    keys = values.get(section, {})
    if not isinstance(keys, Mapping):
        raise ConfigError(section, keys, f"is a section: write [{section}] and its keys below it")
    return dict(keys)


def _check_same_task(first: TrainingConfig, second: TrainingConfig) -> None:
    """Refuse stages of different models, data or seeds: between those there is no transfer to measure."""
    before, after = first.flattened(), second.flattened()
    for key, value in after.items():
        section, _, name = key.partition(".")
        if key == "model.frozen" or before[key] == value:
            continue
        if section in _SAME or (section == "run" and name in _SAME_OF_RUN):
            raise ConfigError(key, value, "both stages train one model on the same data", str(before[key]))


def _parameter(name: str | int) -> str | int:
    return int(name) if isinstance(name, str) and name.isdigit() else name


def place_of(config: TrainingConfig) -> str:
    """A backend and what it is set to, in words: ``noisy (aria-1), 500 shots``."""
    backend = config.backend
    detail = backend.noise or (backend.target if backend.name == "ionq" else None)
    detail = ", ".join(backend.targets) or detail
    shots = f"{backend.shots} shots" if backend.shots else "exact"
    return f"{backend.name}{f' ({detail})' if detail else ''}, {shots}"
