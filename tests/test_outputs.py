"""Every command that writes, where its output cannot go: a folder, the one that it stands in too, and a full disk."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from runtime.cli.command import run_command

ROOT = Path(__file__).parent.parent
RECORDS = str(ROOT / "benchmarks/results/cpu-1-core.jsonl")
# command: its module, the words before -o, the name of a file that it writes (none: a folder)
COMMANDS: dict[str, tuple[str, list[str], str]] = {
    "export.build": ("export.build", [], ""),
    "export.single": ("export.single", ["PACKAGE"], "x.onnx"),
    "calibration": ("calibration.cli", ["PACKAGE", "PHOTO"], ""),
    "calibration.sampling": ("calibration.sampling.cli", ["PACKAGE", "PHOTO"], ""),
    "benchmarks": ("benchmarks.cli", ["PACKAGE"], "x.jsonl"),
    "benchmarks.report": ("benchmarks.report", [RECORDS], "x.md"),
    "benchmarks.full_size": ("benchmarks.full_size", [], "x.safetensors"),
    "training": ("training.cli", ["PHOTOS", "--darken", "--iterations", "1"], "x.pth.tar"),
    "runtime": ("runtime.cli.photos", ["PACKAGE", "PHOTO"], "x.png"),
    "runtime.video": ("runtime.cli.video.command", ["PACKAGE", "VIDEO"], "x.mp4"),
    "serving.triton": ("serving.triton.cli", ["PACKAGE"], ""),
}
ON_A_FULL_DISK = ("export.single", "benchmarks.report", "runtime", "serving.triton")  # what gets there in a second
Run = Callable[[str, str], str]


@pytest.fixture
def refusal(tiny_package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """refusal("runtime", "out") -> its one error line."""
    (tmp_path / "photos").mkdir()
    photo = tmp_path / "photos/dark.png"
    Image.open(ROOT / "assets/sample.png").resize((48, 32)).save(photo)
    given = {"PACKAGE": tiny_package, "PHOTO": photo, "PHOTOS": photo.parent, "VIDEO": photo}

    def run(command: str, output: str) -> str:
        module, words, _ = COMMANDS[command]
        argv = [*(str(given.get(word, word)) for word in words), "-o", output]
        main = importlib.import_module(module).main
        with pytest.raises(SystemExit) as end:
            run_command(main, argv)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert (end.value.code, len(lines)) == (2, 1), (command, lines)
        return lines[0]

    return run


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "runtime"])  # photos go into a folder
def test_a_folder_that_is_there_is_refused(command: str, refusal: Run, tmp_path: Path, monkeypatch) -> None:
    here = tmp_path / "place/here"
    here.mkdir(parents=True)
    (here / "notes").write_text("a user's own")
    monkeypatch.chdir(here)
    for output in (".", "..", f"{here}/"):
        assert str(Path(output)) in refusal(command, output)
    assert [str(path.relative_to(here.parent)) for path in sorted(here.parent.rglob("*"))] == ["here", "here/notes"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        with pytest.raises(OSError, match="No space left"):
            (place / "fill").write_bytes(bytes(2 << 20))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("command", ON_A_FULL_DISK)
def test_a_full_disk_is_told_and_holds_nothing_of_it(command: str, refusal: Run, full_disk: Path) -> None:
    output = full_disk / (COMMANDS[command][2] or "x")
    line = refusal(command, str(output))
    assert str(output) in line
    assert "No space left on device" in line
    assert [path.name for path in full_disk.iterdir()] == ["fill"]
