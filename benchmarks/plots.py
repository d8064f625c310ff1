"""Records -> PNG plots."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BackendUnavailableError
from runtime.machine.files import rewrite_file

from .cells import engine_of, size_of
from .escape import for_plots
from .machine import words
from .ratios import is_measured, is_published, latest, order
from .records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_MOST_BARS = 16
_PSNR_CEILING = 100.0  # equal pictures have no finite PSNR; they are drawn here


def draw(records: Sequence[Record], report: Path) -> list[tuple[str, str]]:
    """Write the plots beside ``report``; (caption, file name) of each. Raises BackendUnavailableError without
    matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise BackendUnavailableError(
            f"the report's plots need matplotlib ({error}); `pip install '.[benchmarks]'`, or print the report without "
            "-o."
        ) from error
    measured = labelled(for_plots(sorted((one for one in latest(records) if is_measured(one)), key=order)))
    found = []
    for name, plot in _PLOTS.items():
        figure, axes = pyplot.subplots(figsize=(9, 5.5), dpi=120, layout="constrained")
        caption = plot(axes, measured)
        if caption:
            path, content = report.with_name(f"{report.stem}-{name}.png"), io.BytesIO()
            figure.savefig(content)
            rewrite_file(path, content.getvalue())
            found.append((caption, path.name))
        pyplot.close(figure)
    return found


def labelled(records: Sequence[Record]) -> list[Record]:
    """Copies with a ``label``: the engine, and what else it takes to tell the lines of a plot apart."""
    packages: dict[str, set[str]] = {}
    for one in records:
        packages.setdefault(engine_of(one), set()).add(one["name"])
    several = len({words(one["fingerprint"]) for one in records}) > 1
    found = []
    for one in records:
        parts = [engine_of(one)]
        parts += [one["name"]] if len(packages[parts[0]]) > 1 else []
        parts += [one["sampler"]] if one["sampler"] != "ddim" else []
        parts += [one["sampling"]] if one["sampling"] and not is_published(one) else []
        gpu = one["fingerprint"]["gpu"]
        parts += [gpu["name"] if gpu else one["fingerprint"]["processor"]] if several else []
        found.append({**one, "label": ", ".join(parts)})
    return found


def _latency(axes: Axes, records: Sequence[Record]) -> str:
    """A line an engine; dashed from its smallest size what linear cost would give."""
    styles = _styles([one["label"] for one in records])
    lines: dict[str, list[Record]] = {}
    for record in _most_calls(records):
        lines.setdefault(record["label"], []).append(record)
    lines = {name: own for name, own in lines.items() if len(own) > 1}
    for name, own in lines.items():
        style = styles[name]
        megapixels = [one["size"][0] * one["size"][1] / 1e6 for one in own]
        seconds = [one["latency_ms"]["p50"] / 1000 for one in own]
        axes.plot(megapixels, seconds, label=name, **style)
        linear = [seconds[0] * one / megapixels[0] for one in megapixels]
        axes.plot(megapixels, linear, "--", color=style["color"], linewidth=0.8, alpha=0.6)
    if not lines:
        return ""
    axes.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds a photo (median)")
    sizes = {size_of(one): one["size"][0] * one["size"][1] / 1e6 for own in lines.values() for one in own}
    axes.set_xticks(list(sizes.values()), [f"{size}\n{value:.2g}" for size, value in sizes.items()])
    axes.set_xticks([], minor=True)
    _plain_numbers(axes.yaxis, axes.get_ylim())
    axes.grid(alpha=0.3)
    _legend(axes)
    return (
        "Latency against size. Dashed: what a cost in proportion to the pixels would give, from the smallest size on."
    )


def _fidelity(axes: Axes, records: Sequence[Record]) -> str:
    """At the largest size that has the most configurations."""
    compared = [one for one in records if one["fidelity_to_published_steps"]]
    if len(compared) < 2:
        return ""
    sizes = [size_of(one) for one in compared]
    size = max(sizes, key=lambda one: (sizes.count(one), sizes.index(one)))
    own = [one for one in compared if size_of(one) == size]
    styles = _styles([one["label"] for one in records])
    for name in dict.fromkeys(one["label"] for one in own):
        style = styles[name]
        points = [one for one in own if one["label"] == name]
        x = [one["latency_ms"]["p50"] / 1000 for one in points]
        y = [min(one["fidelity_to_published_steps"]["psnr_db"] or _PSNR_CEILING, _PSNR_CEILING) for one in points]
        axes.plot(x, y, label=name, **(style | {"linewidth": 0.8}))
        for one, left, top in zip(points, x, y, strict=True):
            axes.annotate(
                str(one["calls"]), (left, top), (0, 7), textcoords="offset points", ha="center", fontsize=8,
                color=style["color"],
            )  # fmt: skip
    axes.set(xlabel=f"seconds a photo of {size} (median)", ylabel="PSNR against the fp32 package, published (dB)")
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis, axes.get_xlim())
    _plain_numbers(axes.yaxis, axes.get_ylim())
    axes.grid(alpha=0.3, which="both")
    _legend(axes)
    return (
        f"Speed against fidelity at {size}; the numbers are calls of the denoiser. The same noise for all that start "
        f"from noise; {_PSNR_CEILING:.0f} dB stands for equal pictures."
    )


