"""Which records stand in the tables, in which order, and what their ratios are formed with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runtime.names import PUBLISHED

from .cells import engine_of, loop_of
from .job import VARIANTS
from .machine import words
from .records import Record
from .stats import paired_ratio


def is_measured(record: Record) -> bool:
    return "latency_ms" in record


def is_published(record: Record) -> bool:
    """Whether it runs the loop of the paper."""
    return bool(record["sampling"] == PUBLISHED)


def is_eager(record: Record) -> bool:
    """Whether it is PyTorch eager in fp32, with any loop."""
    return is_measured(record) and record["subject"].get("variant") == "eager fp32"


def is_fp32_package(record: Record) -> bool:
    return bool(record["subject"]["kind"] == "package" and record["subject"]["precision"] == "fp32")


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of every id."""
    return list({record["id"]: record for record in records}.values())


def order(record: Record) -> tuple[Any, ...]:
    """Sizes from small to large, baselines first, then packages."""
    subject = record["subject"]
    baselines = [(kind, variant) for kind, variants in VARIANTS.items() for variant in variants]
    place = (subject["kind"], subject.get("variant"))
    first = baselines.index(place) if place in baselines else len(baselines)
    engine = (record["name"], subject.get("backend") or "", subject.get("provider") or "")
    return record["size"][0] * record["size"][1], first, *engine, -record["calls"], loop_of(record)


def devices(records: Sequence[Record]) -> dict[str, list[Record]]:
    """A device in words -> its records, in the order of the tables."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=order):
        found.setdefault(words(record["fingerprint"]), []).append(record)
    return found


def base_of(record: Record, records: Sequence[Record]) -> Record | None:
    """What a record's ratio is formed with, of its own group: PyTorch eager in fp32 with the published loop, whatever
    loop the record runs. Where that is not there: eager with the record's loop, the first fp32 package with the
    published loop or with the record's, the first configuration with the record's. None where the record is that one,
    or alone."""
    near = [one for one in _group(record, records) if _same_place(one, record)]
    same = [one for one in near if same_loop(one, record)]
    published = [one for one in near if is_published(one)]
    for chosen in (
        [one for one in published if is_eager(one)],
        [one for one in same if is_eager(one)],
        [one for one in published if is_fp32_package(one)],
        [one for one in same if is_fp32_package(one)],
        same,
    ):
        if chosen:
            return None if chosen[0]["id"] == record["id"] else chosen[0]
    return None


def like_of(record: Record, records: Sequence[Record]) -> Record | None:
    """PyTorch eager in fp32 with the record's own loop, where that is another than the published one."""
    for one in _group(record, records):
        alike = is_eager(one) and _same_place(one, record) and same_loop(one, record)
        if alike and not is_published(one) and one["id"] != record["id"]:
            return one
    return None


def eager_ran(record: Record, records: Sequence[Record]) -> bool:
    """Whether PyTorch eager in fp32 ran in these or in other rounds, with the published loop or the record's."""
    near = [one for one in records if is_eager(one) and _same_place(one, record)]
    return any(is_published(one) or same_loop(one, record) for one in near)


def ratio_cell(record: Record, base: Record | None) -> str:
    """Such as ``1.42x (1.38 to 1.47) pytorch eager fp32``; the loop of the base is named unless it is published."""
    if base is None:
        return "-"
    middle, low, high = paired_ratio(base["rounds_ms"], record["rounds_ms"])
    loop = "" if is_published(base) else f", {loop_of(base)}"
    return f"{middle:.2f}x ({low:.2f} to {high:.2f}) {engine_of(base)}{loop}"


def same_loop(a: Record, b: Record) -> bool:
    return all(a[name] == b[name] for name in ("sampling", "calls", "sampler"))


def _same_place(a: Record, b: Record) -> bool:
    return all(a[name] == b[name] for name in ("size", "fingerprint"))


def _group(record: Record, records: Sequence[Record]) -> list[Record]:
    """Those that ran in the same rounds."""
    place = record["run"]["group"], record["settings"]
    return [one for one in records if is_measured(one) and (one["run"]["group"], one["settings"]) == place]
