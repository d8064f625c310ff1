"""The single file against the runtime, and darktable's tiles."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sampled import with_samplings

from benchmarks.single import TILE_OVERLAP, _mirrored, main
from export.single import main as single


@pytest.fixture(scope="module")
def command(tiny_package, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("single")
    package = with_samplings(tiny_package, folder / "fast")
    single([str(package), "-o", str(folder / "x.onnx"), "--sampling", "fast"])
    pixels = np.random.default_rng(0).integers(0, 90, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "dark.png")
    return [str(package), str(folder / "x.onnx"), str(folder / "dark.png"), "--size", "90x60"]


def test_times_are_told_as_ratios(command, capsys):
    assert main([*command, "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["opening and first photo", "a photo"]
    assert all("ratio" in line for line in lines)


def test_darktables_tiles_change_a_picture_that_looks_at_all_of_it(command, capsys):
    assert main([*command, "--tile", "160"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("tiles of 160: ")
    assert 5 < float(line.split()[3]) < 60


def test_a_tile_is_mirrored_past_the_photos_edges():
    rows = _mirrored(0, 160, 60)
    assert rows[TILE_OVERLAP - 2 : TILE_OVERLAP + 3].tolist() == [2, 1, 0, 1, 2]
    assert rows[TILE_OVERLAP + 58 : TILE_OVERLAP + 62].tolist() == [58, 59, 58, 57]
    assert (rows.min(), rows.max()) == (0, 59)
