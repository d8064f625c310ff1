"""Engines, really built with TensorRT-RTX on the CPU: the cache and everything that makes one of its entries stale."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from export.builders.tensorrt import Options
from runtime.engines.cache import EngineCache, EngineKey
from runtime.errors import EngineError

ROOT = Path(__file__).parent.parent.parent
RTX = ["--target", "tensorrt-rtx", "--size", "64x48"]
pytest.importorskip("tensorrt_rtx")


def engine(package: Path, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.engine", str(package), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def summary(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def entries(package: Path) -> dict[str, dict]:
    """stage -> engine.json, of a cache with one engine a stage."""
    found = [json.loads(path.read_text()) for path in (package / "engines").glob("*/engine.json")]
    return {entry["key"]["stage"]: entry for entry in found}


@pytest.fixture
def package(tiny_package, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


@pytest.fixture(scope="module")
def built(tiny_package, tmp_path_factory) -> Path:
    """A package with its engines. Copy it before changing it."""
    package = Path(shutil.copytree(tiny_package, tmp_path_factory.mktemp("engines") / "package"))
    assert summary(engine(package, *RTX)) == "5 of 5 engines built, 0 were there"
    return package


@pytest.fixture
def own(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "package"))


def test_engines_and_their_reports(built):
    found = entries(built)
    assert set(found) == {"dwt", "hfrm0", "hfrm1", "denoiser", "idwt"}
    for entry in found.values():
        report = entry["report"]
        assert report["build_seconds"] > 0
        assert report["engine_bytes"] == entry["files"]["engine.plan"]["bytes"] > 10_000
        assert report["weights_bytes"] > 0
        assert report["activation_bytes"] >= 0
        assert "tensorrt-rtx" in report["command"]
    denoiser = found["denoiser"]
    assert denoiser["report"]["activation_bytes"] > 0
    assert denoiser["key"]["profile"]["x_t"] == [[1, 3, 12, 16]] * 3


def test_the_second_call_builds_nothing_and_loads_no_builder(built, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (built / "engines").rglob("*")}
    code = (
        "import sys\nfrom export.engine import main\n"
        f"assert main([{str(built)!r}, *{RTX!r}]) == 0\n"
        "assert 'polygraphy.backend.trt' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert summary(done) == "0 of 5 engines built, 5 were there"
    assert {path: path.stat().st_mtime_ns for path in (built / "engines").rglob("*")} == before


KEY = EngineKey(
    stage="denoiser",
    graph_sha256="0" * 64,
    target="tensorrt",
    environment={
        "library": "tensorrt 10.3.0",
        "platform": "linux x86_64",
        "gpu": {"scope": "device", "name": "A", "compute_capabilities": ["8.9"]},
    },
    profile={"x_t": [[1, 3, 8, 8]] * 3},
    flags=asdict(Options()),
)
CHANGES = {
    "stage": "hfrm0",
    "graph_sha256": "1" + "0" * 63,
    "target": "tensorrt-rtx",
    "environment": KEY.environment | {"library": "tensorrt 10.4.0"},
    "profile": {"x_t": [[1, 3, 8, 8], [1, 3, 8, 8], [1, 3, 8, 16]]},
    "flags": asdict(Options(optimization_level=2)),
}
FLAGS = {
    "workspace_mib": 512,
    "optimization_level": 4,
    "hardware_compatibility": "ampere_plus",
    "compute_capabilities": ("8.9",),
    "tf32": False,
}


@pytest.mark.parametrize("field", [field.name for field in fields(EngineKey)])
def test_each_part_of_the_key_makes_an_engine_stale(field):
    assert replace(KEY, **{field: CHANGES[field]}).digest != KEY.digest


@pytest.mark.parametrize("name", ["library", "platform", "gpu"])
def test_each_part_of_the_environment_makes_an_engine_stale(name):
    assert replace(KEY, environment=KEY.environment | {name: "other"}).digest != KEY.digest


@pytest.mark.parametrize("flag", [field.name for field in fields(Options)])
def test_each_builder_flag_makes_an_engine_stale(flag):
    assert replace(KEY, flags=asdict(replace(Options(), **{flag: FLAGS[flag]}))).digest != KEY.digest


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "72x48"],
        ["--max-size", "128x96"],
        ["--batch", "2"],
        ["--workspace", "512"],
        ["--optimization-level", "2"],
        ["--compute-capability", "8.9"],
        ["--no-tf32"],
    ],
    ids=" ".join,
)
def test_each_option_reaches_the_key(built, arguments):
    """The command's own key, without building: another option, another engine."""
    from export.builders.profiles import size_range
    from export.engine import engine_key, make_builder, parse_args
    from runtime.cli.command import photo_size
    from runtime.package.reading import Package

    package = Package.open(built)

    def digest(*more: str) -> str:
        args = parse_args([str(built), *RTX, *more])
        sizes = [photo_size(size) for size in args.size]
        wanted = size_range(sizes, photo_size(args.max_size) if args.max_size else None, package.manifest.pad_multiple)
        return engine_key(
            package, package.manifest.stage("denoiser"), make_builder(args, "fp32"), wanted, args.batch
        ).digest

    assert (built / "engines" / digest()).is_dir()
    assert digest(*arguments) != digest()


