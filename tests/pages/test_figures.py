"""Tables on pages say what the records say."""

from __future__ import annotations

import json
import re

import pytest
from page_checks import ROOT

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


def test_no_sentence_of_the_readme_is_over_35_words():
    text = re.sub(r"```.*?```|<!--.*?-->|^\|.*$|^#.*$", "", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    sentences = re.split(r"(?<=[.:!?])\s+|\n\n+|\n\* ", text)
    assert [one for one in sentences if len(one.split()) > 35] == []
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
