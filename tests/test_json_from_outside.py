"""JSON that somebody else may have written: whatever stands in a field, it is taken, or refused in one line that names
the file and the field."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from json_places import Path_, at, nodes, others

from benchmarks.origin import origin
from benchmarks.records import read_records
from export.checkpoint import Checkpoint
from export.model import Architecture
from export.samplings import samplings_of
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.entry import ENTRY, read_entry
from runtime.errors import DiffLLError, InputError
from runtime.package.certificate import read_certificate
from runtime.package.manifest import CERTIFICATE, MANIFEST, Manifest
from runtime.package.reading import Package
from runtime.photo.journal import NAME, Journal, identity

ROOT = Path(__file__).parent.parent
DEEP = ("[" * 20_000 + "]" * 20_000, '{"a":' * 70 + "1" + "}" * 70, "[" * 900 + "1" + "]" * 900)
HUGE = ("9" * 5000, "1e999", "-1e999", "1" * 400)


class Reader:
    """One kind of file: what is good in it, and what reads it."""

    def __init__(self, path: Path, good: Any, read: Callable[[Path], object]) -> None:
        self.path, self.good, self.read = path, good, read

    def refusal(self, text: str) -> str:
        """How the file is refused that holds ``text``, or "" where it is taken."""
        self.path.write_text(text, errors="surrogatepass")
        try:
            self.read(self.path)
        except DiffLLError as error:
            said = str(error)
            assert "\n" not in said
            assert len(said) < 1000
            assert self.path.name in said, said
            return said
        return ""


class Listed(Package):
    """A package whose files are as they lie there: their hashes say nothing against them."""

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


def entry_of(folder: Path) -> Path:
    key = EngineKey("dwt", "0" * 64, "cuda", {"library": "x"}, {"image": [[1, 3, 8, 8]] * 3}, {"tf32": True})
    (folder / "package").mkdir()
    stored = EngineCache(folder / "package").store(key, {"engine.onnx": b"1"}, {"build_seconds": 1.5, "command": "a b"})
    return stored.path / ENTRY


@pytest.fixture(params=["manifest", "certificate", "provenance", "engine", "record", "samplings", "checkpoint"])
def reader(request: pytest.FixtureRequest, tiny_package: Path, tmp_path: Path) -> Reader:
    package = Package.open(tiny_package)
    if request.param == "manifest":
        good = json.loads((tiny_package / MANIFEST).read_text())
        return Reader(
            tmp_path / MANIFEST, good, lambda path: Manifest.from_json(path.read_bytes(), str(path)).to_json()
        )
    if request.param == "certificate":
        good = json.loads((tiny_package / CERTIFICATE).read_text())
        good = {"end_to_end": good["end_to_end"][:2], "samplings": [{"sampling": "fast"}], "stages": {"dwt": 1}}
        listed = Listed(tmp_path, package.manifest)
        return Reader(tmp_path / CERTIFICATE, good, lambda path: json.dumps(read_certificate(listed), indent=1))
    if request.param == "provenance":

        def read(path: Path) -> None:
            whole = json.loads((tiny_package / MANIFEST).read_text())
            whole["provenance"] = "@"
            text = json.dumps(whole).replace('"@"', path.read_text())
            found = origin(Package(tmp_path, Manifest.from_json(text.encode(), str(path))))
            json.dumps(found.architecture, allow_nan=False)

        good = {name: package.manifest.provenance[name] for name in ("checkpoint", "checkpoint_sha256", "architecture")}
        return Reader(tmp_path / MANIFEST, good, read)
    if request.param == "engine":
        path = entry_of(tmp_path)
        return Reader(path, json.loads(path.read_text()), lambda path: read_entry(path.parent))
    if request.param == "record":
        line = (ROOT / "benchmarks/results/cpu-2-cores.jsonl").read_text().splitlines()[0]

        def records(path: Path) -> None:
            path.write_text(path.read_text() + "\n")
            read_records(path)

        return Reader(tmp_path / "r.jsonl", json.loads(line), records)
    good = json.loads((ROOT / "assets/samplings.json").read_text())

    def take(path: Path) -> None:
        own = path.read_text(errors="surrogatepass") if request.param == "checkpoint" else ""
        samplings_of(Checkpoint(path, "0" * 64, Architecture(), {}, own), None if own else path)

    good = good["samplings"] if request.param == "checkpoint" else good
    return Reader(tmp_path / "samplings.json", good, take)


def test_a_good_file_is_taken(reader: Reader) -> None:
    """But samplings that were judged on another checkpoint."""
    said = reader.refusal(json.dumps(reader.good))
    assert said == "" or "was judged on the checkpoint" in said


def names(path: Path_, said: str) -> bool:
    return any(str(key) in said for key in path if isinstance(key, str))


# manifests and records have such tests of their own
@pytest.mark.parametrize("reader", ["certificate", "provenance", "engine", "samplings"], indirect=True)
def test_every_field_of_every_other_type(reader: Reader) -> None:
    """What is taken is shown or written again by each reader here."""
    tried = refused = 0
    for turn, path in enumerate(nodes(reader.good)):
        changed = copy.deepcopy(reader.good)
        for other in others(at(changed, path), turn):
            at(changed, path[:-1])[path[-1]] = other
            said = reader.refusal(json.dumps(changed)).rpartition(reader.path.name)[2]
            free = path[:2] in (("key", "environment"), ("key", "flags"), ("report", "build_seconds"))
            signed = free and "changed after the build" in said
            assert not said or signed or names(path, said), (path, other, said)
            tried, refused = tried + 1, refused + bool(said)
    assert refused >= tried / 3


def test_deep_huge_and_doubled(reader: Reader) -> None:
    whole = json.dumps(reader.good)
    assert "not whole JSON" in reader.refusal(whole[:-1]) + reader.refusal("")
    for text in DEEP:
        assert reader.refusal(text)
    places = list(nodes(reader.good))
    for path in places[:: max(1, len(places) // 12)]:
        changed = copy.deepcopy(reader.good)
        at(changed, path[:-1])[path[-1]] = "@"
        before, after = json.dumps(changed).split('"@"')
        for text in DEEP:
            assert "recursion" in (said := reader.refusal(before + text + after)) or "nested more than" in said
        for text in HUGE:
            said = reader.refusal(before + text + after)
            assert not said or names(path, said) or "not whole JSON" in said or "changed after the build" in said
        if isinstance(path[-1], str):
            key = json.dumps(path[-1])
            at(changed, path[:-1])[path[-1]] = at(reader.good, path)
            twice = json.dumps(changed).replace(f"{key}: ", f"{key}: 1, {key}: ")
            assert "a key stands twice" in reader.refusal(twice)


def test_a_line_of_a_journal_that_is_of_another_form_is_left_out(tmp_path: Path) -> None:
    """As the line that a kill cut is; the others count."""
    photo, target = tmp_path / "photo.png", tmp_path / "result.png"
    photo.write_bytes(b"photo"), target.write_bytes(b"result")
    journal = Journal(tmp_path, "settings")
    journal.begin(identity(photo), target, b"result"), journal.end(target), journal.close()
    whole = (tmp_path / NAME).read_text()
    begun, done = map(json.loads, whole.splitlines())
    assert Journal(tmp_path, "settings").verdict(photo, target) == "done"
    for good, odd in ((begun, "there"), (done, "done")):  # of a result that is there and unchanged both say so
        other = whole.replace(json.dumps(good) + "\n", "")
        for turn, path in enumerate(nodes(good)):
            changed = copy.deepcopy(good)
            for value in others(at(good, path), turn):
                at(changed, path[:-1])[path[-1]] = value
                lines = [other, json.dumps(changed)] if good is done else [json.dumps(changed), other]
                (tmp_path / NAME).write_text("\n".join(lines))
                assert Journal(tmp_path, "settings").verdict(photo, target) == odd, (path, value)
    for text in (*DEEP, "1e999", '{"photo": [1e999, 1], "result": "result.png"}'):
        (tmp_path / NAME).write_text(f"{text}\n{whole}")
        assert Journal(tmp_path, "settings").verdict(photo, target) == "done"
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(InputError, match=r"diffll-journal\.jsonl \(no regular file\); remove it"):
        Journal(tmp_path, "settings")
