"""The whole command, on a tiny network: records, resuming, a kill in the middle, nothing mixed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from relabelled import relabelled

from benchmarks import configs as configs_module
from benchmarks import room as room_module
from benchmarks import run as run_module
from benchmarks.baselines import baseline_configs
from benchmarks.cli import main
from benchmarks.configs import open_packages, package_configs
from benchmarks.loops import Loops
from benchmarks.measure import Bench
from benchmarks.photos import Photos
from benchmarks.records import read_records
from benchmarks.room import Room, groups, with_context
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent.parent


PEAK = {"cpu": {"float32": 100.0}, "cuda": None, "how": "made up"}
WITHOUT_PEAK = f"""
from benchmarks.cli import main
from benchmarks.measure import Bench
from runtime.cli.command import run_command
Bench.gemm_peak = lambda *_: {PEAK}
run_command(main)
"""


@pytest.fixture(autouse=True)
def _no_gemm_peak(monkeypatch):
    """It takes longer than all that is tested here; ``finished`` has the real one."""
    monkeypatch.setattr(Bench, "gemm_peak", lambda *_: PEAK)


@pytest.fixture
def command(capsys):
    """command(words) -> what the command said, run in this process."""

    def run(*given: object) -> str:
        assert main([str(word) for word in given]) == 0
        return capsys.readouterr().err

    return run


def start(*given: object, stderr: Any) -> subprocess.Popen[str]:
    """The command in a process of its own, without its GEMM peak."""
    words = [sys.executable, "-c", WITHOUT_PEAK, *map(str, given)]
    return subprocess.Popen(words, cwd=ROOT, stderr=stderr, text=True)


@pytest.fixture(scope="module")
def finished(tiny_package, tmp_path_factory) -> tuple[list[object], Path, str]:
    """(the command's words, the results file, what it said): two packages, one of which the backend does not take."""
    folder = tmp_path_factory.mktemp("results")
    given = [tiny_package, relabelled(tiny_package, folder, "bf16"), "--size", "40x24", "--steps", "2", "10"]
    given += ["--rounds", "3", "--backend", "onnxruntime", "-o", folder / "r.jsonl"]
    words = [sys.executable, "-m", "benchmarks", *map(str, given)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return given, folder / "r.jsonl", done.stderr


def test_one_record_a_configuration_with_everything_in_it(finished):
    _, path, _ = finished
    records = {(one["subject"]["precision"], one["steps"]): one for one in read_records(path)}
    assert sorted(records) == [("bf16", 2), ("bf16", 10), ("fp32", 2), ("fp32", 10)]
    record = records["fp32", 10]
    assert (record["size"], record["padded_size"]) == ([40, 24], [40, 24])
    assert [len(turn) for turn in record["rounds_ms"]] == [len(record["rounds_ms"][0])] * 3
    flat = np.concatenate(record["rounds_ms"])
    assert record["latency_ms"]["p50"] == pytest.approx(np.median(flat), abs=1e-3)
    assert record["latency_ms"]["photos"] == len(flat)
    assert len(record["step_ms"]) == 10
    assert record["stages_ms"]["denoiser"] > 0 < min(record["step_ms"])
    assert record["opening_ms"] > 0 < record["first_photo_ms"]
    assert record["plan"] == ""  # a photo that runs whole
    assert record["photos_per_s"] == pytest.approx(1000 / flat.mean(), rel=1e-3)
    assert record["memory"]["host_peak_bytes"] > record["memory"]["host_opened_bytes"] / 2
    assert record["gflop_per_s"] == pytest.approx(1000 * record["gflop"] / record["latency_ms"]["p50"], rel=0.01)
    assert record["share_of_peak"] == pytest.approx(record["gflop_per_s"] / record["peak"]["gflop_per_s"], rel=0.01)
    assert record["run"]["members"] == [records["fp32", 2]["id"], record["id"]]
    assert record["run"]["group"] == records["fp32", 2]["run"]["group"]
    assert records["fp32", 2]["gflop"] < record["gflop"]
    assert 32 << 20 < record["memory"]["predicted_bytes"] < 1 << 30  # the process and a tiny photo


def test_fidelity_is_against_the_fp32_package_with_the_same_noise(finished):
    records = {(one["subject"]["precision"], one["steps"]): one for one in read_records(finished[1])}
    own, fewer = records["fp32", 10], records["fp32", 2]
    assert own["fidelity"] == {"against": own["id"], "psnr_db": None, "grey_levels": 0}
    assert fewer["fidelity"]["grey_levels"] == 0
    assert fewer["fidelity_to_published_steps"]["against"] == own["id"]
    assert fewer["fidelity_to_published_steps"]["grey_levels"] > 0


def test_a_package_that_the_backend_does_not_take_is_recorded_as_failed(finished):
    _, path, said = finished
    failed = [one for one in read_records(path) if "failed" in one]
    assert {one["subject"]["precision"] for one in failed} == {"bf16"}
    assert all("onnxruntime cannot run on a CPU" in one["failed"] for one in failed)
    assert not any("/" in one["failed"].partition(":")[0] for one in failed)  # no folder of this machine
    assert all("latency_ms" not in one for one in failed)
    assert "failed: tiny-bf16 onnxruntime, 2 steps, 40x24" in said


def test_a_second_call_measures_nothing_and_says_so(finished, command):
    given, path, _ = finished
    before = path.read_bytes()
    said = command(*given)
    assert "4 of 4 configurations are there already" in said
    assert "failed before, delete its line to try again: tiny-bf16 onnxruntime, published" in said
    assert "opening" not in said
    assert path.read_bytes() == before


def test_a_resumed_run_adds_what_is_new_and_compares_it_with_what_was_there(finished, tiny_package, command):
    path = finished[1]
    before = path.read_bytes()
    said = command(tiny_package, "--size", "40x24", "--steps", "10", "5", "--rounds", "3", "-o", path)
    assert "reference picture: tiny-fp32 onnxruntime, published" in said
    assert path.read_bytes().startswith(before)
    (new,) = read_records(path)[4:]
    (old,) = (one for one in read_records(path) if (one["steps"], one["subject"]["precision"]) == (10, "fp32"))
    assert new["run"]["members"] == [new["id"]]
    assert new["fidelity_to_published_steps"]["against"] == old["id"]


def test_other_settings_do_not_mix(finished, tiny_package):
    with pytest.raises(InputError, match=r"made with other settings \(rounds: 3 there, 4 here\)"):
        main([str(tiny_package), "--size", "40x24", "--rounds", "4", "-o", str(finished[1])])


def test_a_kill_in_the_middle_loses_no_finished_record(tiny_package, tmp_path, monkeypatch, command):
    path = tmp_path / "r.jsonl"
    given = [tiny_package, "--size", "32x24", "48x40", "64x56", "--steps", "2", "--rounds", "2", "-o", path]
    log = tmp_path / "log"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)  # asked for again
    with log.open("wb") as said:
        process = start(*given, stderr=said)
    until = time.monotonic() + 240
    while not path.exists() or not path.read_bytes().endswith(b"\n"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = path.read_bytes()
    assert len(list(scratch.glob("diffll-benchmarks-*"))) == 1
    assert 1 <= before.count(b"\n") < 3, "it was killed too late to show anything"
    with path.open("ab") as file:  # as a kill in the middle of a write would leave it
        file.write(before[:50])
    said = command(*given)
    assert list(scratch.glob("diffll-*")) == []  # the killed run's went too
    assert "its last line was cut short" in said
    assert f"{before.count(chr(10).encode())} of 3 configurations are there already" in said
    assert path.read_bytes().startswith(before)
    assert sorted(one["size"] for one in read_records(path)) == [[32, 24], [48, 40], [64, 56]]
    assert not workers_of(process.pid)


def workers_of(parent: int) -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"benchmarks.worker" in line and str(parent).encode() in line:
            lines.append(str(line))
    return lines


def test_photos_with_references_are_scored_at_their_own_size(tiny_package, tmp_path, command):
    generator = np.random.default_rng(0)
    for folder in ("low", "high"):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "b.png"):
            pixels = generator.integers(0, 60, (24, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    given = [tiny_package, "--size", "40x24", "16x16", "--steps", "1", "--rounds", "1", "-o", tmp_path / "r.jsonl"]
    command(*given, "--photo", tmp_path / "low", "--reference", tmp_path / "high")
    own, other = read_records(tmp_path / "r.jsonl")
    assert sorted(own["quality"]["photos"]) == ["a", "b"]
    psnr = [one[0] for one in own["quality"]["photos"].values()]
    assert own["quality"]["psnr_db"] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert other["quality"] is None
    assert own["settings"]["photo"].startswith("a.png (sha256 ")


def test_what_would_not_fit_is_recorded_with_what_it_needs(tiny_package, tmp_path, monkeypatch, command):
    monkeypatch.setattr(room_module, "free_memory_bytes", lambda: 900 << 20)
    output = tmp_path / "r.jsonl"
    said = command(tiny_package, "--size", "32x24", "1600x1200", "--steps", "1", "--rounds", "1", "-o", output)
    measured, unfit = sorted(read_records(output), key=lambda one: "fits" in one)
    assert measured["size"] == [32, 24]
    assert "latency_ms" in measured
    assert unfit["fits"] is False
    assert unfit["needed_bytes"] > unfit["free_bytes"] == (900 - 512) << 20
    assert "latency_ms" not in unfit
    assert "does not fit: tiny-fp32 onnxruntime, 1 steps, 1600x1200" in said


def test_groups_are_of_one_size_and_fit_side_by_side(tiny_package):
    small, large = list(package_configs(open_packages([tiny_package]), [(8, 8), (16, 8)], ["onnxruntime"], Loops([1])))

    def sizes(given: list[Any], free: int | None) -> list[int]:
        return [len(group) for group in groups(given, Room(free, 0))]

    assert sizes([(small, 5), (small, 5), (small, 5), (large, 5)], 10) == [2, 1, 1]
    assert sizes([(small, 5), (small, 5), (large, 50)], None) == [2, 1]
    assert sizes([(small, 20), (small, 1)], 10) == [1, 1]
    assert sizes([], 10) == []


def test_what_computes_on_a_gpu_is_counted_against_the_gpus_memory(tiny_package, make_checkpoint, monkeypatch):
    packages, mib = open_packages([tiny_package]), 1 << 20
    cpu, cuda = package_configs(packages, [(8, 8)], ["onnxruntime", "onnxruntime:CUDA"], Loops([1]))
    eager = next(baseline_configs(["pytorch"], packages, [(8, 8)], Loops([1]), [make_checkpoint()], quick=True))
    assert not eager.on_device
    monkeypatch.setattr(configs_module, "torch_has_gpu", lambda: True)
    assert eager.on_device

    def sizes(given: list[Any], host: int, device: int | None) -> list[int]:
        room = Room(host * mib, None if device is None else device * mib)
        return [len(group) for group in groups([(one, needed * mib) for one, needed in given], room)]

    assert sizes([(cpu, 9), (eager, 900), (eager, 900)], 10, 2000) == [3]  # the host's memory is another
    assert sizes([(cpu, 9), (eager, 900), (eager, 900)], 10, 1000) == [2, 1]
    assert sizes([(eager, 900), (cpu, 9), (cpu, 9)], 10, 1000) == [2, 1]
    assert sizes([(cuda, 500), (cuda, 500)], 1, 1000) == [1, 1]  # the scores of each come to it
    assert sizes([(cuda, 500), (cuda, 500)], 1, 1050) == [2]
    assert sizes([(cuda, 900)] * 3, 1, None) == [3]
    assert (Room(1, 2).of(cuda), Room(1, 2).of(eager), Room(1, 2).of(cpu)) == (2, 2, 1)
    assert [with_context(one, 5) - 5 >> 20 for one in (cuda, eager, cpu)] == [1260, 0, 0]
    for line in (ROOT / "benchmarks/results/h200/suite.jsonl").read_text().splitlines():
        memory, subject = json.loads(line)["memory"], json.loads(line)["subject"]
        if subject["kind"] == "package":  # what a GPU's driver told is what is counted, or somewhat less
            assert 0.95 <= memory["device_peak_bytes"] / with_context(cuda, memory["predicted_bytes"]) <= 1


def test_the_room_is_the_hosts_and_the_gpus(monkeypatch):
    monkeypatch.setattr(room_module, "free_memory_bytes", lambda: 4 << 30)
    fake = type("Fake", (), {"__init__": lambda self, place: None, "free": lambda self: 100 << 30})
    monkeypatch.setattr(room_module, "DeviceMemory", fake)
    margin = 512 << 20
    assert Room.now() == Room((4 << 30) - margin, (100 << 30) - margin)
    monkeypatch.setattr(fake, "free", lambda self: None)
    assert Room.now().device is None


def test_a_group_that_would_end_after_the_limit_is_left_for_the_next_call(tiny_package, tmp_path, monkeypatch, capsys):
    """At the pace of the group before: the clock of this test goes on by 100 s a group."""
    configs = list(
        package_configs(open_packages([tiny_package]), [(8, 8), (16, 8), (32, 8)], ["onnxruntime"], Loops([1]))
    )
    clock, measured = [0.0], []

    def measure(bench: Any, matrix: Any, results: Any, group: Any, peak: Any) -> Any:
        measured.append(group[0].size)
        clock[0] += 100
        return peak

    monkeypatch.setattr(run_module, "measure_group", measure)
    monkeypatch.setattr(run_module.time, "monotonic", lambda: clock[0])
    run_module.run(tmp_path / "r.jsonl", configs, Photos.find(None, None), 1, limit_s=290)
    assert measured == [(8, 8), (16, 8)]
    assert "the time is over: 32x8 not measured; run again, it resumes" in capsys.readouterr().err


def test_an_interrupted_command_ends_at_once_and_takes_its_workers_along(tiny_package, tmp_path):
    given = [tiny_package, "--size", "64x48", "--rounds", "5000", "-o", tmp_path / "r.jsonl"]
    process = start(*given, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        while "in turns" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, which a shell's background jobs are deaf to
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143
    assert "error: interrupted" in said
    assert not workers_of(process.pid)
    assert read_records(tmp_path / "r.jsonl") == []
