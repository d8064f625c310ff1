"""The results file: whole lines, one writer, nothing mixed."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from sample_records import record, unfit

from benchmarks.records import ResultsFile, check_same, digest, read_records
from runtime.errors import InputError

RECORD = unfit(record("onnxruntime", [1.0, 2.0, 3.0]) | {"id": "a"})
OF_BEFORE = {name: value for name, value in RECORD.items() if name not in ("sampling", "calls")}


def write(path: Path, *names: str) -> bytes:
    with ResultsFile(path) as results:
        for name in names:
            results.append(RECORD | {"id": name})
    return path.read_bytes()


def test_records_come_back_and_are_added_at_the_end(tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    first = write(path, "a", "b")
    assert write(path, "c").startswith(first)
    assert [record["id"] for record in read_records(path)] == ["a", "b", "c"]
    assert all(json.loads(line)["schema"] == 1 for line in path.read_text().splitlines())


def test_a_record_of_before_samplings_is_read_as_what_ran(tmp_path):
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as results:
        for changes in ({}, {"steps": 5}, {"sampler": "dpmpp-2m"}, {"sampling": "fast", "steps": 2, "calls": 2}):
            results.append(OF_BEFORE | changes)
    found = [(one["sampling"], one["calls"]) for one in read_records(path)]
    assert found == [("published", 10), (None, 5), (None, 10), ("fast", 2)]
    assert [one["sampling"] for one in ResultsFile(path).records] == ["published", None, None, "fast"]


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_was_cut_short_is_dropped_and_told(tmp_path, cut):
    path = tmp_path / "results.jsonl"
    whole = write(path, "a")
    path.write_bytes(write(path, "b")[:-cut])
    assert [record["id"] for record in read_records(path)] == ["a"]
    with ResultsFile(path) as results:
        assert results.torn.startswith('{"schema": 1, "id": "b"')
        assert [record["id"] for record in results.records] == ["a"]
        results.append(RECORD | {"id": "c"})
    assert path.read_bytes().startswith(whole)
    assert [record["id"] for record in read_records(path)] == ["a", "c"]


def test_a_record_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    calls = []
    path = tmp_path / "results.jsonl"
    monkeypatch.setattr(os, "write", lambda fd, data, real=os.write: calls.append("write") or real(fd, data))
    monkeypatch.setattr(os, "fsync", lambda fd, real=os.fsync: calls.append(kind(fd)) or real(fd))
    write(path, "a")
    assert calls == ["fsync of the folder", "write", "fsync"]


def kind(descriptor: int) -> str:
    return "fsync of the folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync"


@pytest.mark.parametrize("short", [True, False])
def test_a_full_disk_leaves_whole_lines_and_one_error(tmp_path, monkeypatch, short):
    """short: the disk takes the beginning of a line."""
    path = tmp_path / "results.jsonl"
    whole = write(path, "a")

    def full(fd: int, data: bytes, real=os.write) -> int:
        if short:
            return real(fd, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ResultsFile(path) as results, monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"No space left on device.*it resumes"):
            results.append(RECORD | {"id": "b"})
    assert path.read_bytes() == whole


def test_numbers_that_json_does_not_have_are_an_error(tmp_path):
    with ResultsFile(tmp_path / "r") as results, pytest.raises(ValueError, match="JSON"):
        results.append(RECORD | {"x": float("nan")})


@pytest.mark.parametrize(
    "line", [b"{}", b"no", b'{"schema": 2, "id": "a"}', b'{"schema": 1, "id": "a"}', b"[]", b"\xff"]
)
def test_another_file_is_refused_and_left_alone(tmp_path, line):
    path = tmp_path / "results.jsonl"
    good = write(path, "a")
    path.write_bytes(good + line + b"\n")
    with pytest.raises(InputError, match="line 2 is no record of"):
        ResultsFile(path)
    assert path.read_bytes() == good + line + b"\n"


def test_a_pipe_or_a_device_is_no_results_file(tmp_path, time_limit):
    """Nobody writes into the one, and the other has no end."""
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with time_limit(10):
        for path in (pipe, Path("/dev/zero")):
            with pytest.raises(InputError, match=r"cannot be read \(no regular file\)"):
                read_records(path)
        with pytest.raises(InputError, match=r"cannot be read \(no regular file\)"):
            ResultsFile(pipe)
    with (tmp_path / "large.jsonl").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(InputError, match=r"large\.jsonl: cannot be read \(1,099,511,627,776 bytes"):
        read_records(tmp_path / "large.jsonl")


def test_two_writers_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultsFile(path), pytest.raises(InputError, match="another run writes to it"):
        ResultsFile(path)
    write(path, "a")


def test_no_module_that_windows_has_not_is_asked_for(tmp_path, monkeypatch):
    with FileLock(tmp_path / ".lock"):  # its own way to lock is loaded by now
        monkeypatch.setitem(sys.modules, "fcntl", None)
        write(tmp_path / "results.jsonl", "a")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory\)"):
        ResultsFile(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        ResultsFile(Path("/dev/null/results.jsonl"))


def test_another_machine_or_other_settings_are_refused_by_name(tmp_path):
    machine, settings = RECORD["fingerprint"], RECORD["settings"]
    check_same(tmp_path, [RECORD], machine, settings)
    with pytest.raises(
        InputError, match=r"made on another machine .python: '3.11' there, '3.12' here.; choose another -o"
    ):
        check_same(tmp_path, [RECORD], machine | {"python": "3.12"}, settings)
    with pytest.raises(InputError, match=r"made with other settings .rounds: 3 there, 10 here"):
        check_same(tmp_path, [RECORD], machine, settings | {"rounds": 10})


def test_a_digest_does_not_care_for_the_order_of_keys():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