def _stages(axes: Axes, records: Sequence[Record]) -> str:
    """Bars of the stages, as shares, at the largest size; the whole beside them."""
    timed = [one for one in records if one["stages_ms"]]
    if not timed:
        return ""
    size = size_of(timed[-1])
    own = [one for one in _most_calls(timed) if size_of(one) == size][:_MOST_BARS]
    names = list(dict.fromkeys(name for one in own for name in one["stages_ms"]))
    labels = [f"{one['label']}, {one['calls']} calls" for one in own]
    left = [0.0] * len(own)
    for name, style in _styles(names).items():
        widths = [100 * one["stages_ms"].get(name, 0.0) / sum(one["stages_ms"].values()) for one in own]
        axes.barh(labels, widths, left=left, label=name, color=style["color"])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for place, one in enumerate(own):
        axes.text(101, place, f"{sum(one['stages_ms'].values()):,.0f} ms", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=f"share of the time of a photo of {size} (%)", xlim=(0, 114))
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.legend(loc="outside upper center", ncols=min(6, len(names)), fontsize=8, frameon=False)
    return f"Where the time goes at {size} with {_calls(own)}: medians of the stages."


def _peak(axes: Axes, records: Sequence[Record]) -> str:
    """Share of the measured peak, a group of bars a size."""
    shares = [one for one in records if one["share_of_peak"] is not None]
    if not shares:
        return ""
    styles = _styles([one["label"] for one in records])
    shares = _most_calls(shares)
    sizes, names = (list(dict.fromkeys(part(one) for one in shares)) for part in (size_of, itemgetter("label")))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        own = {size_of(one): 100 * one["share_of_peak"] for one in shares if one["label"] == name}
        places = [sizes.index(size) + (index - (len(names) - 1) / 2) * width for size in own]
        bars = axes.bar(places, list(own.values()), width, label=name, color=styles[name]["color"])
        if len(names) * len(sizes) <= _MOST_BARS:
            axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    axes.axhline(100, color="black", linewidth=0.8)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_ylabel("share of the measured GEMM peak (%)")
    _plain_numbers(axes.yaxis, axes.get_ylim())
    axes.grid(axis="y", alpha=0.3)
    _legend(axes)
    return (
        f"Share of the machine's peak with {_calls(shares)}: multiply-adds of the graphs by time, against "
        "the GEMM peak of the same run and number type. An engine that needs fewer multiplications (Winograd) can "
        "pass 100 %."
    )


_PLOTS: dict[str, Callable[[Axes, Sequence[Record]], str]] = {
    "latency": _latency,
    "fidelity": _fidelity,
    "stages": _stages,
    "peak": _peak,
}


def _most_calls(records: Sequence[Record]) -> list[Record]:
    """Of each engine and size those with the most calls: the others repeat the same picture."""
    most: dict[tuple[str, str], int] = {}
    for one in records:
        key = one["label"], size_of(one)
        most[key] = max(one["calls"], most.get(key, 0))
    return [one for one in records if one["calls"] == most[one["label"], size_of(one)]]


def _calls(records: Sequence[Record]) -> str:
    """Such as "10 calls" or "2 or 10 calls"."""
    return f"{' or '.join(str(count) for count in sorted({one['calls'] for one in records}))} calls"


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for every name: the same in every plot of a report."""
    from matplotlib import colormaps

    colours, markers = list(colormaps["tab20"](range(20))), "osD^vP*Xh<>"
    chosen = [*colours[0::2], *colours[1::2]]
    return {
        name: {"color": chosen[index % 20], "marker": markers[index % 11], "markersize": 5}
        for index, name in enumerate(dict.fromkeys(names))
    }


def _plain_numbers(axis: Axis, limits: tuple[float, float]) -> None:
    """Ticks such as 0.05, 6 and 2,000, and no powers of ten or offsets. limits: of the axis, once all is drawn on it.
    On a logarithmic axis the numbers between the powers are written too where it spans less than two of them."""
    axis.set_major_formatter(lambda value, _: plain(value))
    if axis.get_scale() == "log":
        low, high = limits
        axis.set_minor_formatter(lambda value, _: plain(value) if high < 100 * low else "")
        axis.set_tick_params(which="minor", labelsize=7)


def plain(value: float) -> str:
    """Without an exponent, and without zeros at the end."""
    return f"{value:,.9f}".rstrip("0").rstrip(".")


def _legend(axes: Axes) -> None:
    axes.figure.legend(loc="outside right upper", fontsize=8, frameon=False)
