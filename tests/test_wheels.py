"""Both wheels: one version, readme, licence, and the card of the bundled network and photo."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from runtime.names import __version__

ROOT = Path(__file__).parents[1]


def test_what_is_in_both_wheels(tmp_path):
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run(
        [*words, ".", "./runtime"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = {"diffll_deploy": "export/assets/README.md", "diffll_runtime": "diffll/bundled-files.md"}
    for name, card in wanted.items():
        with zipfile.ZipFile(tmp_path / f"{name}-{__version__}-py3-none-any.whl") as wheel:
            names = wheel.namelist()
            (metadata,) = (one for one in names if one.endswith("/METADATA"))
            head, _, readme = wheel.read(metadata).decode().partition("\n\n")
            assert wheel.read(card) == (ROOT / "assets/README.md").read_bytes()
            (licence,) = (one for one in names if one.endswith("/LICENSE"))
            assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
        assert f"\nVersion: {__version__}\n" in head
        assert "\nProject-URL: " in head
        assert "License-Expression: MIT" in head
        assert len(readme) > 200
