"""The report: every number comes out of the records, ratios only where rounds were shared."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_records import record

from benchmarks.plots import _most_calls, draw, labelled
from benchmarks.ratios import base_of, like_of
from benchmarks.ratios import ratio_cell as cell_of
from benchmarks.readme import readme_table
from benchmarks.records import ResultsFile
from benchmarks.report import main, refresh
from benchmarks.tables import markdown
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent.parent
EAGER, PACKAGE = record("pytorch eager fp32", [3000, 6000, 3300]), record("onnxruntime", [1500, 3000, 1500])


def ratio_cell(one: dict[str, Any], records: list[dict[str, Any]]) -> str:
    return cell_of(one, base_of(one, records))


def quality(psnr_db: float, ssim: float) -> dict[str, Any]:
    return {"psnr_db": psnr_db, "ssim": ssim, "photos": {"1": [1, 1], "2": [1, 1]}}


def test_a_ratio_is_formed_round_by_round_with_pytorch_eager():
    assert ratio_cell(PACKAGE, [EAGER, PACKAGE]) == "2.00x (2.00 to 2.16) pytorch eager fp32"
    assert ratio_cell(EAGER, [EAGER, PACKAGE]) == "-"


def test_no_ratio_between_groups():
    assert base_of(record("onnxruntime", [1.0], group="other"), [EAGER, PACKAGE]) is None


def test_a_sampling_and_fewer_steps_are_compared_with_pytorchs_published_loop():
    fast = record("onnxruntime", [300, 600, 330], steps=2, sampling="fast")
    two = record("onnxruntime", [250, 600, 300], steps=2)
    own = record("pytorch eager fp32", [900, 1800, 990], steps=2, sampling="fast")
    given = [own, EAGER, PACKAGE, fast, two]
    assert ratio_cell(fast, given) == "10.00x (10.00 to 10.00) pytorch eager fp32"
    assert base_of(two, given) is EAGER
    assert like_of(fast, given) is own
    assert cell_of(fast, own) == "3.00x (3.00 to 3.00) pytorch eager fp32, fast"
    assert (like_of(two, given), like_of(PACKAGE, given), like_of(own, given)) == (None, None, None)
    assert ratio_cell(fast, [own, fast]) == "3.00x (3.00 to 3.00) pytorch eager fp32, fast"
    assert ratio_cell(fast, [PACKAGE, fast]) == "5.00x (4.64 to 5.00) onnxruntime fp32"
    assert base_of(two, [fast, two]) is None  # of other loops only the published one is a base
    text = markdown(given)
    assert "| times faster (p10 to p90) than | than its own loop in | megapixels/s |" in text
    assert "It is formed with PyTorch eager in fp32 and the published loop, whatever loop the row runs" in text
    assert "than its own loop in" not in markdown([EAGER, PACKAGE, fast])


def test_without_pytorch_the_first_fp32_package_is_the_base():
    bf16 = record("openvino bf16", [1.0, 1.0, 1.0])
    assert base_of(bf16, [bf16, PACKAGE]) is PACKAGE
    assert base_of(PACKAGE, [bf16, PACKAGE]) is None


def test_the_report_holds_what_was_measured_and_what_was_not():
    unfit = record("onnxruntime", [1.0], size=(3840, 2160))
    for name in ("latency_ms", "rounds_ms", "run", "stages_ms"):
        del unfit[name]
    unfit |= {"fits": False, "needed_bytes": 9_600_000_000, "free_bytes": 4_000_000_000}
    failed = {**unfit, "id": "f", "size": [600, 400], "failed": "no compiler", "steps": 5, "calls": 5, "sampling": None}
    scored = record("openvino", [700.0] * 3, flags=["unsteady: coefficient of variation 9.0%"],
                    quality=quality(16.94, 0.73))  # fmt: skip
    text = markdown([EAGER, PACKAGE, unfit, failed, scored])
    assert "## A processor, 2 cores used, 1,000 MiB" in text
    row = next(line for line in text.splitlines() if line.startswith("| 600x400 | onnxruntime fp32"))
    assert row.split(" | ")[3:11] == ["published", "10", "-", "-", "1,500", "3,000", "3,000", "1,500"]
    cost = [line for line in text.splitlines() if line.startswith("| 600x400 | onnxruntime fp32")][1]
    assert cost.split(" | ")[4:] == ["300", "-", "400", "718.5", "479", "42% of float32", "61.25 dB", "3", "equal |"]
    assert (
        "* 3840x2160, onnxruntime fp32, published: does not fit: it would need about 9.6 GB, 4.0 GB were free" in text
    )
    assert "* 600x400, onnxruntime fp32, 5 steps: failed: no compiler" in text
    assert "| 600x400 | openvino fp32 | pkg | published | 10 | 16.94 | 0.730 | 700 |" in text
    assert "are means over reference photos at their own size (2 of 600x400). A dash: no pair of that size" in text
    assert "are against reference photos. A dash: no pair of that size was given" in markdown([EAGER])
    assert "A dash" not in markdown([scored])
    assert "* 600x400, openvino fp32, published: unsteady: coefficient of variation 9.0%" in text
    assert "second-hand notes" in text
    assert "second-hand notes" not in markdown([record("onnxruntime", [1.0], size=(640, 480))])


def test_devices_have_tables_of_their_own_and_the_last_record_counts():
    again = record("onnxruntime", [500.0] * 3)
    text = markdown([PACKAGE, record("onnxruntime", [9.0] * 3, gpu="H100", group="h"), again])
    assert text.count("## ") == 2
    assert "## H100, driver 1, CUDA 13.0; A processor" in text
    assert "| 1,500 |" not in text
    assert "| 500 |" in text


def test_the_short_table_has_a_column_for_every_size():
    large = [
        record(name, [10000.0] * 3, size=(1920, 1080), group="l") for name in ("pytorch eager fp32", "onnxruntime")
    ]
    base = {
        key: value
        for key, value in PACKAGE.items()
        if key in ("fingerprint", "settings", "size", "steps", "calls", "sampling", "sampler")
    }
    never = {**base, "id": "n", "name": "pkg", "subject": {**PACKAGE["subject"], "backend": "ncnn"}, "failed": "int8"}
    lines = readme_table([EAGER, PACKAGE, *large, never]).splitlines()
    assert lines[2] == "| engine | sampling | calls | PSNR (dB) | SSIM | 600x400 | 1920x1080 |"
    assert lines[4:] == [
        "| **onnxruntime fp32 (pkg)** | **published** | **10** | - | - | **1.5 (2.00x)** | **10 (1.00x)** |",
        "| pytorch eager fp32 | published | 10 | - | - | 3.3 | 10 |",
    ]
    assert "A dash: no reference photos were given (`--photo DIR --reference DIR`" in lines[0]
    assert "onnxruntime 9.9, torch 8" in lines[0]


def test_a_gpus_tables_name_the_card_the_provider_and_the_stages_in_milliseconds():
    cuda = record("onnxruntime", [12.5, 12.5, 12.5], gpu="NVIDIA H200")
    cuda["subject"]["provider"] = "CUDA"
    eager, tf32 = (record(f"pytorch eager {name}", [50.0, 50.0, 50.0], gpu="NVIDIA H200", stages_ms={}, step_ms=[])
                   for name in ("fp32", "tf32"))  # fmt: skip
    text = markdown([cuda, eager, tf32])
    assert "## NVIDIA H200, driver 1, CUDA 13.0; A processor" in text
    assert "| 600x400 | onnxruntime:CUDA fp32 | pkg | published | 10 | - | - | 12.5 |" in text
    assert "| 4.00x (4.00 to 4.00) pytorch eager fp32 |" in text
    assert "| photo | engine | package | sampling | dwt | denoiser |" in text
    assert "| 600x400 | onnxruntime:CUDA fp32 | pkg | published | 1.25 | 11.25 |" in text
    assert text.index("pytorch eager fp32 |") < text.index("pytorch eager tf32 |")  # the order of the variants
    lines = readme_table([cuda, eager, tf32]).splitlines()
    assert ". Milliseconds a photo, median of 3 rounds" in lines[0]
    assert lines[4:] == [
        "| **onnxruntime:CUDA fp32 (pkg)** | **published** | **10** | - | - | **12.5 (4.00x)** |",
        "| pytorch eager fp32 | published | 10 | - | - | 50 |",
        "| pytorch eager tf32 | published | 10 | - | - | 50 (1.00x) |",
    ]


def test_the_short_table_leads_with_the_fastest_row_whose_pictures_are_as_good():
    """Not with a faster one of fewer steps, nor with one whose quality nobody measured."""
    eager = {**EAGER, "quality": quality(16.94, 0.730)}
    package = {**PACKAGE, "quality": quality(16.93, 0.730)}
    fast = record("onnxruntime", [330, 660, 363], steps=2, sampling="fast", quality=quality(16.80, 0.721))
    worse = record("onnxruntime", [300, 600, 330], steps=2, quality=quality(17.40, 0.545))
    unknown = record("openvino", [100.0] * 3, steps=2, sampling="fast")
    text = readme_table([eager, package, fast, worse, unknown])
    assert text.splitlines()[4:] == [
        "| **onnxruntime fp32 (pkg)** | **fast** | **2** | **16.80** | **0.721** | **0.363 (9.09x)** |",
        "| pytorch eager fp32 | published | 10 | 16.94 | 0.730 | 3.3 |",
        "| onnxruntime fp32 (pkg) | published | 10 | 16.93 | 0.730 | 1.5 (2.00x) |",
        "| onnxruntime fp32 (pkg) | 2 steps | 2 | 17.40 | 0.545 | 0.33 (10.00x) |",
        "| openvino fp32 (pkg) | fast | 2 | - | - | 0.1 (33.00x) |",
    ]
    assert "PSNR and SSIM are means over 2 reference photos of 600x400. Bold: the fastest row at that" in text
    for lost in (quality(16.78, 0.730), quality(16.94, 0.719)):
        assert "| **onnxruntime fp32 (pkg)** | **published** |" in readme_table(
            [eager, package, {**fast, "quality": lost}]
        )


def test_without_references_the_published_loop_alone_can_lead():
    far = {"against": "x", "psnr_db": 31.0, "grey_levels": 30}
    fast, broken = (
        record("onnxruntime", [9.0] * 3, steps=2, sampling="fast"),
        record("openvino", [9.0] * 3, fidelity=far),
    )
    assert "| **onnxruntime fp32 (pkg)** | **published** |" in readme_table([PACKAGE, fast, broken])
    text = readme_table([fast, broken, record("onnxruntime bf16", [1.0] * 3, fidelity=None)])
    assert "**" not in text
    assert "No row is known to make pictures at 600x400 as good as those of the published loop." in text


def test_no_bracket_holds_a_ratio_to_another_engine_where_pytorch_ran_in_other_rounds():
    """As where a size made two groups: the report names the other engine, the short table cannot."""
    own = [record(name, [100.0], group="h") for name in ("onnxruntime", "openvino bf16")]
    place = "| openvino bf16 (pkg) | published | 10 | - | - |"
    assert f"{place} 0.1 (1.00x) |" in readme_table(own)
    assert f"{place} 0.1 |" in readme_table([*own, EAGER])
    assert f"{place} 0.1 (1.00x) |" in readme_table([*own, {**EAGER, "sampling": None, "calls": 5}])


@pytest.fixture
def results(tmp_path) -> Path:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as file:
        for one in (EAGER, PACKAGE):
            for size, factor in (((600, 400), 1), ((1920, 1080), 12)):
                times = [time * factor for (time,) in one["rounds_ms"]]
                name = one["name"] if one is EAGER else "onnxruntime"
                file.append(record(name, times, size=size, group=str(size)))
    return path


def test_the_readme_is_refreshed_between_its_markers_and_nowhere_else(tmp_path, results, capsys):
    readme = tmp_path / "README.md"
    before, after = "# Title\n<!-- benchmarks:begin -->", "<!-- benchmarks:end -->\nthe rest\n"
    readme.write_text(f"{before}\nold numbers\n{after}")
    assert main([str(results), "--readme", str(readme)]) == 0
    first = readme.read_text()
    assert first.startswith(before)
    assert first.endswith(after)
    assert "old numbers" not in first
    assert "| - | - | **1.5 (2.00x)** | **18 (2.00x)** |" in first
    assert f"Written by `python -m benchmarks.report {results} --readme README.md`." in first
    assert main([str(results), "--readme", str(readme)]) == 0
    assert readme.read_text() == first


@pytest.mark.parametrize(
    "text", ["", "<!-- benchmarks:end --><!-- benchmarks:begin -->", "<!-- benchmarks:begin -->" * 2]
)
def test_a_readme_without_its_markers_is_left_alone(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(InputError, match="are not in it, once each and in this order"):
        refresh(readme, "table", ["r"])
    assert readme.read_text() == text


def test_a_full_disk_costs_no_line_of_the_readme(tmp_path, results):
    """A limit on the size of files stands for the disk: a write past it fails, with what was truncated gone already."""
    resource = pytest.importorskip("resource")
    readme = tmp_path / "README.md"
    text = "# Title\n<!-- benchmarks:begin -->\nold\n<!-- benchmarks:end -->\n" + "a line of the user's\n" * 500
    readme.write_text(text)
    readme.chmod(0o600)
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", str(results), "--readme", str(readme)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))),
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {readme}: cannot be written (File too large)")
    assert readme.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir() if path != results) == [".r.jsonl.lock", "README.md"]
    (tmp_path / "link.md").symlink_to("README.md")
    refresh(tmp_path / "link.md", "new table", ["r"])
    assert (tmp_path / "link.md").is_symlink()
    assert "new table" in readme.read_text()
    assert readme.stat().st_mode & 0o777 == 0o600


def test_the_report_and_its_plots_are_written(tmp_path, results):
    pytest.importorskip("matplotlib")
    from PIL import Image

    report = tmp_path / "out" / "report.md"
    assert main([str(results), "-o", str(report)]) == 0
    text = report.read_text()
    names = ["report-latency.png", "report-fidelity.png", "report-stages.png", "report-peak.png"]
    assert sorted(path.name for path in report.parent.glob("*.png")) == sorted(names)
    for name in names:
        assert f"]({name})" in text
        with Image.open(report.with_name(name)) as picture:
            assert picture.width > 600
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


@pytest.mark.parametrize("milliseconds", [(900.0, 6800.0), (30.0, 41.0), (5.0, 90_000.0), (2_000_000.0, 3_100_000.0)])
def test_every_tick_is_a_plain_number(tmp_path, monkeypatch, milliseconds):
    """The two sizes of one engine span less than a power of ten, where matplotlib writes "6 x 10^0"."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    ticks: list[list[str]] = []

    def save(figure: Figure, *_: object, **__: object) -> None:
        figure.draw_without_rendering()
        ticks.append(
            [
                label.get_text()
                for axes in figure.axes
                for axis in (axes.xaxis, axes.yaxis)
                for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True), axis.get_offset_text())
            ]
        )

    monkeypatch.setattr(Figure, "savefig", save)
    sizes = [(300, 200), (600, 400)]
    draw(
        [
            record(name, [time], size=size)
            for name in ("onnxruntime", "openvino")
            for size, time in zip(sizes, milliseconds, strict=True)
        ],
        tmp_path / "report.md",
    )
    assert len(ticks) == 4
    assert [text for text in ticks[0] if text.replace(",", "").replace(".", "").isdigit()]  # of the latency
    for texts in ticks:
        for text in texts:
            assert not re.search(r"10\^|\$|\d[eE]|mathdefault", text), text


