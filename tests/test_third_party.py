"""A target in a package of its own: built, installed into an environment of its own, found there and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

pytest.importorskip("hatchling", reason="the package is built without network")
pytest.importorskip("pip", reason="the package is installed by pip")

PACKAGE = Path(__file__).resolve().parent.parent / "examples" / "third_party"
NAME = "pytest-torchscript-frozen"
MODULE = "pytest_torchscript_frozen.py"

MODELS = """
    import pytest
    import torch
    from torch import nn


    def classifier():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model[1].running_mean.uniform_(-1, 1)
        model[1].running_var.uniform_(0.5, 2)
        return model.eval()


    @pytest.mark.torchscript(target=["torchscript", "frozen"], id="folded")
    def test_folded():
        assert classifier()(torch.randn(2, 3, 9, 9)).shape == (2, 4)


    @pytest.mark.torchscript(target="frozen", fold=False, id="kept")
    def test_kept():
        assert classifier()(torch.randn(2, 3, 9, 9)).shape == (2, 4)
"""


@dataclass(frozen=True)
class Ended:
    """A process that has ended, and the report of the gates if it wrote one."""

    code: int
    text: str
    gates: dict[str, Any]


def environment_variables() -> dict[str, str]:
    """Without what an outer pytest or a user's own settings would add."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "PIP_", "GITHUB_"))}
    kept.pop("CI", None)
    own = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return {**kept, **own, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def succeed(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command], env=environment_variables(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Workplace:
    """Wheels and environments, each made once for all workers of this session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._folder / name
        with FileLock(f"{path}.lock"):
            if not (path / "made").exists():
                path.mkdir()
                make(path)
                (path / "made").touch()
        return path

    def wheel(self, name: str = NAME, change: Callable[[str], str] = str) -> Path:
        """The example's wheel; one called otherwise is of a copy, in which ``change`` was made to the module."""
        module, entry = name.replace("-", "_"), name.rpartition("-")[2]

        def make(folder: Path) -> None:
            source = folder / "source"
            shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
            for file in (source / "pyproject.toml", source / MODULE):
                text = file.read_text(encoding="utf-8").replace(NAME, name).replace(Path(MODULE).stem, module)
                text = text.replace("frozen =", f"{entry} =") if file.suffix == ".toml" else change(text)
                file.write_text(text, encoding="utf-8")
            (source / MODULE).rename(source / f"{module}.py")
            offline = ["--no-build-isolation", "--no-deps", "--no-index", "--no-cache-dir", "--quiet"]
            succeed(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, source)

        (found,) = self._once(f"wheel-{name}", make).glob("*.whl")
        return found

    def python(self, name: str, *wheels: Path) -> Path:
        """The interpreter of an environment that sees the packages of this one, and has ``wheels`` of its own."""

        def make(folder: Path) -> None:
            succeed(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
            made = interpreter(folder)
            (own,) = (folder / "venv").glob("[Ll]ib/**/site-packages")
            outer = dict.fromkeys(sysconfig.get_path(key) for key in ("purelib", "platlib"))
            # addsitedir, unlike a plain path, also follows what makes this project's own installation editable.
            lines = [f"import site; site.addsitedir({path!r})\n" for path in outer]
            (own / "outer.pth").write_text("".join(lines), encoding="utf-8")
            pip = [sys.executable, "-m", "pip", "--python", made, "install", "--no-index", "--no-deps", "--quiet"]
            succeed(*pip, *wheels)

        return interpreter(self._once(f"environment-{name}", make))


def interpreter(folder: Path) -> Path:
    return folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.getbasetemp()
    return Workplace((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "third-party")


@pytest.fixture(scope="session")
def installed(workplace: Workplace) -> Path:
    """The interpreter of an environment with the example's wheel."""
    return workplace.python("alone", workplace.wheel())


def run_suite(python: Path, folder: Path, suite: str, *arguments: str) -> Ended:
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_it.py").write_text(textwrap.dedent(suite), encoding="utf-8")
    done = subprocess.run(
        [str(python), "-m", "pytest", "--torchscript-json=gates.json", *arguments],
        cwd=folder,
        env=environment_variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    report = folder / "gates.json"
    gates = json.loads(report.read_text(encoding="utf-8"))["gates"] if report.exists() else []
    return Ended(done.returncode, done.stdout + done.stderr, {gate["id"]: gate for gate in gates})


def test_an_installed_target_is_found_and_used(installed: Path, tmp_path: Path) -> None:
    """With no conftest: it freezes the trace, runs what it saved, and its own argument reaches it."""
    run = run_suite(installed, tmp_path, MODELS)
    assert run.code == 0, run.text
    plain, folded = run.gates["folded"]["cells"]
    (kept,) = run.gates["kept"]["cells"]
    assert [cell["target"] for cell in (plain, folded, kept)] == ["torchscript", "frozen", "frozen"]
    assert [cell["verdict"] for cell in (plain, folded, kept)] == ["ok", "ok", "ok"]
    folding, keeping = folded["checks"][-1]["metrics"], kept["checks"][-1]["metrics"]
    assert folding["proof"] == keeping["proof"] == "ran"
    assert folding["compared"] > 1
    # A folded normalisation is in the file no more.
    assert folding["bytes"] < keeping["bytes"]


def test_the_wheel_holds_the_module_and_its_entry_point(workplace: Workplace) -> None:
    """Nothing else is needed for a target to be found."""
    with zipfile.ZipFile(workplace.wheel()) as wheel:
        (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert MODULE in wheel.namelist()
        assert wheel.read(entry_points).decode().split() == ["[pytest_torchscript]", "frozen", "=", "pytest_torchscript_frozen"]


def test_only_its_own_environment_has_it(installed: Path) -> None:
    """pip installed beside the interpreter that it was told, not into the environment that runs these tests."""
    code = "from importlib import metadata; print(metadata.distribution('pytest-torchscript-frozen').locate_file(''))"
    done = subprocess.run([str(installed), "-c", code], env=environment_variables(), capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent.parent)
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution(NAME)


TYPO = 'import pytest\n\n@pytest.mark.torchscript(target="forzen")\ndef test_it(): ...\n'


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "unknown target 'forzen'; did you mean 'frozen'?"),
        (("-p", "no:pytest_torchscript:frozen"), "unknown target 'forzen'; expected one of torchscript, libtorch"),
    ],
    ids=["typo", "blocked"],
)
def test_a_name_that_is_not_there_is_a_usage_error(
    installed: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """An installed target is suggested like a built-in one, and no longer when pytest is told to block it."""
    run = run_suite(installed, tmp_path, TYPO, *arguments)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert says in run.text


def test_two_packages_with_one_name_are_both_named(workplace: Workplace, tmp_path: Path) -> None:
    """No package wins by the order of its installation."""
    python = workplace.python("twice", workplace.wheel(), workplace.wheel("pytest-torchscript-glacier"))
    run = run_suite(python, tmp_path, MODELS)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert "two targets are called 'frozen'" in run.text
    assert "plugin 'pytest_torchscript:frozen'" in run.text
    assert "plugin 'pytest_torchscript:glacier'" in run.text
    assert "Traceback" not in run.text


def test_a_package_that_does_not_load_is_named(workplace: Workplace, tmp_path: Path) -> None:
    """As a usage error where something is gated; a suite without a gate runs as if it were not there."""
    broken = workplace.wheel("pytest-torchscript-broken", lambda text: 'raise RuntimeError("no licence found")\n')
    python = workplace.python("broken", broken)
    run = run_suite(python, tmp_path, MODELS)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert "the targets of 'pytest-torchscript-broken' cannot be loaded" in run.text
    assert "RuntimeError: no licence found" in run.text
    assert "Traceback" not in run.text
    plain = run_suite(python, tmp_path, "def test_plain(): ...\n")
    assert plain.code == 0, plain.text
    assert "no licence" not in plain.text
