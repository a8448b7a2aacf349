"""How the project installs: exact pins, no registry named anywhere, no CUDA in the core, and a Makefile that recovers by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "actors", "pipelines")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = PYPROJECT["project"]["dependencies"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
BOOTSTRAP = PYPROJECT["dependency-groups"]["bootstrap"]
PIN_LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
# Used where the user has it, and never installed by us
PEERS = {
    "jax",
    "qiskit",
    "qiskit-aer",
    "qsimcirq",
    "qulacs",
    "tensorcircuit",
    "tensorcircuit-ng",
}  # of `qfleet benchmark engine --peers`
ACCELERATOR = re.compile(r"torch|nvidia|cuda|cupy|triton")
# Where the project is meant to run; pins may differ from one to the next
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.5", "sys_platform": platform}
    for version in ("3.11", "3.12", "3.13")
    for platform in ("linux", "darwin")
]

# --- Pins ----------------------------------------------------------------------------------------------------------------------


def pins(**environment: str) -> dict[str, Requirement]:
    """The pins that hold in an environment, by canonical name."""
    found: dict[str, Requirement] = {}
    for line in PIN_LINES:
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({**default_environment(), **environment}):
            assert canonicalize_name(pin.name) not in found, f"two pins hold for {pin.name}"
            found[canonicalize_name(pin.name)] = pin
    return found


def version_of(pin: Requirement) -> str:
    [specifier] = pin.specifier
    return specifier.version


def test_constraints_are_exact_pins() -> None:
    for line in PIN_LINES:
        pin = Requirement(line)
        [specifier] = pin.specifier
        assert specifier.operator == "==", line
        assert not specifier.version.endswith("*"), line
        assert pin.url is None, line
        assert not pin.extras, line  # pip refuses extras in a constraints file


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['sys_platform']}"
)
def test_what_we_ask_for_is_pinned_within_its_range(environment: dict[str, str]) -> None:
    pinned = pins(**environment)
    for line in [*CORE, *BOOTSTRAP, *(line for extra in EXTRAS.values() for line in extra)]:
        requirement = Requirement(line)
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version_of(pin)), f"{line}, but {pin}"


def installed_closure(requirements: list[str]) -> set[str]:
    """Canonical names of all that these requirements install, read from the metadata of this environment."""
    closure: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(line) for line in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        closure.add(name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in metadata.requires(name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({**default_environment(), "extra": extra}):
                    todo.append(needed)
    return closure


def test_core_install_is_pinned_throughout_and_free_of_cuda() -> None:
    closure = installed_closure(CORE)
    # Reached through cirq, mlflow, ray[default] and numba, so the walk does go deep
    assert {"sympy", "werkzeug", "aiohttp-cors", "llvmlite"} <= closure
    assert not [name for name in closure if ACCELERATOR.match(name)]
    pinned = pins()
    other = [
        f"{name} {metadata.version(name)}"
        for name in closure
        if name not in pinned or version_of(pinned[name]) != metadata.version(name)
    ]
    assert not other, (
        f"installed, but not as constraints.txt pins it (`make install` puts that right): {other}"
    )


def imported_from_outside() -> set[str]:
    """The top-level names that the packages import from elsewhere, at the top of a module or inside a function."""
    names: set[str] = set()
    for module in [module for package in PACKAGES for module in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - set(PACKAGES)


def test_whatever_is_imported_is_asked_for() -> None:
    asked = {
        canonicalize_name(Requirement(line).name)
        for line in [
            *CORE,
            *(line for extra in ("torch", "pennylane", "tune", "store") for line in EXTRAS[extra]),
        ]
    }
    asked |= PEERS
    providers = metadata.packages_distributions()
    imported = imported_from_outside()
    assert {"numpy", "cirq", "ray"} <= imported
    # An extra may not be installed here: then its import name has to do
    assert {n for n in imported if asked.isdisjoint(map(canonicalize_name, providers.get(n, [n])))} == set()


def test_only_torch_itself_is_pinned_of_the_torch_extra() -> None:
    accelerators = [canonicalize_name(Requirement(line).name) for line in PIN_LINES]
    assert [name for name in accelerators if ACCELERATOR.match(name)] == ["torch"]
    assert [name for name, extra in EXTRAS.items() if "torch" in "".join(extra)] == ["torch"]


def test_extras() -> None:
    assert {"torch", "pennylane", "tune", "store", "dev", "aws"} <= EXTRAS.keys()


@pytest.mark.parametrize("path", ["constraints.txt", "pyproject.toml", "Makefile", ".ci/run"])
def test_no_registry_is_named(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"://[^/\s]", text), "an address with a host"  # sqlite:///file has none
    assert not re.search(r"(?<!emit)-index-url|--find-links|--trusted-host|registry", text)


# --- Layout --------------------------------------------------------------------------------------------------------------------


def test_the_three_packages_are_named_and_whole() -> None:
    found = PYPROJECT["tool"]["setuptools"]["packages"]["find"]
    assert found == {"include": [f"{package}*" for package in PACKAGES], "namespaces": False}
    for package in PACKAGES:
        folders = {module.parent for module in (ROOT / package).rglob("*.py")}
        assert ROOT / package in folders
        missing = [
            str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()
        ]
        assert not missing, f"without __init__.py these are left out of the wheel: {missing}"


def test_example_configurations_are_package_data() -> None:
    assert PYPROJECT["tool"]["setuptools"]["package-data"]["pipelines"] == [
        "configs/*.toml",
        "configs/spaces/*.toml",
        "benchmark/traces/*.csv",
    ]


def test_nothing_in_tests_shadows_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_files_that_must_be_there_or_not() -> None:
    assert not (ROOT / "uv.lock").exists()  # holds registry hosts
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in license_text
    assert "END OF TERMS AND CONDITIONS" in license_text
    assert "limitations under the License" in license_text
    assert os.stat(ROOT / ".ci/run").st_mode & stat.S_IXUSR


# --- Makefile: the real one, with a Python that only pretends to install ---------------------------------------------------------

# Plays python3, .venv/bin/python and .venv/bin/uv. It notes what it is asked to install, and fails where the test wants it to.
PRETENDER = """#!/bin/sh
case "$*" in
  --version) echo "Python $PRETEND_VERSION" ;;
  *version_info*) [ "$PRETEND_VERSION" != 3.9.2 ] ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip --version") ;;
  "-m pip install"*" uv") cp "$0" .venv/bin/uv ;;
  "-m pip install"*) echo "pip: $*" >>installs; [ -z "$PRETEND_PIP_FAILS" ] || { echo "no such index" >&2; exit 1; } ;;
  "pip install"*) echo "uv: $*" >>installs; [ -z "$PRETEND_UV_FAILS" ] ;;
  "-m pytest"*) echo "testing, byte code ${PYTHONDONTWRITEBYTECODE:-written}" ;;
  *) exit 99 ;;
