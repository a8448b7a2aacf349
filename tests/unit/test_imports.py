"""The architecture as a test: who may import whom, where each third-party package lives, and what importing costs."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.registry import REGISTRIES, import_path

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "actors", "pipelines")  # left may not import right

# Inside orchestrator: left may not import right.
LAYERS = (
    "redaction", "errors", "registry", "config", "circuits", "jobs", "protocols", "phases", "optimizers", "losses", "models", "planning",
    "gradients", "costs", "estimation", "coordinator", "kernels", "training",
)  # fmt: skip

# Third-party package -> the only files (or folders) that may import it, lazily or not.
PLACES = {
    "bokeh": ("pipelines/plots/interactive.py",),
    "cirq": (
        "orchestrator/circuits/",
        "orchestrator/models/",
        "orchestrator/kernels/",
        "actors/backends/cirq_simulator.py",
        "actors/ionq/",
        "pipelines/plots/gates.py",
        "pipelines/benchmark/reference.py",
        "pipelines/benchmark/peers/",
        "pipelines/frontends/pennylane/",
    ),
    "cirq_ionq": ("actors/ionq/",),
    "matplotlib": ("pipelines/plots/",),
    "mlflow": (
        "pipelines/tracking/mlflow_store.py",
        "pipelines/tracking/pyfunc_model.py",
        "pipelines/tracking/fetched_model.py",
    ),
    "lancedb": ("pipelines/example_store/table.py",),
    "numba": ("actors/simulation/",),
    "optuna": ("pipelines/tune/",),
    "orjson": ("actors/ionq/",),
    "pandas": ("pipelines/tracking/mlflow_store.py", "pipelines/tracking/pyfunc_model.py"),
    "jax": ("pipelines/benchmark/peers/",),
    "pennylane": ("pipelines/frontends/", "pipelines/benchmark/peers/"),
    "qiskit": ("pipelines/benchmark/peers/",),
    "qiskit_aer": ("pipelines/benchmark/peers/",),
    "qsimcirq": ("pipelines/benchmark/peers/",),
    "qulacs": ("pipelines/benchmark/peers/",),
    "PIL": ("pipelines/data/images.py", "pipelines/data/colour_images.py", "pipelines/data/drawn.py"),
    "pyarrow": ("pipelines/data/", "pipelines/example_store/table.py"),
    "pydantic": ("orchestrator/config/",),
    "ray": ("actors/ray_fleet/",),
    "requests": ("actors/ionq/",),
    "rich": ("pipelines/display/live.py", "pipelines/display/tables.py", "pipelines/display/actors.py"),
    "scipy": ("actors/simulation/contraction/network.py", "pipelines/studies/statistics.py"),
    "sklearn": (
        "pipelines/data/table.py",
        "pipelines/baselines.py",
        "pipelines/kernel.py",
        "pipelines/frontends/",
        "pipelines/hybrid/",
    ),
    "starlette": ("actors/ionq/emulator/",),
    "sympy": (
        "orchestrator/circuits/",
        "orchestrator/models/",
        "orchestrator/kernels/",
        "pipelines/benchmark/peers/",
        "pipelines/frontends/pennylane/",
    ),
    "tensorcircuit": ("pipelines/benchmark/peers/",),
    "tomli_w": ("pipelines/run_folder.py",),
    "torch": (
        "pipelines/frontends/",
        "pipelines/hybrid/",
        "actors/backends/torch.py",
        "actors/simulation/torch_engine/",
    ),
    "urllib3": ("actors/ionq/",),
    "uvicorn": ("actors/ionq/emulator/",),
    "uvloop": ("actors/ionq/emulator/",),
}
# Measured beside the engine where a user has them; never installed by us
PEERS = {"jax", "pennylane", "qiskit", "qiskit_aer", "qsimcirq", "qulacs", "tensorcircuit"}
PURE = {"numpy", "cirq", "sympy", "pydantic"}  # what orchestrator may use
SERVICES = {"ray", "mlflow", "cirq_ionq", "sklearn", "numba", "torch"}
HEAVY = SERVICES | {
    "cirq",
    "numpy",
    "sympy",
    "matplotlib",
    "pandas",
    "pyarrow",
}  # cirq itself imports the last three

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# the package's own __init__ stands above all layers, and imports lazily
ORCHESTRATOR = [
    path
    for path in FILES
    if path.is_relative_to(ROOT / "orchestrator") and path.parent != ROOT / "orchestrator"
] + [path for path in (ROOT / "orchestrator").glob("*.py") if path.name != "__init__.py"]


@functools.cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    """(imported module, number of leading dots) of every import statement, nested ones included."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def third_party(path: Path) -> set[str]:
    roots = {module.partition(".")[0] for module, _ in imports_of(path)}
    return roots - set(sys.stdlib_module_names) - set(PACKAGES) - {""}


