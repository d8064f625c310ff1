"""Costs that no count in the graphs could have given are refused by their key, when the package is opened."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from runtime.cli.command import run_command
from runtime.errors import PackageError
from runtime.package.reading import Package

PARTS = ("constant", "per_row", "per_pixel", "per_pixel_squared")
ZERO = dict.fromkeys(PARTS, 0.0)
LIES = {
    "quadratic": ("denoiser", "flop", ZERO | {"per_pixel_squared": 1e18}),
    "quadratic memory": ("denoiser", "live_bytes", ZERO | {"per_pixel_squared": 1e18}),
    "linear": ("hfrm0", "live_bytes", ZERO | {"per_pixel": 1e17}),
    "a row": ("dwt", "plain_live_bytes", ZERO | {"per_row": 1e18}),
    "constant": ("idwt", "live_bytes", ZERO | {"constant": 1e18}),
    "no memory": ("denoiser", "live_bytes", ZERO),
    "no memory in the plain form": ("denoiser", "plain_live_bytes", ZERO),
    "less than its inputs": ("hfrm1", "live_bytes", ZERO | {"per_pixel": 1.0}),
    "work without weights": ("dwt", "flop", ZERO | {"per_pixel": 1e12}),
    "more weights than bytes": ("denoiser", "weight_bytes", 1 << 31),
}


@pytest.fixture
def lying(tiny_package, tmp_path):
    """lying(stage, key, value) -> a package whose manifest says so."""

    def make(stage: str, key: str, value: object) -> Path:
        path = Path(shutil.copytree(tiny_package, tmp_path / "package"))
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["cost"][stage][key] = value
        (path / "manifest.json").write_text(json.dumps(manifest))
        return path

    return make


@pytest.mark.parametrize("lie", LIES)
def test_a_cost_that_cannot_be_is_refused_by_its_key(lying, lie):
    stage, key, value = LIES[lie]
    with pytest.raises(PackageError, match=rf"manifest.json: cost: {stage}: '{key}'.*build the package again"):
        Package.open(lying(stage, key, value))


def test_no_weights_of_a_large_graph_and_no_work(bundled_package, tmp_path):
    path = tmp_path / "package"
    path.mkdir()
    manifest = json.loads((bundled_package / "manifest.json").read_text())
    for key, value in (("weight_bytes", 0), ("flop", ZERO)):
        lie = json.loads(json.dumps(manifest))
        lie["cost"]["denoiser"][key] = value
        (path / "manifest.json").write_text(json.dumps(lie))
        with pytest.raises(PackageError, match=f"cost: denoiser: '{key}'"):
            Package.open(path)


def test_the_photo_is_not_blamed(lying, tmp_path, capsys):
    from runtime.cli.photos import main

    photo = Path(__file__).parent.parent.parent.parent / "assets" / "sample.png"
    path = lying(*LIES["quadratic"])
    with pytest.raises(SystemExit) as end:
        run_command(main, [str(path), str(photo), "-o", str(tmp_path / "bright.png")])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"error: .*cost: denoiser: 'flop' for a photo of 1024x1024 is ", line)
    assert "PNG" not in line