esac
"""

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


class Checkout:
    """A fresh copy of the files that `make` reads, and a pretended Python beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        self.python = folder / "python-pretender"
        self.python.write_text(PRETENDER, encoding="utf-8")
        self.python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS", "GNUMAKE"))
        }
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env={**inherited, "PRETEND_VERSION": "3.11.2", "PYTHONDONTWRITEBYTECODE": "1", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def installs(self) -> list[str]:
        """The installers that ran since the last call."""
        log = self.folder / "installs"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        assert all("-c constraints.txt" in line for line in lines)
        assert all(line.endswith(("-e .[dev,tune,store]", "--no-compile torch pennylane")) for line in lines)
        return [line.split(":")[0] for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@needs_make
def test_make_installs_once_and_again_when_pins_change(checkout: Checkout) -> None:
    first = checkout.make("test")
    assert first.returncode == 0, first.stderr
    assert "testing, byte code written" in first.stdout
    assert len(first.stdout.splitlines()) <= 5  # a person reads this
    assert checkout.installs() == ["uv"]

    assert checkout.make("-j4", "install", "test").returncode == 0
    assert checkout.installs() == []

    for name in ("pyproject.toml", "constraints.txt"):
        later = (checkout.folder / ".venv/.installed").stat().st_mtime + 2
        os.utime(checkout.folder / name, (later, later))
        assert checkout.make("test").returncode == 0
        assert checkout.installs() == ["uv"]
        os.utime(checkout.folder / name, (0, 0))


@needs_make
def test_make_falls_back_on_pip_and_says_so(checkout: Checkout) -> None:
    run = checkout.make("install", PRETEND_UV_FAILS="1")
    assert run.returncode == 0
    assert "trying pip" in run.stdout
    assert checkout.installs() == ["uv", "pip"]


@needs_make
def test_the_frontends_packages_are_left_to_pip(checkout: Checkout) -> None:
    assert checkout.make("frontends").returncode == 0
    assert checkout.installs() == ["uv", "pip"]


@needs_make
def test_make_can_be_told_to_use_pip(checkout: Checkout) -> None:
    assert checkout.make("install", "INSTALLER=pip").returncode == 0
    assert checkout.installs() == ["pip"]


@needs_make
def test_a_failed_installation_is_shown_and_done_again(checkout: Checkout) -> None:
    failed = checkout.make("test", PRETEND_UV_FAILS="1", PRETEND_PIP_FAILS="1")
    assert failed.returncode == 2
    assert "no such index" in failed.stderr
    assert "testing" not in failed.stdout
    checkout.installs()

    (checkout.folder / ".venv/left-behind").touch()
    again = checkout.make("test")
    assert again.returncode == 0
    assert "making it anew" in again.stdout
    assert not (checkout.folder / ".venv/left-behind").exists()
    assert checkout.installs() == ["uv"]


@needs_make
@pytest.mark.parametrize("damage", ["moved", "python removed", "killed before the end"])
def test_an_unusable_environment_is_made_anew(checkout: Checkout, tmp_path: Path, damage: str) -> None:
    assert checkout.make("install").returncode == 0
    checkout.installs()
    venv = checkout.folder / ".venv"
    if damage == "moved":
        (venv / ".installed").write_text("/elsewhere\n", encoding="utf-8")
    elif damage == "python removed":
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to(tmp_path / "gone")
    else:
        (venv / ".installed").rename(venv / ".installing")
    run = checkout.make("test")
    assert run.returncode == 0, run.stderr
    assert "making it anew" in run.stdout
    assert checkout.installs() == ["uv"]


@needs_make
def test_an_older_python_is_refused_in_plain_words(checkout: Checkout) -> None:
    run = checkout.make("train", PRETEND_VERSION="3.9.2")
    assert run.returncode == 2
    assert "qfleet needs Python 3.11 or newer" in run.stderr
    assert "is Python 3.9.2" in run.stderr
    assert "Try: make PYTHON=" in run.stderr or "Install one" in run.stderr
    assert not (checkout.folder / ".venv").exists()
    assert checkout.installs() == []


@needs_make
def test_a_python_that_is_not_there_is_refused_in_plain_words(checkout: Checkout) -> None:
    run = checkout.make("PYTHON=no-such-python", "install")
    assert run.returncode == 2
    assert "'no-such-python' is not a Python that runs here" in run.stderr


@needs_make
def test_help_is_the_default_and_lists_every_target(checkout: Checkout) -> None:
    run = checkout.make()
    assert run.returncode == 0
    listed = set(re.findall(r"^  make (\w+)", run.stdout, re.MULTILINE))
    assert listed >= {"install", "train", "test", "lint", "ui", "clean", "help"}
    [phony] = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == set(phony.split()) - {"always"}
    assert not (checkout.folder / ".venv").exists()


@needs_make
def test_ui_without_a_run_says_what_to_do(checkout: Checkout) -> None:
    run = checkout.make("ui")
    assert run.returncode == 2
    assert "make train" in run.stderr


@needs_make
def test_clean_keeps_results(checkout: Checkout) -> None:
    assert checkout.make("install").returncode == 0
    (checkout.folder / "runs").mkdir()
    (checkout.folder / "mlflow.db").touch()
    assert checkout.make("clean").returncode == 0
    assert not (checkout.folder / ".venv").exists()
    assert (checkout.folder / "runs").is_dir()
    assert (checkout.folder / "mlflow.db").is_file()