def test_plots_show_each_engine_with_the_most_calls_measured_for_it():
    """An engine that was measured in two calls stands beside PyTorch's ten."""
    fast = record("onnxruntime", [1.0], steps=2, sampling="fast")
    kept = _most_calls(
        [{**one, "label": name} for one, name in ((EAGER, "a"), (fast, "b"), (PACKAGE, "c"), (fast, "c"))]
    )
    assert [(one["label"], one["calls"]) for one in kept] == [("a", 10), ("b", 2), ("c", 10)]


def test_lines_that_would_share_a_name_are_told_apart():
    others = [
        record("onnxruntime", [1.0]) | {"name": "mine"},
        record("onnxruntime", [1.0], gpu="H100", sampler="dpmpp-2m", sampling=None),
        record("onnxruntime", [1.0], gpu="H100", steps=2, sampling="fast"),
    ]
    labels = [one["label"] for one in labelled([PACKAGE, EAGER, *others])]
    assert labels == [
        "onnxruntime fp32, pkg, A processor", "pytorch eager fp32, A processor", "onnxruntime fp32, mine, A processor",
        "onnxruntime fp32, pkg, dpmpp-2m, H100", "onnxruntime fp32, pkg, fast, H100",
    ]  # fmt: skip


def test_without_an_output_the_report_is_printed(results, capsys):
    assert main([str(results)]) == 0
    assert capsys.readouterr().out.startswith("# Benchmarks\n\n## A processor")


def test_files_without_records_are_refused(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(InputError, match="holds no record"):
        main([str(empty)])
    with pytest.raises(InputError, match="cannot be read"):
        main([str(tmp_path / "nowhere.jsonl")])
    empty.write_text(json.dumps({"schema": 9}) + "\n")
    with pytest.raises(InputError, match="line 1 is no record"):
        main([str(empty)])
