"""The measured speed of a package: kept for what it was measured with, and for nothing else."""

from __future__ import annotations

from null_backend import open_null

from runtime.running import speed


def test_it_is_kept_for_a_library_a_version_and_a_device(tiny_package, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []
    real = speed.measure
    monkeypatch.setattr(speed, "measure", lambda *args: (measured.append(1), real(*args))[1])
    with open_null(tiny_package) as enhancer:
        for runs_on in ("engine 1, CPU", "engine 1, CPU", "engine 1, CUDA", "engine 2, CPU", "engine 1, CPU"):
            enhancer.backend.runs_on = runs_on
            found = speed.speeds(enhancer.backend, enhancer.package)
            assert all(value > 0 for value in found.values())
        assert len(measured) == 3
        (file, *_) = tmp_path.glob("diffll/speeds/*.json")
        file.write_text("{}")
        speed.speeds(enhancer.backend, enhancer.package)
        assert len(list(tmp_path.glob("diffll/speeds/*"))) == 3