def test_a_changed_graph_is_rebuilt_and_the_others_are_kept(own):
    import onnx

    from runtime.package.manifest import MANIFEST

    path = own / "hfrm1.onnx"
    model = onnx.load(path)
    model.doc_string = "changed"
    content = model.SerializeToString()
    path.write_bytes(content)
    manifest = json.loads((own / MANIFEST).read_text())
    import hashlib

    manifest["files"]["hfrm1.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (own / MANIFEST).write_text(json.dumps(manifest))
    done = engine(own, *RTX)
    assert summary(done) == "1 of 5 engines built, 4 were there"
    assert "building hfrm1" in done.stderr
    assert re.search(r"last time \d+\.\d s", done.stderr)


def test_another_library_version_is_rebuilt(own, monkeypatch):
    import tensorrt_rtx

    from export.engine import main

    monkeypatch.setattr(tensorrt_rtx, "__version__", "1.99.0")
    assert main([str(own), *RTX]) == 0
    assert len(list((own / "engines").glob("*/engine.json"))) == 10


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "gone"])
def test_a_damaged_plan_is_named_and_the_command_in_the_message_mends_it(own, damage):
    entry = next(p.parent for p in (own / "engines").glob("*/engine.json") if '"hfrm0"' in p.read_text())
    plan = entry / "engine.plan"
    content = plan.read_bytes()
    if damage == "gone":
        plan.unlink()
    else:
        plan.write_bytes({"truncated": content[:-100], "foreign": content[::-1], "empty": b""}[damage])
    done = engine(own, *RTX)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {plan}: ")
    command = re.search(r"`(.*?)`", done.stderr)[1]
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "export.engine", str(own)]  # this copy, and not where it was first built
    assert words[-1] == "--rebuild"
    if damage == "gone":  # what is there is replaced, whatever it is
        assert summary(engine(own, *words[4:])) == "5 of 5 engines built, 0 were there"
        assert summary(engine(own, *RTX)) == "0 of 5 engines built, 5 were there"


def test_an_entry_under_another_name_is_foreign(own):
    paths = [path.parent for path in (own / "engines").glob("*/engine.json")]
    shutil.rmtree(paths[0])
    paths[1].rename(paths[0])
    done = engine(own, *RTX)
    assert done.returncode == 2
    assert "foreign" in done.stderr


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"key": {}, "files": {"../x": {"sha256": "", "bytes": 0}}, "report": {}}']
)
def test_a_damaged_entry_is_named(own, content):
    path = next((own / "engines").glob("*/engine.json"))
    path.write_text(content)
    with pytest.raises(EngineError, match=r"(damaged|foreign).*--rebuild"):
        EngineCache(own).find(replace_digest(path.parent.name))
    assert len(list(EngineCache(own).entries())) == 4


