"""Folders through the command: results mirror photos, a killed run goes on, changed photos are noticed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.folders import differing, finish, killed, make_photos, stamps, written_again
from runtime.cli.photos import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tiny_package, tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    """run("--option", ...) -> exit code, stdout and stderr of the command over the folder ``in`` to ``out``."""

    def command(*options: str, out: str | None = "out") -> tuple[int, str, str]:
        place = [] if out is None else ["-o", str(tmp_path / out)]
        code = main([str(tiny_package), *options, str(tmp_path / "in"), "--recursive", *place])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_a_tree_is_mirrored_and_a_second_run_does_nothing_twice(run, tmp_path):
    make_photos(tmp_path / "in", 6)
    (tmp_path / "in" / "notes.txt").write_text("")
    code, _, err = run("--steps", "2")
    assert (code, err.splitlines()[-1].split(" in ")[0]) == (0, "6 of 6 photos done, 1 other files left")
    before = stamps(tmp_path / "out")
    assert sorted([*before, "notes.txt"]) == sorted(stamps(tmp_path / "in"))
    code, _, err = run("--steps", "2", "--skip-existing")
    assert (code, stamps(tmp_path / "out")) == (0, before)
    assert "6 skipped" in err


def test_changed_photos_and_settings_are_noticed_and_a_users_work_is_not(run, tmp_path):
    first, second, third, _ = make_photos(tmp_path / "in", 4)
    run("--steps", "2")
    before = stamps(tmp_path / "out")
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(first)
    (tmp_path / "out" / "even" / second.name).unlink()
    retouched = tmp_path / "out" / "odd" / third.name
    retouched.write_bytes(b"retouched by hand")
    _, _, err = run("--steps", "2", "--skip-existing")
    changed = {name for name, stamp in stamps(tmp_path / "out").items() if stamp != before[name]}
    assert changed == {"odd/000.png", "even/001.png", "odd/002.png"}
    assert retouched.read_bytes() == b"retouched by hand"
    assert f"{retouched}: was there" in err
    between = stamps(tmp_path / "out")
    run("--steps", "4", "--skip-existing")
    kept = {name for name, stamp in stamps(tmp_path / "out").items() if stamp == between[name]}
    assert kept == {"odd/002.png"}


def test_runs_killed_at_any_moment_go_on_and_write_nothing_twice(tiny_package, tmp_path, time_limit):
    photos = make_photos(tmp_path / "in", 20)
    place = tiny_package, tmp_path / "in", tmp_path / "out"
    with time_limit(120):
        done, problems = killed(*place, [3, 6], np.random.default_rng(3))
        finish(*place)
    found = stamps(tmp_path / "out")
    assert problems + written_again(done, found) + differing(*place, photos[::7]) == []
    assert len(done) >= 9
    assert len(found) == len(photos), "a killed run's leftovers are gone too"


def test_what_a_run_lost_or_did_twice_is_told(tiny_package, tmp_path):
    photos = make_photos(tmp_path, 3)
    before = stamps(tmp_path)
    photos[0].unlink()
    Image.new("RGB", (12, 9)).save(photos[1])
    found = written_again(before, stamps(tmp_path))
    assert found == ["odd/000.png was written again, or lost", "even/001.png was written again, or lost"]
    photos[2].write_bytes(photos[2].read_bytes()[:-30])
    assert len(differing(tiny_package, tmp_path, tmp_path, photos)) == 3


def test_in_place_replaces_each_photo_once(run, tmp_path):
    photos = make_photos(tmp_path / "in", 3)
    before = [path.read_bytes() for path in photos]
    assert run("--in-place", "--steps", "2", out=None)[0] == 0
    after = [path.read_bytes() for path in photos]
    assert all(a != b for a, b in zip(before, after, strict=True))
    _, _, err = run("--in-place", "--steps", "2", out=None)
    assert [path.read_bytes() for path in photos] == after
    assert "3 skipped" in err


def test_results_are_those_of_single_photos_also_with_strength_and_quality(run, tiny_package, tmp_path):
    from runtime import Enhancer

    photos = make_photos(tmp_path / "in", 3)
    run("--steps", "2", "--strength", "0.25")
    with Enhancer.open(tiny_package) as enhancer:
        for path in photos:
            dark = np.asarray(Image.open(path)).astype(np.float64)
            bright = enhancer(np.asarray(Image.open(path)), steps=2)
            result = np.asarray(Image.open(tmp_path / "out" / path.parent.name / path.name))
            np.testing.assert_array_equal(result, np.floor(dark + 0.25 * (bright - dark) + 0.5))
    sizes = []
    for quality in ("10", "99"):
        run("--steps", "2", "--format", "jpg", "--quality", quality, out=f"q{quality}")
        sizes.append((tmp_path / f"q{quality}" / "odd" / "000.jpg").stat().st_size)
    assert sizes[0] < sizes[1]


def test_json_has_one_line_for_every_photo_in_order(run, tmp_path):
    photos = make_photos(tmp_path / "in", 4)
    photos[2].write_bytes(b"no photo")
    code, out, _ = run("--steps", "2", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    order = [str(path) for path in sorted(photos)]
    assert (code, [line["input"] for line in lines]) == (1, order)
    assert [line["status"] for line in lines] == ["done", "done", "done", "failed"]
    assert lines[0]["output"] == str(tmp_path / "out" / "even" / "001.png")
    assert (lines[0]["width"], lines[0]["height"], lines[0]["plan"], lines[0]["sampling"]) == (
        12,
        9,
        "whole",
        "2 steps",
    )
    assert lines[0]["milliseconds"] > 0
    assert "not a known photo" in lines[3]["error"]


def test_an_interrupted_run_says_how_to_go_on(tiny_package, tmp_path):
    make_photos(tmp_path / "in", 80)
    command = [sys.executable, "-m", "runtime", str(tiny_package), str(tmp_path / "in"), "--recursive"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "out")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while len(list((tmp_path / "out").rglob("[!.]*.png"))) < 2 and time.monotonic() - begun < 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = err.splitlines()
    assert process.returncode == 130
    assert "photos done" in lines[-3]
    assert lines[-2] == "The same command with --skip-existing goes on from here."
    assert lines[-1].startswith("error: interrupted")


def test_pipes_carry_the_image_and_nothing_else(tiny_package, tmp_path):
    photo = make_photos(tmp_path / "in", 1, "webp")[0]
    command = [sys.executable, "-m", "runtime", str(tiny_package), "-", "-o", "-", "--steps", "2"]
    for options, kind in (([], "WEBP"), (["--format", "png"], "PNG")):
        done = subprocess.run([*command, *options], input=photo.read_bytes(), cwd=ROOT, capture_output=True, check=True)
        image = Image.open(io.BytesIO(done.stdout))
        image.load()
        assert (image.format, image.size) == (kind, (12, 9))
    bad = subprocess.run(command, input=b"no photo", cwd=ROOT, capture_output=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr.startswith(b"error: ")


def test_a_result_that_is_there_stops_the_command_before_work(run, tmp_path):
    from runtime.errors import InputError

    make_photos(tmp_path / "in", 2)
    run("--steps", "2")
    before = stamps(tmp_path / "out")
    with pytest.raises(InputError, match="2 of 2 results are there already"):
        run("--steps", "2")
    assert stamps(tmp_path / "out") == before
    run("--steps", "2", "--overwrite")
    assert all(stamp != before[name] for name, stamp in stamps(tmp_path / "out").items())


def test_names_that_are_no_text_are_carried(run, tmp_path):
    (photo,) = make_photos(tmp_path / "in", 1)
    odd = os.fsencode(photo.parent) + b"/\xff\xfe.png"
    os.rename(photo, odd)
    assert run("--steps", "2", "--json")[0] == 0
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/odd/\xff\xfe.png")
    _, _, err = run("--steps", "2", "--skip-existing")
    assert "there already" in err
