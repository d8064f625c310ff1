"""Clips through the command, with the machine's own ffmpeg: what comes out is compared with what went in."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.cli.video.command import main
from runtime.errors import DiffLLError

ROOT = Path(__file__).parents[4]
LOSSLESS = "-c:v libx264 -qp 0 -preset ultrafast"
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed here")
pytestmark = needs_ffmpeg


def ffmpeg(*words: object) -> bytes:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def probe(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_chapters", "-show_packets", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def picture(found: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in found["streams"] if one["codec_type"] == "video")


def rotation(path: Path) -> float:
    """Degrees counter-clockwise, 0 to 360."""
    found = [one["rotation"] for one in picture(probe(path)).get("side_data_list", ()) if "rotation" in one]
    return found[0] % 360 if found else 0


def times(path: Path) -> list[float]:
    """Time stamps of the frames, in seconds, in the order in which they are shown."""
    found = probe(path)
    number = picture(found)["index"]
    return sorted(float(one["pts_time"]) for one in found["packets"] if one["stream_index"] == number)


def first(path: Path, kind: str) -> str:
    """The time stamp of the first packet of that kind."""
    found = probe(path)
    number = next(one["index"] for one in found["streams"] if one["codec_type"] == kind)
    return next(one["pts_time"] for one in found["packets"] if one["stream_index"] == number)


def packets(path: Path, kind: str) -> bytes:
    """A hash of the sound's packets, and of what else is of that kind."""
    return ffmpeg("-i", path, "-map", f"0:{kind}", "-c", "copy", "-f", "md5", "-")


def frames(path: Path) -> np.ndarray:
    stream = picture(probe(path))
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, stream["height"], stream["width"], 3)


