"""Records -> the tables of the report and of the README. Nobody types a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .job import VARIANTS
from .machine import words
from .records import Record
from .stats import paired_ratio

_FAILED = "failed"
_MIB = 1 << 20
_ENGINES = ("onnxruntime", "onnxruntime-gpu", "openvino", "ncnn", "tensorrt", "tensorrt-rtx", "torch")
_PAPER = """\
The paper's figures (second-hand notes, not checked by us; the GPU is not named; the paper's weights, which are not
ours): 0.157 s and 1.85 GB at 600x400, 1.07 s and 3.87 GB at 1920x1080, both with 10 steps. They are another machine's:
no ratio to the figures above is formed."""


def is_measured(record: Record) -> bool:
    return "latency_ms" in record


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
    return record["size"][0] * record["size"][1], first, *engine, -record["steps"]


def engine_of(record: Record) -> str:
    """What computed, for a table's cell."""
    subject = record["subject"]
    if subject["kind"] != "package":
        return f"{subject['kind']} {subject['variant']}"
    provider = f":{subject['provider']}" if subject["provider"] else ""
    return f"{subject['backend']}{provider} {subject['precision']}"


def size_of(record: Record) -> str:
    return f"{record['size'][0]}x{record['size'][1]}"


def base_of(record: Record, records: Sequence[Record]) -> Record | None:
    """What a record's ratio is formed with: of its own group, PyTorch eager in fp32 with the same steps, else the first
    fp32 package, else the first configuration. None where the record is that one, or alone."""
    group = [one for one in records if is_measured(one) and one["run"]["group"] == record["run"]["group"]]
    same = [one for one in group if _alike(one, record)]
    for chosen in (
        [one for one in same if _is_eager(one)],
        [one for one in same if one["subject"]["kind"] == "package" and one["subject"]["precision"] == "fp32"],
        same,
    ):
        if chosen:
            return None if chosen[0]["id"] == record["id"] else chosen[0]
    return None


def _is_eager(record: Record) -> bool:
    return is_measured(record) and record["subject"].get("variant") == "eager fp32"


def _alike(a: Record, b: Record) -> bool:
    """Whether both did the same work: then a ratio of theirs says something."""
    return all(a[name] == b[name] for name in ("size", "steps", "sampler", "fingerprint"))


def ratio_cell(record: Record, records: Sequence[Record]) -> str:
    """Such as ``1.42x (1.38-1.47) eager fp32``."""
    base = base_of(record, records)
    if base is None:
        return "-"
    middle, low, high = paired_ratio(base["rounds_ms"], record["rounds_ms"])
    return f"{middle:.2f}x ({low:.2f} to {high:.2f}) {engine_of(base)}"


