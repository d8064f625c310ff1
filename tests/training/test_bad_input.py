"""What cannot be trained on is told in one line, and what was there before stays."""

from __future__ import annotations

import errno
import math
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import scene

from export.checkpoint import load_checkpoint
from runtime.errors import DiffLLError, EngineError, InputError, PackageError
from training import photos, run, state
from training.cli import main


def refused(words, text):
    with pytest.raises(DiffLLError, match=text) as raised:
        main([str(word) for word in words])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["missing", "empty", "texts", "damaged"])
def test_a_folder_without_photos(tmp_path, kind):
    folder = tmp_path / "photos"
    text = {"missing": "no folder", "empty": "", "texts": "", "damaged": "cannot read .*a.png.*damaged"}[kind]
    if kind != "missing":
        folder.mkdir()
    if kind == "texts":
        (folder / "readme.txt").write_text("hello")
    if kind == "damaged":
        (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    refused([folder, "-o", tmp_path / "c.pth", "--darken", "--iterations", 1], text or f"{folder}")
    assert not (tmp_path / "c.pth").exists()


def test_a_process_for_batches_that_is_killed(train, bright, tmp_path, monkeypatch):
    def ends(self: photos.Patches, batch: photos.Batch) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(photos.Patches, "__getitem__", ends)  # the worker is forked from here
    with pytest.raises(
        EngineError, match=r"a process that makes batches ended \(DataLoader worker .*--workers \(now 1\)"
    ):
        train(bright, "--darken", "--workers", 1)
    assert not (tmp_path / "mine.pth.tar").exists()


@pytest.mark.parametrize(("size", "text"), [(None, "1 of 6 photos have no reference.*'2.png'"), (90, "differ in size")])
def test_references_that_are_missing_or_of_another_size(bright, tmp_path, size, text):
    references = tmp_path / "references"
    references.mkdir()
    for path in bright.iterdir():
        (references / path.name).write_bytes(path.read_bytes())
    (references / "2.png").unlink()
    if size:
        Image.fromarray(scene(2, size, size)).save(references / "2.png")
    refused([bright, "-o", tmp_path / "c.pth", "--references", references, "--iterations", 1], text)


def test_photos_smaller_than_a_patch_are_named_and_left_out(train, bright, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a.png", 96), ("thin.png", 30)):
        Image.fromarray(scene(1, size, 96)).save(folder / name)
    output = train(folder, "--darken", iterations=1)
    assert f"left out: {folder / 'thin.png'}: 96x30 pixels, smaller than a patch of 32" in capsys.readouterr().err
    assert "1 photos" in output.with_name("mine.md").read_text()
    (folder / "a.png").unlink()
    refused([folder, "-o", tmp_path / "c.pth", "--darken", "--iterations", 1], r"every photo \(1\) is smaller")


def test_a_checkpoint_of_another_model(bright, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"ema_helper": {"conv.weight": torch.zeros(3, 3)}}, other)
    with pytest.raises(PackageError, match="not a DiffLL checkpoint"):
        main([str(w) for w in (bright, "-o", tmp_path / "c.pth", "--darken", "--init", other, "--iterations", 1)])


def test_losses_that_are_no_numbers_stop_it_with_the_weights_of_before(train, bright, tmp_path, monkeypatch):
    losses, calls = run.batch_losses, []

    def broken(*arguments):
        calls.append(1)
        return losses(*arguments) * (math.nan if len(calls) == 6 else 1)

    monkeypatch.setattr(run, "batch_losses", broken)
    monkeypatch.setattr(run, "REPORT", 4)
    with pytest.raises(EngineError, match=r"^iteration 5: the loss or its gradient is no number"):
        train(bright, "--darken", iterations=12)
    kept = torch.load(tmp_path / ".mine.pth.tar.training" / "state.pt", weights_only=True)
    monkeypatch.setattr(run, "batch_losses", losses)
    monkeypatch.setattr(run.Course, "share", lambda self, iteration: iteration / 12 if iteration < 5 else 1.0)
    good = train(bright, "--darken", name="good.pth.tar", iterations=12)
    assert kept["iteration"] == 5
    content = torch.load(good, weights_only=False)
    assert load_checkpoint(tmp_path / "mine.pth.tar").weights.keys() == content["ema_helper"].keys()
    ema = {name: (value - content["ema_helper"][name]).abs().max() for name, value in kept["ema"].items()}
    assert max(ema.values()) < 1e-4
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_a_full_disk_leaves_the_state_of_before(train, bright, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REPORT", 2)
    write, calls = state.write_file, []

    def full(path, **options):
        calls.append(path.name)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, **options)

    monkeypatch.setattr(state, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        train(bright, "--darken", "--keep-every", 1e-6, iterations=12)
    assert calls == ["state.pt", "mine.pth.tar"] * 2
    assert torch.load(tmp_path / ".mine.pth.tar.training" / "state.pt", weights_only=True)["iteration"] == 4
    load_checkpoint(tmp_path / "mine.pth.tar")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-o", "c.onnx", "--darken", "--iterations", 1], "not a checkpoint's name"),
        (["-o", "no/c.pth", "--darken", "--iterations", 1], "does not exist"),
        (["-o", "c.pth", "--darken", "--iterations", 1, "--device", "abacus"], "no device of PyTorch's"),
        (["-o", "c.pth", "--darken", "--iterations", 1, "--device", "meta"], "not a device that a network"),
        (["-o", "c.pth", "--darken", "--iterations", 1, "--patch", 96], "a multiple of 64 is wanted"),
        (
            ["-o", "c.pth", "--darken", "--minutes", 1e-6, "--workers", 0, "--patch", 64],
            "over before the first iteration",
        ),
        (["-o", "c.pth", "--darken", "--iterations", 1, "--patch", 64, "--evaluate", "."], "no photo is in both"),
    ],
)
def test_options_that_do_not_work(bright, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    refused([bright, *words], text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--darken"], "one of the arguments --iterations --minutes is required"),
        (["--iterations", 1], "say how the photos should come out"),
        (["--darken", "--iterations", 0], "0 is too few"),
        (["--darken", "--iterations", 1, "--width", 40], "multiple of 32"),
        (["--darken", "--iterations", 1, "--timesteps", "40,80"], "no list of falling timesteps"),
        (["--darken", "--iterations", 1, "--timesteps", "80,40", "60,20"], "as many calls"),
        (["--darken", "--iterations", 1, "--weight", "style=1"], "names no loss"),
        (["--darken", "--iterations", 1, "--learning-rate", "nan"], "not above 0"),
    ],
)
def test_words_that_are_no_command(bright, capsys, words, text):
    with pytest.raises(SystemExit) as raised:
        main([str(word) for word in (bright, "-o", "c.pth", *words)])
    assert raised.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert text in said


def test_a_checkpoint_that_is_there_stays(bright, tmp_path):
    output = tmp_path / "c.pth"
    output.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        main([str(word) for word in (bright, "-o", output, "--darken", "--iterations", 1)])
    assert output.read_bytes() == b"mine"
    assert np.all([path.name == "c.pth" for path in tmp_path.iterdir()])