@pytest.fixture(scope="module")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_clip("a.mp4", ...) -> 12 frames of a moving pattern with a tone, a subtitle and two chapters."""

    def make(name: str, *options: str, size: str = "32x24", kind: str = "yuv420p", filters: str = "null") -> Path:
        folder = tmp_path_factory.mktemp("clip")
        (folder / "words.srt").write_text("1\n00:00:00,040 --> 00:00:00,400\nA dark night\n")
        chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={at}\nEND={at + 240}\ntitle=c{at}\n" for at in (0, 240))
        (folder / "chapters.txt").write_text(f";FFMETADATA1\ntitle=Night\n{chapters}")
        pattern = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.48,format=yuv444p,eq=brightness=-0.3"]
        tone = ["-f", "lavfi", "-i", "sine=d=0.48"]
        beside = ["-i", folder / "words.srt", "-i", folder / "chapters.txt", "-map_metadata", "3", "-map_chapters", "3"]
        maps = ["-map", "0", "-map", "1", "-map", "2", "-c:s", "srt" if name.endswith("mkv") else "mov_text"]
        picture = ["-vf", filters, "-pix_fmt", kind, "-c:v", "libx264", "-bf", "2", "-c:a", "aac"]
        ffmpeg(*pattern, *tone, *beside, *maps, *picture, *options, folder / name)
        return folder / name

    return make


def test_a_clip_keeps_its_frames_time_stamps_sound_subtitles_and_chapters(tiny_package, make_clip, tmp_path):
    clip, out = make_clip("night.mp4"), tmp_path / "bright.mp4"
    assert main([str(tiny_package), str(clip), "-o", str(out)]) == 0
    before, after = probe(clip), probe(out)
    assert len(times(out)) == 12
    assert times(out) == times(clip)
    for found in (before, after):
        assert [one["codec_type"] for one in found["streams"]][:3] == ["video", "audio", "subtitle"]
    for kind in ("a", "s"):
        assert packets(out, kind) == packets(clip, kind)
    assert [one["tags"] for one in after["chapters"]] == [one["tags"] for one in before["chapters"]]
    assert picture(after)["time_base"] == picture(before)["time_base"]
    assert picture(after)["avg_frame_rate"] == picture(before)["avg_frame_rate"]
    assert [one.name for one in tmp_path.iterdir()] == ["bright.mp4"]


def test_frames_are_those_of_single_calls(tiny_package, make_clip, tmp_path):
    from runtime import Enhancer

    clip, out = make_clip("night.mkv", kind="yuv444p"), tmp_path / "bright.mkv"
    main([str(tiny_package), str(clip), "-o", str(out), "--encoder", LOSSLESS, "--seed", "3"])
    with Enhancer.open(tiny_package) as enhancer:
        expected = np.stack([enhancer(frame, seed=3) for frame in frames(clip)])
    # there and back through 8-bit Y'CbCr, twice: two grey levels, and three where they add up
    assert np.abs(frames(out).astype(int) - expected).max() <= 3


def test_variable_rate_keeps_every_time_stamp(tiny_package, make_clip, tmp_path):
    uneven = "settb=1/12800,setpts='N*500+mod(N*N,5)*120'"
    clip = make_clip("uneven.mp4", "-fps_mode", "passthrough", "-enc_time_base", "1:12800", filters=uneven)
    assert len({round(b - a, 5) for a, b in zip(times(clip), times(clip)[1:], strict=False)}) > 2
    main([str(tiny_package), str(clip), "-o", str(tmp_path / "out.mp4")])
    assert times(tmp_path / "out.mp4") == times(clip)
    main([str(tiny_package), str(clip), "-o", str(tmp_path / "out.mkv")])
    # Matroska counts milliseconds, and has no time before 0, where this sound begins: ffmpeg moves both streams alike
    moved = float(first(tmp_path / "out.mkv", "audio")) - float(first(clip, "audio"))
    np.testing.assert_allclose(np.subtract(times(tmp_path / "out.mkv"), moved), times(clip), rtol=0, atol=0.0011)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_clip_comes_out_upright(tiny_package, make_clip, tmp_path, degrees):
    from runtime import Enhancer
    from runtime.cli.video.ffmpeg import version

    clip, turned, out = make_clip("night.mp4", kind="yuv444p"), tmp_path / "turned.mp4", tmp_path / "out.mp4"
    old = version() < (6, 0)
    before = [] if old else ["-display_rotation:v:0", -degrees]
    after = ["-metadata:s:v:0", f"rotate={degrees}"] if old else []
    ffmpeg(*before, "-i", clip, "-map", "0:v", "-c", "copy", *after, turned)
    assert rotation(turned) % 180 == degrees % 180
    quarters = round(rotation(turned) / 90)
    main([str(tiny_package), str(turned), "-o", str(out), "--encoder", LOSSLESS])
    assert rotation(out) == 0
    with Enhancer.open(tiny_package) as enhancer:
        expected = np.stack([enhancer(np.rot90(frame, quarters).copy()) for frame in frames(clip)])
    assert np.abs(frames(out).astype(int) - expected).max() <= 3
    assert times(out) == times(turned)


def test_odd_sizes_are_kept(tiny_package, make_clip, tmp_path):
    clip, out = make_clip("odd.mp4", size="33x21", kind="yuv444p"), tmp_path / "out.mp4"
    main([str(tiny_package), str(clip), "-o", str(out)])
    assert frames(out).shape == (12, 21, 33, 3)


@pytest.mark.parametrize(
    ("said", "matrix", "suffix"),
    [
        ("pc bt709 bt709 bt709", "bt709", ".mp4"),
        ("tv smpte170m bt470bg bt470m", "bt601", ".mkv"),
        ("tv fcc smpte432 iec61966-2-1", "fcc", ".mp4"),
        ("unknown unknown unknown unknown", "bt601", ".mkv"),
    ],
)
def test_colours_are_tagged_as_the_source_is(tiny_package, make_clip, tmp_path, said, matrix, suffix):
    wide, space, primaries, transfer = said.split()
    params = f"setparams=range={wide}:colorspace={space}:color_primaries={primaries}:color_trc={transfer}"
    scale = f"scale=out_color_matrix={matrix}:out_range={'pc' if wide == 'pc' else 'tv'}"
    clip = make_clip("tagged.mp4", filters=f"{scale},format=yuv420p,{params}")
    main([str(tiny_package), str(clip), "-o", str(tmp_path / f"out{suffix}")])
    for path in (clip, tmp_path / f"out{suffix}"):
        found = picture(probe(path))
        tags = [found.get(f"color_{name}", "unknown") for name in ("range", "space", "primaries", "transfer")]
        if wide == "unknown" and tags[0] == "tv":  # which it means, and a newer ffmpeg says
            tags[0] = wide
        assert tags == said.split()


def test_subtitles_change_with_the_format(tiny_package, make_clip, tmp_path):
    clip, out = make_clip("night.mp4"), tmp_path / "out.mkv"
    main([str(tiny_package), str(clip), "-o", str(out)])
    assert "A dark night" in ffmpeg("-i", out, "-map", "0:s", "-f", "srt", "-").decode()
    assert packets(out, "a") == packets(clip, "a")


def test_raw_frames_in_and_out(tiny_package, make_clip, tmp_path):
    clip = make_clip("night.mkv", kind="yuv444p")
    raw = frames(clip)[:3].tobytes()
    command = [sys.executable, "-m", "runtime.video", str(tiny_package), "-", "--size", "32x24", "-o", "-"]
    done = subprocess.run(command, input=raw, cwd=ROOT, capture_output=True, timeout=120, check=True)
    main([str(tiny_package), str(clip), "-o", str(tmp_path / "out.mkv"), "--encoder", LOSSLESS, "--frames", "3"])
    piped = np.frombuffer(done.stdout, np.uint8).reshape(3, 24, 32, 3)
    assert np.abs(piped.astype(int) - frames(tmp_path / "out.mkv")).max() <= 3
    broken = subprocess.run(command, input=raw[:-1], cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert broken.returncode == 2
    assert b"the pipe ends within frame 2" in broken.stderr


def test_a_killed_run_leaves_no_file(tiny_package, make_clip, tmp_path):
    clip = make_clip("long.mp4", "-t", "20", size="320x240", filters="loop=400:1")
    command = [sys.executable, "-m", "runtime.video", str(tiny_package), str(clip), "-o", str(tmp_path / "out.mp4")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.mp4.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def broken_clip(path: Path, make_clip: Callable[..., Path]) -> Path:
    clip = make_clip("night.mkv", size="160x120")
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    return path


def test_what_is_no_clip_gets_one_error(tiny_package, make_clip, tmp_path):
    sound = tmp_path / "sound.mp4"
    ffmpeg("-i", make_clip("night.mp4"), "-map", "0:a", "-c", "copy", sound)
    (tmp_path / "text.mp4").write_text("no clip at all")
    transfer = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
    cases = {
        sound: "no video stream, only audio",
        tmp_path / "text.mp4": "no video, or damaged",
        tmp_path / "missing.mp4": "No such file",
        make_clip("hdr.mkv", filters=transfer): "HDR (PQ)",
        make_clip("ten.mkv", kind="yuv420p10le"): "10 bits",
        make_clip("fields.mkv", "-x264opts", "tff=1", filters="setfield=tff"): "interlaced",
        broken_clip(tmp_path / "broken.mkv", make_clip): "breaks off",
    }
    for clip, words in cases.items():
        with pytest.raises(DiffLLError, match=words.replace("(", r"\(").replace(")", r"\)")):
            main([str(tiny_package), str(clip), "-o", str(tmp_path / "out.mp4")])
        assert not (tmp_path / "out.mp4").exists()


def test_mistakes_are_told_before_any_work(tiny_package, make_clip, tmp_path, monkeypatch):
    clip, there = make_clip("night.mp4"), tmp_path / "there.mp4"
    there.write_bytes(b"mine")
    cases = [
        ([clip, "-o", there], "exists already"),
        ([clip, "-o", tmp_path / "out.gif"], "no video's here"),
        ([clip, "-o", tmp_path / "none" / "out.mp4"], "no folder"),
        ([clip, "-o", clip, "--overwrite"], "the clip being read"),
        ([clip, "-o", tmp_path / "o.mp4", "--size", "32x24"], "leave --size"),
        ([clip, "-o", tmp_path / "o.mp4", "--encoder", "-c:v nonesuch"], "nonesuch"),
        ([clip, "-o", tmp_path / "o.mp4", "--sampling", "none"], "none"),
        (["-", "-o", tmp_path / "o.mp4"], "--size"),
    ]
    for words, expected in cases:
        with pytest.raises(DiffLLError, match=expected):
            main([str(tiny_package), *map(str, words)])
    assert there.read_bytes() == b"mine"
    assert not (tmp_path / "o.mp4").exists()


def test_without_ffmpeg_the_error_names_the_package(tiny_package, make_clip, tmp_path, monkeypatch):
    from runtime.cli.video import ffmpeg as room

    clip = make_clip("night.mp4")
    monkeypatch.setenv("PATH", str(tmp_path))
    room.program.cache_clear()
    try:
        with pytest.raises(DiffLLError, match="apt install ffmpeg"):
            main([str(tiny_package), str(clip), "-o", str(tmp_path / "out.mp4")])
    finally:
        room.program.cache_clear()
