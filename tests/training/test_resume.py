"""A training that is killed goes on with the same numbers."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo  # what the first step of an optimizer imports: once here, and not in every process

from runtime.errors import InputError
from training import run
from training.cli import main

ROOT = Path(__file__).parent.parent.parent
ITERATIONS, KILLS = 16, 5


@pytest.fixture
def words(bright, small, tmp_path, monkeypatch):
    """words(name) -> a command line of two iterations between two states."""
    monkeypatch.setattr(run, "REPORT", 2)
    torch.set_num_threads(1)

    def of(name, *more):
        given = [bright, "-o", tmp_path / name, "--darken", "--init", small, "--iterations", ITERATIONS, "--batch", 1]
        given += ["--patch", 32, "--workers", 1, "--device", "cpu", "--precision", "fp32", "--keep-every", 1e-6]
        return [str(word) for word in (*given, *more)]

    return of


def kill(child):
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    time.sleep(0.3)  # its worker ends just after it


def losses(folder):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_killed_five_times_it_ends_with_the_numbers_of_one_that_was_not(words, tmp_path):
    began = time.monotonic()
    assert main(words("whole.safetensors")) == 0
    took, draw, killed = time.monotonic() - began, random.Random(3), 0
    fork = multiprocessing.get_context("fork")
    log = tmp_path / "killed-training" / "log.jsonl"
    while killed < KILLS:
        before = log.read_text() if log.exists() else ""
        child = fork.Process(target=main, args=(words("killed.safetensors"),))
        child.start()
        deadline = time.monotonic() + 60
        while (not log.exists() or log.read_text() == before) and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        child.join(draw.uniform(0, took / ITERATIONS))
        if not child.is_alive():
            break
        kill(child)
        killed += 1
    assert killed == KILLS
    assert main(words("killed.safetensors")) == 0
    assert losses(tmp_path / "killed-training") == losses(tmp_path / "whole-training")
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not (tmp_path / ".killed.safetensors.training").exists()


def test_a_state_of_other_options_is_refused_and_stays(words, tmp_path):
    state = tmp_path / ".mine.safetensors.training" / "state.pt"
    child = multiprocessing.get_context("fork").Process(target=main, args=(words("mine.safetensors"),))
    child.start()
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    kill(child)
    kept = state.read_bytes()
    with pytest.raises(InputError, match="a training with other options or photos stopped here"):
        main(words("mine.safetensors", "--learning-rate", 1e-3))
    assert state.read_bytes() == kept


def test_a_training_that_is_asked_to_end_says_how_it_goes_on(words, tmp_path):
    """In a process of its own, and the signal goes to its workers too, as a terminal's does."""
    folder = tmp_path / ".mine.pth.training"
    code = "import sys; from training import run; run.REPORT = 1; from training.cli import main; "
    code += "from runtime.cli.command import run_command; run_command(main, sys.argv[1:])"
    given = [sys.executable, "-c", code, *words("mine.pth"), "--iterations", "100000"]
    process = subprocess.Popen(given, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1].splitlines()
    finally:
        process.kill()
    assert process.returncode == 143
    assert said[-2:] == [
        "the same command goes on from the state that was kept",
        "error: interrupted; nothing half-written is left behind.",
    ]
    assert [path.name for path in folder.iterdir()] == ["state.pt"]
