"""What a record holds, field by field: docs/benchmarks.md describes it, and ``describe`` writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.names import BACKENDS, PRECISIONS, SAMPLERS
from runtime.package.fields import Fields

from .job import VARIANTS

SCHEMA = 1
_NAME, _TEXT = 1 << 8, 1 << 16  # characters
_SIDE, _COUNT, _BYTES = 1 << 17, 1 << 20, 1 << 60
ARCHITECTURE = "whole numbers, and lists of them, by name"
_LOW_MS, _HIGH = 1e-6, 1e12  # quotients of two such times are numbers still


def check_record(top: Fields) -> None:
    """Raises PackageError for the first field that is missing, unknown, of another type or out of its range.

    A record is of a configuration that was measured, that failed, or that did not fit into memory.
    """
    with top:
        top.expect("schema", SCHEMA)
        _text(top, "id")
        _subject(top)
        _text(top, "name")
        for name in ("steps", "batch"):
            top.number(name, 1, _COUNT)
        top.choice("sampler", SAMPLERS)
        if top.has("calls"):  # not in records of before samplings
            top.number("calls", 1, _COUNT)
        if top.has("sampling"):
            _maybe(top, "sampling", _text)
        _maybe(top, "noise_seed", lambda own, name: own.number(name, 0, _BYTES))
        top.maybe("architecture", dict, is_architecture, ARCHITECTURE)
        for name in ("size", "padded_size"):
            _list(top, name, lambda one: type(one) is int and 1 <= one <= _SIDE, "sides in pixels", 2)
        _maybe(top, "certificate", _certificate)
        _fingerprint(top)
        with top.child("settings") as settings:
            rounds = settings.number("rounds", 1, _COUNT)
            _text(settings, "photo", _TEXT)
        if top.has("failed"):
            _text(top, "failed", _TEXT)
            _maybe(top, "needed_bytes", _bytes)
        elif top.has("latency_ms"):
            _measured(top, rounds)
        else:
            top.expect("fits", False)
            _bytes(top, "needed_bytes")
            _bytes(top, "free_bytes")


def is_architecture(value: dict[str, Any]) -> bool:
    """Of a network: see ``export.model.Architecture``."""

    def is_count(one: Any) -> bool:
        return type(one) is int and 0 <= one <= _COUNT

    def is_sound(one: Any) -> bool:
        return all(map(is_count, one)) if type(one) is list else is_count(one)

    return all(map(_is_text, value)) and all(map(is_sound, value.values()))


def _subject(top: Fields) -> None:
    with top.child("subject") as subject:
        kind = subject.choice("kind", ("package", *VARIANTS))
        subject.choice("precision", PRECISIONS)
        _text(subject, "checkpoint_sha256")
        if kind == "package":
            _text(subject, "package_sha256")
            subject.choice("backend", BACKENDS)
            _maybe(subject, "provider", _text)
        else:
            subject.choice("variant", VARIANTS[kind])


def _certificate(top: Fields, name: str) -> None:
    with top.child(name) as own:
        _text(own, "sha256")
        for key in ("psnr_db", "grey_levels"):
            _maybe(own, key, _decibels)


def _fingerprint(top: Fields) -> None:
    with top.child("fingerprint") as own:
        for name in ("platform", "processor", "python", "diffll"):
            _text(own, name)
        _list(own, "features", _is_text, "names")
        own.number("cores_used", 1, _COUNT)
        _maybe(own, "memory_mib", lambda own, name: own.number(name, 0, _BYTES))
        _maybe(own, "power_mode", _text)
        _each(own, "libraries", _is_text, "versions")
        if not own.null("gpu"):
            with own.child("gpu") as gpu:
                for name in ("name", "compute_capability", "driver_cuda"):
                    _text(gpu, name)
                gpu.get("integrated", bool)
                _maybe(gpu, "driver", _text)


def _measured(top: Fields, rounds: int) -> None:
    for name in ("runs", "why", "plan"):
        _text(top, name, _TEXT)
    with top.child("run") as run:
        _text(run, "started")
        _text(run, "group")
        _list(run, "members", _is_text, "ids")
        for name in ("before", "after"):
            run.child(name).real("load", 0, _HIGH)  # beside clocks and temperatures, as the machine has them
    with top.child("latency_ms") as times:
        for name in ("p50", "p90", "p99", "mean", "min", "max"):
            times.real(name, _LOW_MS, _HIGH)
        times.number("photos", 1, _BYTES)

    def is_turn(one: Any) -> bool:
        return type(one) is list and len(one) > 0 and all(_is_real(ms, _LOW_MS) for ms in one)

    _list(top, "rounds_ms", is_turn, "lists of milliseconds, one a round", rounds)
    for name, low in (("coefficient_of_variation", 0), ("drift", -1)):
        top.real(name, low, _HIGH)
    _list(top, "flags", _is_text, "texts")
    for name in ("opening_ms", "first_photo_ms", "photos_per_s", "megapixels_per_s", "gflop", "gflop_per_s"):
        top.real(name, 0, _HIGH)
    top.number("warm_up_photos", 0, _COUNT)
    stages = _each(top, "stages_ms", _is_real, "milliseconds")
    if stages and not sum(stages.values()):
        raise top.wrong("'stages_ms' has no stage that took time")
    _list(top, "step_ms", _is_real, "milliseconds")
    with top.child("memory") as memory:
        for name in ("host_peak_bytes", "host_opened_bytes", "predicted_bytes", "device_peak_bytes"):
            _maybe(memory, name, _bytes)
        for name in ("host_how", "device_how"):
            _text(memory, name, _TEXT)
    _maybe(top, "quality", _quality)
    with top.child("peak") as peak:
        _maybe(peak, "gflop_per_s", lambda own, name: own.real(name, 0, _HIGH))
        for name in ("number_type", "device", "how"):
            _text(peak, name, _TEXT)
    _maybe(top, "share_of_peak", lambda own, name: own.real(name, 0, _HIGH))
    for name in ("fidelity", "fidelity_to_published_steps"):
        _maybe(top, name, _fidelity)


def _quality(top: Fields, name: str) -> None:
    def is_pair(one: Any) -> bool:
        return type(one) is list and len(one) == 2 and all(_is_real(score, -_HIGH) for score in one)

    with top.child(name) as own:
        _decibels(own, "psnr_db")
        own.real("ssim", -1, 1)
        _each(own, "photos", is_pair, "pairs of PSNR and SSIM")


def _fidelity(top: Fields, name: str) -> None:
    with top.child(name) as own:
        _text(own, "against")
        _maybe(own, "psnr_db", _decibels)
        own.number("grey_levels", 0, 255)


def _text(top: Fields, name: str, most: int = _NAME) -> None:
    top.get(name, str, lambda text: len(text) <= most, f"a text of at most {most} characters")


def _bytes(top: Fields, name: str) -> None:
    top.number(name, 0, _BYTES)


def _decibels(top: Fields, name: str) -> None:
    top.real(name, -1000, 1000)


def _maybe(top: Fields, name: str, read: Callable[[Fields, str], object]) -> None:
    if not top.null(name):
        read(top, name)


def _list(top: Fields, name: str, sound: Callable[[Any], bool], what: str, count: int | None = None) -> None:
    wanted = f"a list of {'' if count is None else f'{count} '}{what}"
    top.get(name, list, lambda own: count in (None, len(own)) and all(map(sound, own)), wanted)


def _each(top: Fields, name: str, sound: Callable[[Any], bool], what: str) -> dict[str, Any]:
    """An object with free names."""
    return top.get(name, dict, lambda own: all(map(_is_text, own)) and all(map(sound, own.values())), f"{what} by name")


def _is_text(one: Any) -> bool:
    return type(one) is str and len(one) <= _NAME


def _is_real(one: Any, low: float = 0.0) -> bool:
    return type(one) in (int, float) and low <= one <= _HIGH
