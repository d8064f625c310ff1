"""Records -> the short table of the README, which leads with its fastest honest row. Nobody types a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .cells import aligned, engine_of, loop_of, number, quality_of, size_of
from .escape import for_markdown
from .ratios import base_of, devices, eager_ran, is_eager, is_fp32_package, is_measured, is_published, latest
from .records import Record
from .stats import paired_ratio

BUDGET_DB, BUDGET_SSIM = 0.15, 0.01  # by how much an honest row's pictures may be worse than the published loop's
_FIDELITY_DB = 40.0  # to the fp32 package, where no reference photos say how good pictures are
_FAILED = "failed"
_ENGINES = ("onnxruntime", "onnxruntime-gpu", "openvino", "ncnn", "tensorrt", "tensorrt-rtx", "torch")

Place = tuple[str, str, str]  # engine, sampling, calls


def readme_table(records: Sequence[Record]) -> str:
    """A row for every engine and loop, a column for every size. An engine that ran at no size, mostly for a precision
    that it does not take, is left to the report."""
    parts = []
    for device, own in devices(for_markdown(latest(records))).items():
        measured = [record for record in own if is_measured(record)]
        if not measured:
            continue
        sizes = list(dict.fromkeys(size_of(record) for record in own))
        unit = "Milliseconds" if own[0]["fingerprint"]["gpu"] else "Seconds"
        rows: dict[Place, dict[str, str]] = {}
        for record in own:
            rows.setdefault(_place(record), {})[size_of(record)] = _short(record, own, unit)
        rows = {place: cells for place, cells in rows.items() if set(cells.values()) != {_FAILED}}
        judged = judged_size(measured)
        quality = {_place(one): quality_of(one) for one in measured if size_of(one) == judged}
        first = fastest_honest([one for one in measured if size_of(one) == judged])
        table = [
            [*place, *quality.get(place, ("-", "-")), *(cells.get(size, "-") for size in sizes)]
            for place, cells in rows.items()
        ]
        if first is not None:
            index = list(rows).index(_place(first))
            table.insert(0, [f"**{cell}**" if cell != "-" else cell for cell in table.pop(index)])
        head = ("engine", "sampling", "calls", "PSNR (dB)", "SSIM", *sizes)
        libraries = own[0]["fingerprint"]["libraries"]
        versions = ", ".join(f"{name} {libraries[name]}" for name in _ENGINES if name in libraries)
        parts.append(
            f"{device}; {versions}. {unit} a photo, median of {own[0]['settings']['rounds']} rounds in turns. In "
            "brackets: times as fast as PyTorch eager in fp32 with the published loop, round by round (where that did "
            "not run: as the row's own loop, or as the first fp32 engine). "
            f"{_words(first, judged)}\n\n" + "\n".join(aligned(head, table))
        )
    return "\n\n".join(parts)


def judged_size(measured: Sequence[Record]) -> str:
    """The size at which rows are compared: where most are scored, else where most are measured."""
    scored = [record for record in measured if record.get("quality")]
    return Counter(size_of(record) for record in scored or measured).most_common(1)[0][0]


def fastest_honest(measured: Sequence[Record]) -> Record | None:
    """Of records of one size, the fastest whose pictures are as good as those of the published loop; None where none
    is known to be."""
    published = [one for one in measured if one.get("quality") and is_published(one)]
    bases = [*filter(is_eager, published), *filter(is_fp32_package, published)]
    honest = [one for one in measured if _is_honest(one, bases[0] if bases else None)]
    return min(honest, key=lambda one: one["latency_ms"]["p50"], default=None)


def _is_honest(record: Record, base: Record | None) -> bool:
    found = record.get("quality")
    if base is not None:
        if not found:
            return False
        lost_db, lost_ssim = (base["quality"][name] - found[name] for name in ("psnr_db", "ssim"))
        return bool(lost_db <= BUDGET_DB and lost_ssim <= BUDGET_SSIM)
    if not is_published(record) or record["fidelity"] is None:
        return is_published(record) and record["subject"]["precision"] == "fp32"
    psnr = record["fidelity"]["psnr_db"]
    return psnr is None or psnr >= _FIDELITY_DB


def _words(first: Record | None, judged: str) -> str:
    """What the first row is, and where PSNR and SSIM come from."""
    if first is None:
        return f"No row is known to make pictures at {judged} as good as those of the published loop."
    found = first.get("quality")
    if not found:
        return (
            f"Bold: the fastest row at {judged} that runs the published loop and is at least {_FIDELITY_DB:.0f} dB "
            "from the fp32 package's picture. A dash: no reference photos were given (`--photo DIR --reference DIR`)."
        )
    return (
        f"PSNR and SSIM are means over {len(found['photos'])} reference photos of {judged}. Bold: the fastest row at "
        f"that size whose PSNR and SSIM are at most {BUDGET_DB} dB and {BUDGET_SSIM} below those of the published loop."
    )


def _place(record: Record) -> Place:
    package = f" ({record['name']})" if record["subject"]["kind"] == "package" else ""
    return f"{engine_of(record)}{package}", loop_of(record), str(record["calls"])


def _short(record: Record, records: Sequence[Record], unit: str) -> str:
    if "failed" in record:
        return _FAILED
    if not is_measured(record):
        return f"needs {record['needed_bytes'] / 1e9:.0f} GB"
    base, middle = base_of(record, records), record["latency_ms"]["p50"]
    time = number(float(f"{middle:.3g}")) if unit == "Milliseconds" else f"{middle / 1000:.3g}"
    if base is None or (not is_eager(base) and eager_ran(record, records)):
        return time  # PyTorch ran, in other rounds: what is in brackets would be a ratio to something else
    return f"{time} ({paired_ratio(base['rounds_ms'], record['rounds_ms'])[0]:.2f}x)"