def loaded_by(statement: str) -> set[str]:
    """Names in sys.modules of a fresh process after `statement`."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_import_one_way(path: Path) -> None:
    own = PACKAGES.index(path.relative_to(ROOT).parts[0])
    roots = {module.partition(".")[0] for module, _ in imports_of(path)}
    assert not roots & set(PACKAGES[own + 1 :])
    assert not roots & {"tests", "conftest"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_are_absolute(path: Path) -> None:
    assert not [module for module, dots in imports_of(path) if dots]


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=name_of)
def test_orchestrator_layers_import_downwards(path: Path) -> None:
    parts = path.relative_to(ROOT / "orchestrator").with_suffix("").parts
    layer = LAYERS.index(parts[0])
    for module, _ in imports_of(path):
        if module.startswith("orchestrator"):
            assert "." in module, "import from the module that defines a name, not from the package"
            assert LAYERS.index(module.split(".")[1]) <= layer, f"{parts[0]} imports {module}"


def test_public_names_are_lazy_and_there() -> None:
    import orchestrator

    assert loaded_by("import orchestrator").isdisjoint({"cirq", "numpy", "pydantic"})
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        _ = orchestrator.Modell


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_third_party_packages_stay_in_their_places(path: Path) -> None:
    name = name_of(path)
    for package in third_party(path):
        if package != "numpy":
            assert package in PLACES, f"{package} has no place yet: give it one here"
            assert name.startswith(PLACES[package]), f"{package} belongs into {PLACES[package]}"
    if name.startswith("orchestrator/"):
        assert third_party(path) <= PURE


def test_every_third_party_import_is_declared() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    declared = {
        re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-") for requirement in wanted
    }
    homes = importlib.metadata.packages_distributions() | {
        "sympy": ["cirq-core"],
        "pandas": ["mlflow"],
    }  # part of their API
    for package in sorted({package for path in FILES for package in third_party(path)} - PEERS):
        distributions = {home.lower().replace("_", "-") for home in homes.get(package, [package])}
        assert distributions & declared, (
            f"{package} is imported, but pyproject.toml does not ask for {distributions}"
        )


def test_every_folder_is_a_package() -> None:
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").is_file(), folder
        assert folder.relative_to(ROOT).parts[0] in PACKAGES
    assert not list((ROOT / "tests").rglob("__init__.py")), "an __init__.py in tests could shadow a package"


def test_orchestrator_imports_no_service() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if name_of(path).startswith("orchestrator/")
    ]
    loaded = loaded_by("\n".join(f"import {module}" for module in modules))
    assert set(modules) <= loaded
    assert loaded.isdisjoint(SERVICES)


def test_configuration_is_checked_without_simulators() -> None:
    assert loaded_by("import orchestrator.config as c; c.TrainingConfig()").isdisjoint(HEAVY)


def test_command_line_starts_without_heavy_packages() -> None:
    assert loaded_by("import pipelines.cli").isdisjoint(HEAVY - {"numpy"})


@pytest.mark.parametrize("path", [p for registry in REGISTRIES.values() for p in registry.values()])
def test_registered_paths_resolve(path: str) -> None:
    assert callable(import_path(path))