def devices(records: Sequence[Record]) -> dict[str, list[Record]]:
    """A device in words -> its records, in the order of the tables."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=order):
        found.setdefault(words(record["fingerprint"]), []).append(record)
    return found


def markdown(records: Sequence[Record], plots: Sequence[tuple[str, str]] = ()) -> str:
    """The whole report. plots: (caption, file name)."""
    lines = ["# Benchmarks", ""]
    for device, own in devices(latest(records)).items():
        lines += [f"## {device}", "", *_facts(own), "", *_tables(own), "", *_quality(own), *_missing(own), *_flags(own)]
    if any(size_of(record) in ("600x400", "1920x1080") for record in records):
        lines += [_PAPER, ""]
    for caption, file in plots:
        lines += [f"![{caption}]({file})", "", f"*{caption}*", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _facts(records: Sequence[Record]) -> list[str]:
    first = records[0]
    libraries = ", ".join(f"{name} {version}" for name, version in first["fingerprint"]["libraries"].items())
    found = [
        f"{first['fingerprint']['platform']}, Python {first['fingerprint']['python']}; {libraries}.",
        f"Photo: {first['settings']['photo']}; {first['settings']['rounds']} rounds in turns (A B A B), after a "
        "warm-up. A ratio is the median of the rounds' own ratios, with p10 to p90.",
    ]
    loads = [(one["run"]["before"]["load"], one["run"]["after"]["load"]) for one in records if is_measured(one)]
    if loads:
        found.append(
            f"Load average before a group at most {max(before for before, _ in loads):.2f}, after it at most "
            f"{max(after for _, after in loads):.2f} (our own included)."
        )
    return found


_SPEED = (
    *("p50 ms", "p90", "p99", "min", "ms a step", "times faster (p10 to p90) than"),
    *("megapixels/s", "first photo ms", "opening ms"),
)
_COST = (
    *("peak MiB, host", "GPU", "predicted", "GFLOP", "GFLOP/s", "of the machine's peak"),
    *("PSNR to fp32", "grey levels", "PSNR to fp32, its own steps"),
)


def _tables(records: Sequence[Record]) -> list[str]:
    measured = [record for record in records if is_measured(record)]
    if not measured:
        return ["Nothing was measured."]
    place = ("photo", "engine", "package", "steps")
    speed = [[*_place(record), *_speed(record, records)] for record in measured]
    cost = [[*_place(record), *_cost(record)] for record in measured]
    parts = [*_aligned((*place, *_SPEED), speed), "", *_aligned((*place, *_COST), cost)]
    staged = [record for record in measured if record["stages_ms"]]
    names = list(dict.fromkeys(name for record in staged for name in record["stages_ms"]))
    rows = [[*_place(one), *(_milliseconds(one["stages_ms"].get(name)) for name in names)] for one in staged]
    return [*parts, "", "Milliseconds by stage (medians):", "", *_aligned((*place, *names), rows)] if rows else parts


def _milliseconds(time: float | None) -> str:
    return "-" if time is None else _number(time)


def _place(record: Record) -> tuple[str, ...]:
    package = record["name"] if record["subject"]["kind"] == "package" else "-"
    sampler = "" if record["sampler"] == "ddim" else f" {record['sampler']}"
    return size_of(record), engine_of(record), package, f"{record['steps']}{sampler}"


def _speed(record: Record, records: Sequence[Record]) -> tuple[str, ...]:
    times, steps = record["latency_ms"], record["step_ms"]
    return (
        *(_number(times[name]) for name in ("p50", "p90", "p99", "min")),
        _number(sum(steps) / len(steps)) if steps else "-",
        ratio_cell(record, records),
        *(_number(record[name]) for name in ("megapixels_per_s", "first_photo_ms", "opening_ms")),
    )


def _cost(record: Record) -> tuple[str, ...]:
    memory, share = record["memory"], record["share_of_peak"]
    return (
        *(_mib(memory[name]) for name in ("host_peak_bytes", "device_peak_bytes", "predicted_bytes")),
        _number(record["gflop"]),
        _number(record["gflop_per_s"]),
        "-" if share is None else f"{share:.0%} of {record['peak']['number_type']}",
        *_fidelity(record["fidelity"]),
        _fidelity(record["fidelity_to_published_steps"])[0],
    )


def _fidelity(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return "equal" if found["psnr_db"] is None else f"{found['psnr_db']:.2f} dB", str(found["grey_levels"])


def _quality(records: Sequence[Record]) -> list[str]:
    scored = [record for record in records if record.get("quality")]
    if not scored:
        return []
    rows = []
    for one in scored:
        found = one["quality"]
        rows.append([*_place(one), str(len(found["photos"])), f"{found['psnr_db']:.2f}", f"{found['ssim']:.3f}"])
    head = ("photo", "engine", "package", "steps", "photos", "PSNR (dB)", "SSIM")
    return ["Against reference photos, at their own size:", "", *_aligned(head, rows), ""]


def _missing(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in records:
        what = f"{size_of(record)}, {engine_of(record)}, {record['steps']} steps"
        if "failed" in record:
            lines.append(f"* {what}: failed: {record['failed']}")
        elif not is_measured(record):
            needed, free = record["needed_bytes"] / 1e9, record["free_bytes"] / 1e9
            lines.append(f"* {what}: does not fit: it would need about {needed:.1f} GB, {free:.1f} GB were free")
    return ["Not measured:", "", *lines, ""] if lines else []


def _flags(records: Sequence[Record]) -> list[str]:
    lines = [
        f"* {size_of(record)}, {engine_of(record)}, {record['steps']} steps: {'; '.join(record['flags'])}"
        for record in records
        if record.get("flags")
    ]
    return ["Not steady (above 5 %): take these with care.", "", *lines, ""] if lines else []


def readme_table(records: Sequence[Record]) -> str:
    """The short table: a row for every engine and number of steps, a column for every size. An engine that ran at no
    size, mostly for a precision that it does not take, is left to the report."""
    parts = []
    for device, own in devices(latest(records)).items():
        measured = [record for record in own if is_measured(record)]
        if not measured:
            continue
        sizes = list(dict.fromkeys(size_of(record) for record in own))
        unit = "Milliseconds" if own[0]["fingerprint"]["gpu"] else "Seconds"
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for record in own:
            package = f" ({record['name']})" if record["subject"]["kind"] == "package" else ""
            place = (f"{engine_of(record)}{package}", str(record["steps"]))
            rows.setdefault(place, {})[size_of(record)] = _short(record, own, unit)
        rows = {place: cells for place, cells in rows.items() if set(cells.values()) != {_FAILED}}
        table = [[*place, *(cells.get(size, "-") for size in sizes)] for place, cells in rows.items()]
        head = ("engine", "steps", *sizes)
        libraries = own[0]["fingerprint"]["libraries"]
        versions = ", ".join(f"{name} {libraries[name]}" for name in _ENGINES if name in libraries)
        parts.append(
            f"{device}; {versions}. {unit} a photo (median of {own[0]['settings']['rounds']} rounds in turns); in "
            "brackets how many times faster than PyTorch eager in fp32 (or the first fp32 engine where that did not "
            "run), round by round.\n\n" + "\n".join(_aligned(head, table))
        )
    return "\n\n".join(parts)


def _short(record: Record, records: Sequence[Record], unit: str) -> str:
    if "failed" in record:
        return _FAILED
    if not is_measured(record):
        return f"needs {record['needed_bytes'] / 1e9:.0f} GB"
    base, middle = base_of(record, records), record["latency_ms"]["p50"]
    time = _number(float(f"{middle:.3g}")) if unit == "Milliseconds" else f"{middle / 1000:.3g}"
    if base is None or (not _is_eager(base) and any(_is_eager(one) and _alike(one, record) for one in records)):
        return time  # PyTorch ran, in other rounds: what is in brackets would be a ratio to something else
    return f"{time} ({paired_ratio(base['rounds_ms'], record['rounds_ms'])[0]:.2f}x)"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size // _MIB:,}"


def _number(value: float) -> str:
    """Four digits that matter: 0.1234, 12.34, 1,234."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
