"""Records that others wrote: an odd field is refused by its name, and no text of one is more than text in a report."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_records import failed, record, unfit

from benchmarks.readme import readme_table
from benchmarks.records import ResultsFile, read_records
from benchmarks.report import main, refresh
from benchmarks.tables import markdown
from runtime.errors import InputError

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"
WRONG = (None, True, -7, 0.5, 10**400, float("nan"), float("inf"), "odd", "", [], [None], [[]], {}, {"odd": None})
FULL = record(
    "onnxruntime", [3.0, 6.0, 3.3], gpu="H200", quality={"psnr_db": 16.9, "ssim": 0.73, "photos": {"1": [17.2, 0.7]}}
) | {"certificate": {"sha256": "0", "psnr_db": 63.4, "grey_levels": 0.9}, "flags": ["unsteady"]}
PYTORCH = record("pytorch eager fp32", [3.0, 6.0, 3.3])
HOSTILE = "<img src=x onerror=alert(1)>\n# a | b\r\n![c](http://d)`e` __f__ $x^{$ &lt; \u202e\ud800\x1b[31m \\"


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in a record, for each of them."""
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, name)
        yield from places(value[name], (*at, name))


def changed(one: dict[str, Any], at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(one)
    *above, last = at
    inner = made
    for name in above:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return made


@pytest.mark.parametrize(
    ("one", "own"),
    [
        (FULL, set(FULL)),
        (PYTORCH, {"subject"}),
        (unfit(FULL), {"fits", "needed_bytes", "free_bytes"}),
        (failed(FULL), {"failed", "needed_bytes"}),
    ],
    ids=["measured", "pytorch", "unfit", "failed"],
)
def test_every_field_of_every_wrong_type_is_refused_by_name_or_can_be_reported(tmp_path, one, own):
    """Beside a record of the same rounds, which ratios are formed with."""
    path, odd = tmp_path / "r.jsonl", []
    beside = json.dumps(record("pytorch eager fp32", [3.0, 6.0, 3.3], gpu="H200"))
    for number, at in enumerate(places(one)):
        for value in (KeyError, *WRONG[number % 3 :: 3]) if at[0] in own else ():
            path.write_text(f"{beside}\n{json.dumps(changed(one, at, value))}\n")
            try:
                records = read_records(path)
            except InputError as error:
                odd.append((at, value, str(error)))
            else:
                markdown(records).encode()
                readme_table(records).encode()
    assert len(odd) > 4 * len(own)
    for at, value, words in odd:
        assert words.startswith(f"{path}: line 2 is no record of `python -m benchmarks`: "), (at, value)
        assert words.endswith("choose another file, or delete that line."), (at, value)
        named = [name for name in at if isinstance(name, str)]
        deciding = value is KeyError and at[0] in ("failed", "latency_ms")  # then another form is looked for
        assert deciding or any(name in words for name in named[-2:]), (at, value, words)


def test_a_field_that_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    for at in ((), ("subject",), ("fingerprint",), ("run",), ("latency_ms",), ("memory",), ("fidelity",), ("quality",)):
        path.write_text(json.dumps(changed(FULL, (*at, "odd"), 1)) + "\n")
        with pytest.raises(InputError, match=r"line 1 is no record of .*unknown key 'odd'"):
            read_records(path)
    path.write_text(json.dumps(FULL)[:-1] + ', "id": "b"}\n')
    with pytest.raises(InputError, match=r"line 1 is no record of .*a key stands twice"):
        read_records(path)


def test_records_of_one_group_with_other_rounds_are_not_compared(tmp_path):
    """They cannot have run in the same rounds."""
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as results:
        results.append(record("pytorch eager fp32", [3.0, 6.0]))
        results.append(record("onnxruntime", [1.0, 2.0, 3.0]))
    text = markdown(read_records(path))
    assert "x (" not in text
    assert "| 600x400 | onnxruntime fp32 | pkg | published |" in text


def test_published_records_are_read():
    found = sorted(RESULTS.glob("*.jsonl"))
    assert len(found) > 5
    for path in found:
        assert markdown(read_records(path)).startswith("# Benchmarks\n\n## ")


def texts(one: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Those that a report shows and that can be of any content."""
    yield from (("sampling",), ("subject", "provider"), ("settings", "photo"), ("fingerprint", "libraries", "torch"))
    yield from (("fingerprint", name) for name in ("platform", "processor", "python", "power_mode"))
    yield from (("fingerprint", "gpu", name) for name in ("name", "driver", "driver_cuda"))
    yield from [("failed",)] if "failed" in one else [("name",), ("peak", "number_type"), ("flags", 0)]


@pytest.mark.parametrize("one", [FULL, failed(FULL)], ids=["full", "failed"])
def test_texts_of_a_record_are_texts_in_markdown(one):
    plain = markdown([one])
    for at in texts(one):
        text = markdown([changed(one, at, HOSTILE)])
        text.encode()
        assert len(text.splitlines()) == len(plain.splitlines()), at
        assert text != plain, at
        assert (
            "&lt;img src=x onerror=alert(1)&gt; # a \\| b !\\[c\\](http://d)\\`e\\` \\_\\_f\\_\\_ \\$x^{\\$" in text
        ), at
        assert not set("<\x1b\u202e\ud800") & set(text), at


def test_names_of_stages_and_libraries_are_texts_too():
    odd = changed(FULL, ("stages_ms",), {HOSTILE: 1.0, "dwt": 2.0})
    odd["fingerprint"]["libraries"] = {HOSTILE: HOSTILE}
    text = markdown([odd])
    assert "<" not in text
    assert "| &lt;img src=x onerror=alert(1)&gt; # a \\| b !\\[c\\]" in text
    assert len(text.splitlines()) == len(markdown([FULL]).splitlines())


def test_a_name_ends_no_table_of_the_readme(tmp_path):
    """With the marker in its name it would have doubled what comes after."""
    readme = tmp_path / "README.md"
    readme.write_text("<!-- benchmarks:begin -->\n<!-- benchmarks:end -->\nthe rest\n")
    for _ in range(2):
        refresh(readme, readme_table([FULL | {"name": "a <!-- benchmarks:end --> b\n\nc"}]), ["r.jsonl"])
        text = readme.read_text()
        assert "a &lt;!-- benchmarks:end --&gt; b c" in text
        assert text.count("<!-- benchmarks:end -->") == 1
    assert text.endswith("\n<!-- benchmarks:end -->\nthe rest\n")


def test_texts_of_a_record_are_texts_in_plots(tmp_path, monkeypatch):
    """Between two dollars matplotlib reads mathematics, and ends with an error where there is none."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    shown: list[str] = []

    def save(figure: Figure, *_: object, **__: object) -> None:
        figure.draw_without_rendering()
        shown.extend(text.get_text() for legend in figure.legends for text in legend.get_texts())

    monkeypatch.setattr(Figure, "savefig", save)
    path = tmp_path / "r.jsonl"
    names = ("$x^{$", "a\n\n<b>\x1b", "\udcff", "plain")
    with path.open("w") as file:
        for name in names:
            for size in ((300, 200), (600, 400)):
                one = record("onnxruntime", [1.0, 2.0], size=size) | {"name": name, "id": f"{name}{size}"}
                file.write(json.dumps(one | {"stages_ms": {name: 1.0}}) + "\n")
    assert main([str(path), "-o", str(tmp_path / "report file.md")]) == 0
    assert {"onnxruntime fp32, \\$x^{\\$", "onnxruntime fp32, a <b>?", "onnxruntime fp32, ?", "\\$x^{\\$"} <= set(shown)
    assert "](report%20file-latency.png)" in (tmp_path / "report file.md").read_text()
