"""``python -m calibration.sampling``: the search alone, the choice alone, and the command on a tiny network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from calibration_command import ROOT, Notes
from PIL import Image

from calibration.sampling import find as whole
from calibration.sampling.choice import NEAR, Bar, Row, better_coefficients, choose, refusal, why
from calibration.sampling.cli import main, parse_args
from calibration.sampling.judge import Judge
from calibration.sampling.score import Score, Scores
from calibration.sampling.search import Search
from calibration.sampling.small import SmallPhoto
from calibration.sampling.state import State
from calibration.sampling.trials import Trials
from runtime.backends import open_backend
from runtime.enhancer import Enhancer
from runtime.errors import InputError
from runtime.image import to_pixels
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.planning.request import Request


def planted(steps):
    """A landscape whose best is at ``steps``; other numbers of calls are worth less."""

    def value(samplings):
        asked.extend(samplings)
        return [
            -sum(abs(a - b) for a, b in zip(one.timesteps, steps, strict=False)) - 30 * abs(one.calls - len(steps))
            for one in samplings
        ]

    asked: list[Sampling] = []
    return asked, value


@pytest.mark.parametrize("start", ["zero", "normal"])
@pytest.mark.parametrize("steps", [(60,), (80, 40), (95, 45), (199, 20), (100, 50, 10)])
def test_the_search_finds_what_was_planted_and_asks_once_for_each(steps, start):
    asked, value = planted(steps)
    found = Search(200, start, value).best(len(steps))[0]
    assert all(abs(a - b) <= 5 for a, b in zip(found.timesteps, steps, strict=True))
    assert (found.start, found.name) == (start, "fast")
    assert len(asked) == len(set(asked)) < 250
    assert all(min(one.timesteps) >= 0 and max(one.timesteps) < 200 for one in asked)
    assert all(a > b for one in asked for a, b in pairwise(one.timesteps))


def test_a_short_schedule_is_searched_too():
    assert Search(4, "zero", planted((3, 1))[1]).best(2)[0].timesteps == (3, 1)


def row(calls, psnr_db, ssim, **more):
    sampling = Sampling("fast", tuple(range(10 * calls, 0, -10)), "zero", **more)
    return Row(f"{calls}", sampling, Scores(Score(psnr_db, ssim), Score(psnr_db + 5, ssim)))


BAR = Bar(True, Score(17.0, 0.73), 0.15, 0.01)


def test_the_most_psnr_within_the_budgets_is_chosen_and_fewer_calls_where_it_is_as_good():
    assert choose([row(1, 17.0, 0.73), row(2, 18.0, 0.73), row(3, 18.04, 0.73)], BAR).sampling.calls == 2
    assert choose([row(1, 19.0, 0.70), row(2, 16.86, 0.721)], BAR).sampling.calls == 2
    assert choose([row(1, 19.0, 0.719), row(2, 16.84, 0.8)], BAR) is None
    text = why(row(2, 18.0, 0.74), BAR)
    assert "20, 10; zero" in text
    assert "18.00 dB and SSIM 0.740 against the references" in text
    assert "17.00 dB" in text


def test_without_references_the_published_picture_at_equal_brightness_counts():
    bar = Bar(False, NEAR, 0.15, 0.01)
    assert choose([row(1, 18.9, 0.9)], bar) is not None  # 23.9 dB at equal brightness
    assert choose([row(1, 18.8, 0.9)], bar) is None
    assert "published picture at equal brightness" in why(row(1, 19, 0.9), bar)
    assert choose([row(1, 30.0, 0.94), row(2, 27.0, 0.96)], bar).sampling.calls == 2  # noise is left in the first
    assert choose([row(1, 30.0, 0.951), row(2, 27.0, 0.96)], bar).sampling.calls == 1


def test_own_coefficients_are_kept_only_where_it_shows():
    rows = ((1.0, 0.0, 0.0, 0.0, 0.0),)
    plain = row(1, 17.0, 0.73)
    for gain, ssim, kept in ((0.06, 0.73, True), (0.04, 0.73, False), (0.06, 0.72, False)):
        fitted = row(1, 17.0 + gain, ssim, coefficients=rows)
        assert better_coefficients(plain, fitted, BAR) is (fitted if kept else plain)


def test_a_refusal_names_the_number_of_calls_that_would_do():
    assert "3 calls would do (30, 20, 10; zero): give --calls 3" in refusal(
        [row(1, 12.0, 0.2), row(2, 16.0, 0.7)], BAR, 2, row(3, 17, 0.73), 5
    )
    text = refusal([row(1, 12.0, 0.2), row(2, 16.0, 0.7)], BAR, 2, None, 5)
    assert "20, 10; zero) has 16.00 dB" in text
    assert "5 calls would not do either" in text


@pytest.fixture(scope="module")
def opened(tiny_package):
    package = Package.open(tiny_package)
    backend = open_backend("onnxruntime", package, None)
    with Enhancer(package, backend) as enhancer:
        yield enhancer


@pytest.mark.parametrize("start", ["zero", "normal"])
def test_a_small_photo_shows_what_the_runtime_makes(opened, start):
    dark = np.random.default_rng(3).integers(0, 60, (40, 56, 3), np.uint8)
    photo = SmallPhoto(opened.backend, opened.manifest, dark, None, 0)
    three = Sampling("fast", (150, 60, 20), start)
    for sampling in (Sampling("fast", (150, 60), start), three, opened.manifest.samplings["published"]):
        noise = np.random.default_rng(0).standard_normal(opened.noise_shape(40, 56), np.float32)[None]
        request = Request(40, 56, sampling.calls, 1, 1)
        expected = opened.runner.run(dark[None], noise if sampling.start == "normal" else None, request, sampling)
        found = photo.picture(sampling).transpose(2, 0, 1)[None] / 255
        assert np.abs(to_pixels(found, 40, 56, np.dtype(np.uint8)).astype(int) - expected.pixels).max() <= 1
    runs = photo.runs
    photo.picture(three)
    assert photo.runs == runs == 13


@pytest.fixture
def references(photos, tmp_path):
    """Brighter photos of the same names; one of them a JPEG."""
    folder = tmp_path / "bright"
    folder.mkdir()
    for index, photo in enumerate(photos):
        with Image.open(photo) as dark:
            pixels = np.clip(np.asarray(dark).astype(int) * 4, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{photo.stem}.{'jpg' if index == 3 else 'png'}")
    return folder


@pytest.fixture
def small_search(monkeypatch):
    """A grid of five timesteps in place of eleven, and none between them."""
    from calibration.sampling import search

    monkeypatch.setattr(search, "_COARSE", 4)
    monkeypatch.setattr(search, "_FINER", ())


def run(*words):
    return main([str(word) for word in words])


LOOSE = "--budget-db", 100, "--budget-ssim", 1


def test_the_package_has_fast_and_says_how_it_was_found(
    tiny_package, photos, references, small_search, tmp_path, capsys
):
    output = tmp_path / "out"
    assert run(tiny_package, "--references", references, *photos, "--calls", 2, *LOOSE, "-o", output) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(f"\n{output}\n")
    assert "`fast` is " in printed
    assert "| `--steps 2` | 100, 0; normal |" in printed
    package = Package.open(output)
    fast = package.manifest.samplings["fast"]
    assert 1 <= fast.calls <= 2
    names = fast.judged["photos"]
    assert sorted(names["search"] + names["judging"]) == [photo.name for photo in photos]
    assert (len(names["search"]), fast.judged["references"]) == (3, True)
    assert fast.judged["package_sha256"] == Package.open(tiny_package).sha256
    assert fast.judged["checkpoint_sha256"] == package.manifest.provenance["checkpoint_sha256"]
    assert set(fast.judged["published"]) == set(fast.judged["fast"]) >= {"psnr_db", "ssim"}
    assert "--references bright --calls 2" in fast.judged["command"]
    assert str(tmp_path) not in fast.judged["command"]
    certificate = json.loads(package.read("certificate.json"))
    (row,) = certificate["samplings"]
    assert row["compared_with"] == "reference photos"
    assert "export.build" in row["pytorch"]
    assert len(certificate["end_to_end"]) == len(
        json.loads((tiny_package / "certificate.json").read_text())["end_to_end"]
    )
    page = package.read("sampling.md").decode()
    assert "| `published` |" in page
    assert "Judged on: " in page
    for name, columns in (("sampling.png", 2), ("sampling-sheet.jpg", 4)):
        with Image.open(output / name) as image:
            assert image.width >= 300 * columns
    assert not (tmp_path / ".out.sampling").exists()
    dark = np.asarray(Image.open(photos[0]))
    with Enhancer.open(output) as enhancer:
        assert enhancer(dark, sampling="fast").shape == dark.shape
    again = tmp_path / "again"  # of a package that has one already: the old one and its row go
    assert run(output, *photos, "--calls", 1, *LOOSE, "-o", again) == 0
    package = Package.open(again)
    assert list(package.manifest.samplings) == ["published", "fast"]
    assert package.manifest.samplings["fast"].calls == 1
    (row,) = json.loads(package.read("certificate.json"))["samplings"]
    assert row["compared_with"] == "the published pictures of the same package"


def test_a_killed_run_goes_on_and_measures_nothing_twice(tiny_package, photos, small_search, tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    measured: list[object] = []
    put = State.put

    def noted(self, place, sampling, values):
        put(self, place, sampling, values)
        measured.append((place, sampling))
        if len(measured) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "put", noted)
    stop = -1
    assert run(tiny_package, *photos[:3], *LOOSE, "-o", one) == 0
    every = list(measured)
    measured.clear()
    for stop in (5, len(every) - 2):  # noqa: B007 - noted reads it
        with pytest.raises(KeyboardInterrupt):
            run(tiny_package, *photos[:3], *LOOSE, "-o", two)
    kept = tmp_path / ".two.sampling" / "scores.jsonl"
    kept.write_text(kept.read_text() + '["photo cut')
    stop = -1
    assert run(tiny_package, *photos[:3], *LOOSE, "-o", two) == 0
    assert sorted(map(str, measured)) == sorted(map(str, every))
    assert (two / "manifest.json").read_bytes() == (one / "manifest.json").read_bytes()
    assert not kept.parent.exists()


def test_scores_of_other_photos_are_not_used(tmp_path):
    sampling, progress = Sampling("fast", (80, 40), "zero"), Notes()
    State(tmp_path / "out", {"photos": ["a"]}, progress).put("small a", sampling, [1.0, 2.0])
    assert State(tmp_path / "out", {"photos": ["a"]}, progress).get("small a", sampling) == [1.0, 2.0]
    other = State(tmp_path / "out", {"photos": ["b"]}, progress)
    assert not other.resumed
    assert other.get("small a", sampling) is None
    assert progress.told == []


def test_a_damaged_line_of_scores_is_told_and_measured_anew(tmp_path):
    sampling, key, progress = Sampling("fast", (80, 40), "zero"), {"photos": ["a"]}, Notes()
    state = State(tmp_path / "out", key, progress)
    file = state.folder / "scores.jsonl"
    state.put("small a", sampling, [1.0, 2.0])
    state.put("photo a", sampling, [1.0, 2.0, 3.0, 4.0])
    good = file.read_bytes()
    for value in ("NaN", "1e999", "1e4", '"2.0"', "true", "[2.0]", "2.0, 3.0", "", "[" * 9000, "9" * 5000, "2.0]["):
        file.write_bytes(good.replace(b", 1.0, 2.0]", f", 1.0, {value}]".encode()))
        again = State(tmp_path / "out", key, progress)
        assert again.resumed
        assert again.get("small a", sampling) is None
        assert again.get("photo a", sampling) == [1.0, 2.0, 3.0, 4.0]
        assert progress.told.pop() == f"{file}: line 2 is damaged; what it held is measured anew"
    file.write_bytes(good[:-9])  # as a kill leaves it
    again = State(tmp_path / "out", key, progress)
    assert [again.get(place, sampling) for place in ("small a", "photo a")] == [[1.0, 2.0], None]
    assert progress.told == []
    file.unlink()
    os.mkfifo(file)
    assert not State(tmp_path / "out", key, progress).resumed
    assert progress.told.pop() == f"{file}: cannot be read (no regular file); all is measured anew"


def test_too_much_lost_writes_nothing_and_names_the_calls_that_would_do(
    tiny_package, photos, references, small_search, tmp_path, monkeypatch, capsys
):
    def scores(self, rows):
        return {
            name: Scores(Score(one.calls - 20.0 * (one.calls < 3), 0.5), Score(0.0, 0.0)) for name, one in rows.items()
        }

    monkeypatch.setattr(Judge, "scores", scores)
    monkeypatch.setattr(Trials, "scores", lambda self, samplings: [Score(one.calls, 0.5) for one in samplings])
    output = tmp_path / "out"
    words = tiny_package, *photos, "--references", references, "-o", output
    assert run(*words, "--budget-db", 7) == 1
    printed = capsys.readouterr()
    assert "no `fast` was written" in printed.err
    assert "3 calls would do" in printed.err
    assert "--calls 3" in printed.err
    assert "| best of 3 calls from zero |" in printed.out
    assert not output.exists()
    assert not (tmp_path / ".out.sampling").exists()
    assert run(*words) == 1
    assert "5 calls would not do either" in capsys.readouterr().err


def test_bad_input_is_told_before_any_work(tiny_package, photos, references, tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "Trials", None)
    out = "-o", tmp_path / "out"
    with pytest.raises(InputError, match=r"1 photo given; at least 2 different ones"):
        run(tiny_package, photos[0], photos[0], *out)
    with pytest.raises(InputError, match="nowhere is no folder"):
        run(tiny_package, *photos, "--references", tmp_path / "nowhere", *out)
    (references / f"{photos[1].stem}.png").unlink()
    with pytest.raises(
        InputError, match=rf"{photos[1].name}: its reference is missing .* no file; one 1\.\* is wanted"
    ):
        run(tiny_package, *photos, "--references", references, *out)
    Image.new("RGB", (80, 60)).save(references / "1.bmp")
    with pytest.raises(InputError, match=r"1\.bmp: 80x60 pixels, and its dark photo .*1\.png has 80x64"):
        run(tiny_package, *photos, "--references", references, *out)
    Image.new("RGB", (80, 10)).save(tmp_path / "flat.png")
    with pytest.raises(InputError, match=r"flat\.png: 80x10 pixels; .* at least 16 a side"):
        run(tiny_package, *photos, tmp_path / "flat.png", *out)
    with pytest.raises(InputError, match="exists and is no package"):
        run(tiny_package, *photos, "-o", references)
    with pytest.raises(InputError, match="give --overwrite"):
        run(tiny_package, *photos, "-o", tiny_package)
    assert list(tmp_path.glob(".out*")) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--calls", "0"), "--calls is 0; 1 to 10 wanted"),
        (("--calls", "-1"), "--calls is -1"),
        (("--budget-db", "nan"), "--budget-db is nan"),
        (("--budget-ssim", "2"), "--budget-ssim is 2"),
    ],
)
def test_options_out_of_range_are_one_line(words, told, capsys):
    with pytest.raises(SystemExit) as end:
        parse_args(["package", "a.png", *words, "-o", "out"])
    assert end.value.code == 2
    assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_args(["package", "-o", "out"])
    assert "no PHOTO was given" in capsys.readouterr().err


def test_without_pytorch(tiny_package, photos, tmp_path):
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'torch', 'onnx', 'onnxscript', 'export', 'benchmarks'}:\n"
        "            raise ImportError(f'{name} is blocked by this test')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from calibration.sampling import search\n"
        "search._COARSE, search._FINER = 2, ()\n"
        "from calibration.sampling.cli import main\n"
        f"raise SystemExit(main({[str(tiny_package), *map(str, photos[:2]), *map(str, LOOSE)]!r} + sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", script, "--calls", "1", "-o", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert Package.open(tmp_path / "out").manifest.samplings["fast"].calls == 1
