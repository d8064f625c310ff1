"""``python -m runtime.plan``: the table, the budget, and one `error:` line for a mistake."""

from __future__ import annotations

import pytest

from runtime.cli.command import run_command
from runtime.cli.plan import main
from runtime.errors import EngineError
from runtime.machine.host import resident_bytes
from runtime.running import speed

SPEEDS = {"denoiser": 20e9, "rest": 10e9}


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    monkeypatch.setattr(speed, "speeds", lambda backend, package: SPEEDS)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_names_every_stage_and_adds_up(tiny_package, capsys):
    assert main([str(tiny_package), "96x64", "--steps", "5"]) == 0
    how, head, _, *rows, peak, seconds = capsys.readouterr().out.splitlines()
    assert how.startswith("96x64 whole: ")
    assert cells(head) == ["stage", "runs", "GFLOP a photo", "memory while it runs (MiB)", "seconds"]
    table = {name: values for name, *values in map(cells, rows)}
    assert set(table) == {"dwt", "hfrm0", "hfrm1", "denoiser", "idwt"}
    assert [values[0] for name, values in table.items()] == ["5" if name == "denoiser" else "1" for name in table]
    assert peak == f"peak memory of the process at most {how.rpartition(', ')[2].partition(' of ')[0]}"
    assert seconds.startswith("about ")
    assert seconds.endswith("(20 GFLOP/s in the denoiser, 10 in the rest)")


def test_within_a_budget_and_by_name(tiny_package, capsys):
    budget = (resident_bytes() or 0) + (880 << 20)  # this process has run other tests
    assert main([str(tiny_package), "4000x3000", "--max-memory", str(budget)]) == 0
    assert "4000x3000 in strips of " in capsys.readouterr().out
    assert main([str(tiny_package), "600x400", "--plan", "tiles"]) == 0
    assert " and windows of " in capsys.readouterr().out


def test_where_nothing_can_be_measured_the_rest_is_told(tiny_package, capsys, monkeypatch):
    def broken(backend, package):
        raise EngineError("no engine takes 512x512.")

    monkeypatch.setattr(speed, "speeds", broken)
    assert main([str(tiny_package), "600x400"]) == 0
    out, err = capsys.readouterr()
    assert err == "no time is predicted, because 512x512 pixels could not be measured here: no engine takes 512x512.\n"
    assert all(cells(row)[-1] == "?" for row in out.splitlines()[3:-1])
    assert out.splitlines()[-1].startswith("peak memory")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["PKG"], "WxH"),
        (["PKG", "12"], "size '12' is not WxH"),
        (["PKG", "100x0"], "size 100x0 is smaller than 1x1"),
        (["absent", "100x100"], "absent: does not exist"),
        (["PKG", "100x100", "--backend", "warp"], "'warp' (choose from"),
        (["PKG", "100x100", "--plan", "half"], "'half' (choose from"),
        (["PKG", "100x100", "--steps", "201"], "steps is 201"),
        (["PKG", "100x100", "--max-memory", "some"], "the memory 'some'"),
        (["PKG", "100x100", "--max-memory", "2"], "the memory '2' is 2 bytes, which no process fits into"),
        (["PKG", "8000x6000", "--max-memory", "130MiB"], "MiB"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tiny_package, capsys, arguments, words):
    with pytest.raises(SystemExit) as end:
        run_command(main, [str(tiny_package) if word == "PKG" else word for word in arguments])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
