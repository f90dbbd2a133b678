"""`make versions`: it runs what it says it runs, and nothing that is missing or failing looks like a success."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import versions

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
posix = pytest.mark.skipif(sys.platform == "win32", reason="writes shell scripts")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@posix
def test_a_python_is_found_on_the_path_if_it_answers(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    assert versions.find("3.99", environment) is None
    shim = script(tmp_path / "python3.99", "echo 'command not found' >&2; exit 127")
    assert versions.find("3.99", environment) is None
    script(shim, "echo 3.98")
    assert versions.find("3.99", environment) is None
    script(shim, "echo 3.99")
    assert versions.find("3.99", environment) == str(shim)


@posix
def test_a_variable_comes_before_the_path(tmp_path: Path) -> None:
    script(tmp_path / "python3.99", "echo 3.99")
    other = script(tmp_path / "other", "echo 3.99")
    environment = {"PATH": str(tmp_path), "PYTHON399": str(other)}
    assert versions.find("3.99", environment) == str(other)
    environment["PYTHON399"] = str(tmp_path / "nothing")
    assert versions.find("3.99", environment) is None  # what was asked for, or nothing


def test_the_running_python_needs_no_finding() -> None:
    assert versions.find(HERE, {"PATH": ""}) == sys.executable
    assert versions.answer("/nowhere/python") == ""


def test_a_missing_python_is_said_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(["3.99"], {"PATH": ""}) == 1
    assert "Python 3.99: not found: put python3.99 on the PATH, or give PYTHON399=" in capsys.readouterr().out
    assert versions.main(["3.99"], {"PATH": "", "PYTHON399": sys.executable}) == 1
    assert f"PYTHON399={sys.executable} is not Python 3.99" in capsys.readouterr().out
    assert versions.main([], {}) == 2


@pytest.mark.parametrize(("status", "words"), [(0, "all tests passed"), (1, "pytest ended with status 1")])
def test_one_missing_python_spoils_the_others(
    status: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(versions, "prepare", lambda version, python: Path(f"env-{version}"))
    monkeypatch.setattr(versions, "suite", lambda python, options: asked.append((str(python), list(options))) or status)
    assert versions.main([HERE, "--", "-k", "relu"], {"PATH": ""}) == status
    assert versions.main([HERE, "3.99", "--", "-x"], {"PATH": ""}) == 1
    assert asked == [(f"env-{HERE}", ["-k", "relu"]), (f"env-{HERE}", ["-x"])]
    assert f"Python {HERE}: {words}" in capsys.readouterr().out


def test_an_environment_is_made_once_and_again_when_the_project_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "pyproject.toml"
    project.touch()
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    (tmp_path / ".venv-3.99").mkdir()
    for expected in (2, 2):
        own = versions.prepare("3.99", "python3.99", tmp_path)
        assert len(commands) == expected
    assert commands[0] == ["python3.99", "-m", "venv", str(tmp_path / ".venv-3.99")]
    assert commands[1][0] == str(own)
    assert commands[1][-2:] == ["--editable", f"{tmp_path}[test]"]
    (tmp_path / ".venv-3.99" / "has-test").unlink()
    versions.prepare("3.99", "python3.99", tmp_path)
    assert len(commands) == 4


def test_what_cannot_be_installed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(version: str, python: str) -> Path:
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(versions, "prepare", fail)
    assert versions.check(HERE, [], {"PATH": ""}).startswith(f"cannot make .venv-{HERE}: ")


@pytest.mark.slow
def test_the_suite_runs_and_its_failure_is_seen() -> None:
    assert versions.suite(sys.executable, ["tests/test_versions.py", "-k", "needs_no_finding"]) == 0
    assert versions.suite(sys.executable, ["tests/test_versions.py", "-k", "no_test_has_this_name"]) != 0
