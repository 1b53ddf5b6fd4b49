"""The beginning of shell commands, by the shell itself: no name of a folder acts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nndefense.core.sources import LIBRARY
from nndefense.flow.shells import literal, shell_prefix
from nndefense.flow.shipped import library_alone

HOSTILE = "a b $(touch pwned) `touch pwned` 'x' \"y\" {z} {open %s %20 <results> ; touch pwned; \\ : \n * ä"
snakemake_format = pytest.importorskip("snakemake.utils").format


def formatted(text):
    """A text as Snakemake formats it."""
    return snakemake_format(text, stepout=1)


def in_shell(command, shell, cwd):
    done = subprocess.run([shell, "-c", command], cwd=cwd, capture_output=True, text=True, timeout=30, check=False)
    assert not (cwd / "pwned").exists()
    return done


@pytest.mark.parametrize("path", [HOSTILE, "{}", "{{x}}", "plain"])
def test_a_literal_path_is_formatted_back_to_itself(path):
    assert formatted(literal(path)) == path


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_python_is_the_interpreter_that_was_named(tmp_path, shell):
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    (folder / "python").write_text('#!/bin/sh\nprintf "%s|" "$@"; echo "$NNDEFENSE_RUN $RESULTS"\n')
    (folder / "python").chmod(0o755)
    prefix = formatted(shell_prefix(str(folder / "python"), RESULTS="results/x"))
    if shell == "sh":
        # Only bash knows this option.
        prefix = prefix.replace("set -euo pipefail", "set -eu")
    done = in_shell(f"{prefix}python 'a b' c", shell, tmp_path)
    assert done.stdout == f"a b|c|{os.getpid()} results/x\n", done.stderr


def test_without_an_interpreter_python_is_what_the_shell_finds(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(shutil.which("echo"))
    command = f"PATH={tmp_path}/bin:$PATH; " + formatted(shell_prefix(None, RESULTS="results")) + 'python "$RESULTS"'
    assert in_shell(command, "bash", tmp_path).stdout == "results\n"


def test_values_are_data(tmp_path):
    done = in_shell(formatted(shell_prefix(sys.executable, VALUE=HOSTILE)) + 'printf %s "$VALUE"', "bash", tmp_path)
    assert done.stdout == HOSTILE


def test_commands_that_fail_within_a_pipe_fail(tmp_path):
    assert in_shell(formatted(shell_prefix(None)) + "false | cat", "bash", tmp_path).returncode == 1
    assert in_shell(formatted(shell_prefix(None)) + "false; true", "bash", tmp_path).returncode == 1


def test_what_stands_before_commands_already_stays(tmp_path):
    before = formatted(shell_prefix(None, "x() { echo '{y} ${HOME}'; }; ", RESULTS="results"))
    assert in_shell(before + "false | true; x", "bash", tmp_path).stdout == "{y} ${HOME}\n"
    twice = formatted(shell_prefix(None, before, RESULTS="others"))
    assert in_shell(twice + "x; echo $RESULTS", "bash", tmp_path).stdout == "{y} ${HOME}\nothers\n"


def test_names_are_as_the_jobs_know_them():
    assert Path(sys.executable).name in shell_prefix(sys.executable)
    assert "NNDEFENSE_RUN=$PPID" in shell_prefix(None)


def test_a_python_of_another_environment_finds_the_library_and_nothing_else(tmp_path):
    assert library_alone(LIBRARY.parent, tmp_path / "unused") == {}
    assert not (tmp_path / "unused").exists()
    for _ in range(2):
        found = library_alone(tmp_path / "scripts", tmp_path / "link")
        assert found == {"PYTHONPATH": str(tmp_path / "link")}
        assert [one.resolve() for one in (tmp_path / "link").iterdir()] == [LIBRARY]
    (tmp_path / "link" / "nndefense").unlink()
    (tmp_path / "link" / "nndefense").symlink_to(tmp_path)  # of an installation that is no more
    library_alone(tmp_path / "scripts", tmp_path / "link")
    assert (tmp_path / "link" / "nndefense" / "core").is_dir()
