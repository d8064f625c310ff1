"""Tables on pages say what the records say."""

from __future__ import annotations

import json
import re
from statistics import median
from typing import Any

import pytest
from page_checks import PAGES, ROOT

from benchmarks.readme import readme_table
from benchmarks.records import read_records
from benchmarks.report import BEGIN, END


def test_the_readme_s_table_is_the_one_of_its_records():
    text = (ROOT / "README.md").read_text()
    block = text.partition(BEGIN)[2].partition(END)[0]
    command = re.search(r"Written by `python -m benchmarks\.report (.*) --readme README\.md`", block)
    assert command
    records = [record for name in command[1].split() for record in read_records(ROOT / name)]
    assert block.strip().startswith(readme_table(records))


@pytest.mark.parametrize("size", ["600x400", "1920x1080", "3840x2160"])
def test_the_gpu_page_has_the_suite_s_times(size):
    row = re.search(rf"^\| {size} \| (.*) \|$", (ROOT / "docs/gpu.md").read_text(), re.M)
    assert row
    told = [float(number.replace(",", "")) for number in re.findall(r"[\d,]+\.?\d*(?=\s|$)", row[1].replace("|", " "))]
    times = {}
    for line in (ROOT / "benchmarks/results/h200/suite.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["size"] == [int(side) for side in size.split("x")]:
            subject = record["subject"]
            name = subject.get("variant") or f"{subject['precision']} {record['sampling']}"
            times[name] = record["latency_ms"]["p50"]
    names = ("eager fp32", "eager tf32", "eager fp16", "fp16 published", "fp16 fast")
    assert told == pytest.approx([times[name] for name in names], rel=5e-3)


def test_photos_a_second_of_streams():
    text = (ROOT / "docs/gpu.md").read_text()
    lines = (ROOT / "benchmarks/results/h200/stream.jsonl").read_text().splitlines()
    found = {(one["size"], one["sampling"]): one["photos a second"] for one in map(json.loads, lines)}
    told = re.search(
        r"gave (\d+) photos a second at 1920x1080 with `fast` and ([\d.]+) .*?; (\d+) and ([\d.]+) at", text
    )
    assert told
    keys = [("1920x1080", "fast"), ("1920x1080", "published"), ("600x400", "fast"), ("600x400", "published")]
    assert [float(number) for number in told.groups()] == pytest.approx([found[key] for key in keys], rel=5e-3)


def records(name: str) -> list[dict[str, Any]]:
    lines = (ROOT / "benchmarks/results" / name).read_text().splitlines()
    return [one for one in map(json.loads, lines) if "latency_ms" in one]


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins with ``head``."""
    table = (ROOT / page).read_text().partition(f"\n{head}")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def test_what_int8_costs_is_the_record_s():
    columns = [("fp32", "onnxruntime"), ("int8", "onnxruntime"), ("int8", "openvino")]
    found = {
        (one["sampling"], one["subject"]["precision"], one["subject"]["backend"]): one["quality"]
        for one in records("cpu-2-cores-avx2-bundled.jsonl")
        if one["subject"]["kind"] == "package"
    }
    qualities = [found[(sampling, *column)] for sampling in ("published", "fast") for column in columns]
    told = {name: [float(cell) for cell in cells] for name, *cells in rows("docs/int8.md", "| photo |")}
    assert told.pop("mean, PSNR (dB)") == pytest.approx([one["psnr_db"] for one in qualities], abs=0.0051)
    assert told.pop("mean, SSIM") == pytest.approx([one["ssim"] for one in qualities], abs=0.00051)
    assert set(told) == set(qualities[0]["photos"])
    for photo, cells in told.items():
        assert cells == pytest.approx([one["photos"][photo][0] for one in qualities], abs=0.0051)


def times_faster(name: str) -> dict[str, tuple[float, float]]:
    """Label as the report has it -> milliseconds (median), and the median of the rounds' ratios with PyTorch eager."""
    measured = records(name)
    (eager,) = (one for one in measured if one["subject"].get("variant") == "eager fp32")

    def label(one: dict[str, Any]) -> str:
        subject = one["subject"]
        return f"{subject['backend']} {subject['precision']}" if subject["kind"] == "package" else one["name"]

    def ratio(one: dict[str, Any]) -> float:
        pairs = zip(eager["rounds_ms"], one["rounds_ms"], strict=True)
        return median(median(slow) / median(fast) for slow, fast in pairs)

    return {label(one): (one["latency_ms"]["p50"], ratio(one)) for one in measured}


def test_the_full_size_tables_are_the_records():
    found = times_faster("cpu-2-cores.jsonl")
    for name, _, cell in rows("docs/measurements-engines.md", "| engine | steps | 600x400 |"):
        numbers = [float(number) for number in re.findall(r"[\d.]+", cell)]
        ms, ratio = found[re.sub(r" \(.*\)", "", name)]
        assert numbers == pytest.approx([ms / 1000, ratio][: len(numbers)], abs=0.006), name
    one_core, busy = times_faster("cpu-1-core.jsonl"), times_faster("cpu-2-cores-busy.jsonl")
    for engine, precision, *cells in rows("docs/measurements-engines.md", "| engine | package | one core"):
        name = re.sub("pytorch", "pytorch eager", f"{engine.lower().partition(' ')[0]} {precision}")
        which = 0 if "milliseconds" in engine else 1
        told = [float(cell.replace(",", "")) for cell in cells]
        assert told == pytest.approx([one_core[name][which], busy[name][which]], rel=5e-3), engine


def test_no_page_is_over_200_lines():
    pages = {page: len((ROOT / page).read_text().splitlines()) for page in PAGES}
    assert {page: lines for page, lines in pages.items() if lines > 200} == {}


def test_no_sentence_of_the_readme_is_over_35_words():
    text = re.sub(r"```.*?```|<!--.*?-->|^\|.*$|^#.*$", "", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    sentences = re.split(r"(?<=[.:!?])\s+|\n\n+|\n\* ", text)
    assert [one for one in sentences if len(one.split()) > 35] == []
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
