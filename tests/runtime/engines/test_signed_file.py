"""What a library keeps for itself beside the engines is read again where this user wrote it, for that purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from export.builders.tensorrt import kept_times
from runtime.engines.signed_file import read_signed, write_signed
from runtime.engines.signing import VARIABLE
from runtime.errors import EngineError


def test_what_was_written_is_read_for_the_same_purpose_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    assert read_signed(path, "a") == b""
    write_signed(path, "a", b"content")
    assert read_signed(path, "a") == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(EngineError, match="not signed by this user's key for it"):
        read_signed(path, "b")


def known_times(path: Path) -> bytes:
    with kept_times(path) as own:
        return own.read_bytes() if own.exists() else b""


def keep_times(path: Path, times: bytes) -> None:
    with kept_times(path) as own:
        own.write_bytes(times)
        assert own != path


def test_timing_caches_of_others_are_told_and_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "timing-tensorrt.cache"
    keep_times(path, b"times")
    assert known_times(path) == b"times"
    good = path.read_bytes()
    for content in (b"", b"times", good[:-1], good + b"s", bytes(32) + b"times"):
        path.write_bytes(content)
        assert known_times(path) == b""
        assert capsys.readouterr().err == (
            f"warning: {path}: damaged, foreign or of an older version: not signed by this user's key for it. It is "
            "ignored, and written anew.\n"
        )
    path.write_bytes(good)
    path.chmod(0o666)
    assert known_times(path) == b""
    assert "others can write to it" in capsys.readouterr().err
    path.chmod(0o600)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "another.key"))
    assert known_times(path) == b""
    keep_times(path, b"own times")
    assert known_times(path) == b"own times"
    path.unlink()
    os.mkfifo(path)
    assert known_times(path) == b""
    assert "cannot be read (no regular file)" in capsys.readouterr().err