def replace_digest(digest: str) -> EngineKey:
    class Fixed(EngineKey):
        @property
        def digest(self) -> str:
            return digest

    return Fixed(**asdict(KEY))


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_cache_that_others_can_write_is_refused(own):
    (own / "engines").chmod(0o777)
    done = engine(own, *RTX)
    assert done.returncode == 2
    assert "others can write to it" in done.stderr
    assert "chmod -R go-w" in done.stderr


def test_two_builders_at_once_one_waits(package):
    command = [sys.executable, "-m", "export.engine", str(package), *RTX]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    waited = [output for output in outputs if "another process builds in" in output]
    assert len(waited) == 1
    assert waited[0].splitlines()[-1] == "0 of 5 engines built, 5 were there"
    assert len(list((package / "engines").glob("*/engine.json"))) == 5


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])  # Ctrl-C has SIGTERM's handler
def test_a_process_ended_in_the_middle_leaves_no_half_written_engine(package, stop):
    command = [sys.executable, "-m", "export.engine", str(package), *RTX]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("building denoiser"):
            break
    process.send_signal(stop)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == (-9 if stop == signal.SIGKILL else 143)
    if stop != signal.SIGKILL:
        assert rest.splitlines()[-1] == "error: interrupted; nothing half-written is left behind."
        assert not list((package / "engines").glob(".*.part"))
    assert set(entries(package)) == {"dwt", "hfrm0", "hfrm1"}
    assert summary(engine(package, *RTX)) == "2 of 5 engines built, 3 were there"  # the others are whole


def test_a_full_disk_leaves_no_half_written_engine(tmp_path, monkeypatch):
    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    cache = EngineCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(EngineError, match="No space left on device"):
            cache.store(KEY, {"engine.plan": b"x"}, {})
    assert list((tmp_path / "engines").iterdir()) == []
    cache.store(KEY, {"engine.plan": b"x"}, {})
    assert cache.find(KEY).read("engine.plan") == b"x"


def test_a_package_that_cannot_be_written_is_named(package):
    (package / "engines").write_text("a file where the cache has to be")
    done = engine(package, *RTX)
    assert done.returncode == 2
    assert "copy the package to a folder of your own" in done.stderr


def test_progress_in_a_log_file(built, own):
    done = engine(own, *RTX, "--rebuild")
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"building dwt for tensorrt_rtx \S+ \.\.\. \(last time \d+\.\d s\)", lines[0])
    assert re.fullmatch(r"building dwt for tensorrt_rtx \S+ done in \d+\.\d s", lines[1])
    assert done.stdout.strip() == str(own / "engines")


def test_a_long_build_is_never_silent(monkeypatch, capsys):
    import runtime.cli.progress
    from export.engine import in_thread
    from runtime.cli.progress import Progress

    monkeypatch.setattr(runtime.cli.progress, "_HEARTBEAT_S", 0.05)
    with Progress().task("building denoiser"):
        assert in_thread(lambda: time.sleep(0.3) or 7) == 7
    assert len(capsys.readouterr().err.splitlines()) >= 4
    with pytest.raises(EngineError, match="no"):
        in_thread(lambda: (_ for _ in ()).throw(EngineError("no")))


def test_a_bug_of_ours_is_no_mistake_of_the_user():
    from export.engine import in_thread

    with pytest.raises(EngineError, match=r"KeyError\('x'\).*a bug of ours: report it") as error:
        in_thread(lambda: {}["x"])
    assert isinstance(error.value.__cause__, KeyError)


def test_no_torch_is_imported(package):
    code = (
        "import sys\nclass Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"from export.engine import main\nassert main([{str(package)!r}, *{RTX!r}]) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert summary(done).startswith("5 of 5")
