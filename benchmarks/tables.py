"""Records -> the tables of the report. Nobody types a number."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from .cells import (
    aligned,
    engine_of,
    fidelity_of,
    loop_of,
    mib,
    milliseconds,
    number,
    quality_of,
    size_of,
    what_of,
)
from .escape import for_markdown
from .ratios import base_of, devices, is_measured, latest, like_of, ratio_cell
from .records import Record

_PAPER = """\
The paper's figures (second-hand notes, not checked by us; the GPU is not named; the paper's weights, which are not
ours): 0.157 s and 1.85 GB at 600x400, 1.07 s and 3.87 GB at 1920x1080, both with 10 steps. They are another machine's:
no ratio to the figures above is formed."""


def markdown(records: Sequence[Record], plots: Sequence[tuple[str, str]] = ()) -> str:
    """The whole report. plots: (caption, file name)."""
    lines = ["# Benchmarks", ""]
    records = for_markdown(latest(records))
    for device, own in devices(records).items():
        lines += [f"## {device}", "", *_facts(own), "", *_tables(own), "", *_missing(own), *_flags(own)]
    if any(size_of(record) in ("600x400", "1920x1080") for record in records):
        lines += [_PAPER, ""]
    for caption, file in plots:
        lines += [f"![{caption}]({quote(file, errors='surrogateescape')})", "", f"*{caption}*", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _facts(records: Sequence[Record]) -> list[str]:
    first = records[0]
    libraries = ", ".join(f"{name} {version}" for name, version in first["fingerprint"]["libraries"].items())
    found = [
        f"{first['fingerprint']['platform']}, Python {first['fingerprint']['python']}; {libraries}.",
        f"Photo: {first['settings']['photo']}; {first['settings']['rounds']} rounds in turns (A B A B), after a "
        "warm-up. A ratio is the median of the rounds' own ratios, with p10 to p90. It is formed with PyTorch eager in "
        "fp32 and the published loop, whatever loop the row runs, where that ran in the same rounds; the cell names "
        "what it is formed with.",
    ]
    loads = [(one["run"]["before"]["load"], one["run"]["after"]["load"]) for one in records if is_measured(one)]
    if loads:
        found.append(
            f"Load average before a group at most {max(before for before, _ in loads):.2f}, after it at most "
            f"{max(after for _, after in loads):.2f} (our own included)."
        )
    return found


_SPEED = ("calls", "PSNR (dB)", "SSIM", "p50 ms", "p90", "p99", "min", "ms a call")
_RATIO, _LIKE = "times faster (p10 to p90) than", "than its own loop in"
_RATES = ("megapixels/s", "first photo ms", "opening ms")
_COST = (
    *("peak MiB, host", "GPU", "predicted", "GFLOP", "GFLOP/s", "of the machine's peak"),
    *("PSNR to fp32, same loop", "grey levels", "PSNR to fp32, published"),
)


def _tables(records: Sequence[Record]) -> list[str]:
    measured = [record for record in records if is_measured(record)]
    if not measured:
        return ["Nothing was measured."]
    place = ("photo", "engine", "package", "sampling")
    likes = [like_of(record, records) for record in measured]
    ratios = [[ratio_cell(one, base_of(one, records))] for one in measured]
    if any(likes):  # like with like has a column where it was measured
        for cells, record, like in zip(ratios, measured, likes, strict=True):
            cells.append(ratio_cell(record, like))
    head = (*place, *_SPEED, _RATIO, *([_LIKE] if any(likes) else []), *_RATES)
    speed = [[*_place(one), *_speed(one), *cells, *_rates(one)] for one, cells in zip(measured, ratios, strict=True)]
    cost = [[*_place(record), *_cost(record)] for record in measured]
    parts = [*aligned(head, speed), "", *_scored(measured), *aligned((*place, *_COST), cost)]
    staged = [record for record in measured if record["stages_ms"]]
    names = list(dict.fromkeys(name for record in staged for name in record["stages_ms"]))
    rows = [[*_place(one), *(milliseconds(one["stages_ms"].get(name)) for name in names)] for one in staged]
    return [*parts, "", "Milliseconds by stage (medians):", "", *aligned((*place, *names), rows)] if rows else parts


def _place(record: Record) -> tuple[str, ...]:
    package = record["name"] if record["subject"]["kind"] == "package" else "-"
    return size_of(record), engine_of(record), package, loop_of(record)


def _speed(record: Record) -> tuple[str, ...]:
    times, steps = record["latency_ms"], record["step_ms"]
    return (
        str(record["calls"]),
        *quality_of(record),
        *(number(times[name]) for name in ("p50", "p90", "p99", "min")),
        number(sum(steps) / len(steps)) if steps else "-",
    )


def _rates(record: Record) -> tuple[str, ...]:
    return tuple(number(record[name]) for name in ("megapixels_per_s", "first_photo_ms", "opening_ms"))


def _cost(record: Record) -> tuple[str, ...]:
    memory, share = record["memory"], record["share_of_peak"]
    return (
        *(mib(memory[name]) for name in ("host_peak_bytes", "device_peak_bytes", "predicted_bytes")),
        number(record["gflop"]),
        number(record["gflop_per_s"]),
        "-" if share is None else f"{share:.0%} of {record['peak']['number_type']}",
        *fidelity_of(record["fidelity"]),
        fidelity_of(record["fidelity_to_published_steps"])[0],
    )


def _scored(measured: Sequence[Record]) -> list[str]:
    """Where PSNR and SSIM come from."""
    scored = {size_of(one): len(one["quality"]["photos"]) for one in measured if one.get("quality")}
    photos = ", ".join(f"{count} of {size}" for size, count in scored.items())
    how = f"means over reference photos at their own size ({photos})" if scored else "against reference photos"
    less = all(record.get("quality") for record in measured)
    cure = "" if less else " A dash: no pair of that size was given; `--photo DIR --reference DIR` gives them."
    return [f"PSNR (dB) and SSIM are {how}.{cure}", ""]


def _missing(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in records:
        what = what_of(record)
        if "failed" in record:
            lines.append(f"* {what}: failed: {record['failed']}")
        elif not is_measured(record):
            needed, free = record["needed_bytes"] / 1e9, record["free_bytes"] / 1e9
            lines.append(f"* {what}: does not fit: it would need about {needed:.1f} GB, {free:.1f} GB were free")
    return ["Not measured:", "", *lines, ""] if lines else []


def _flags(records: Sequence[Record]) -> list[str]:
    lines = [f"* {what_of(record)}: {'; '.join(record['flags'])}" for record in records if record.get("flags")]
    return ["Not steady (above 5 %): take these with care.", "", *lines, ""] if lines else []
