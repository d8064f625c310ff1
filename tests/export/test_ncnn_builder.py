"""What pnnx leaves is checked before it becomes an engine: on a full disk it ends with code 0 and empty files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.engines.cache import PARAM, WEIGHTS, EngineCache
from runtime.errors import EngineError

pytest.importorskip("pnnx")
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("param", "weights", "reason"),
    [
        (0, 0, "its layers cannot be read"),
        (0.5, 1, "half of the layers|its layers cannot be read"),
        (1, 0, "its weights end too early, at 0 of 0 bytes"),
        (1, 0.5, "its weights end too early"),
        (1, 2, "bytes too many"),
    ],
)
def test_half_of_an_engine_is_no_engine(ready_package, param, weights, reason):
    from export.builders.ncnn import NcnnBuilder

    engine = next(EngineCache(ready_package).entries("hfrm0", "ncnn"))
    text, content = engine.read(PARAM).decode(), engine.read(WEIGHTS)
    builder = NcnnBuilder()
    assert builder._checked(text, content) == {PARAM: text.encode(), WEIGHTS: content}
    cut = text[: int(param * len(text))], (content * 2)[: int(weights * len(content))]
    with pytest.raises(EngineError, match=reason):
        builder._checked(*cut)


def test_a_full_disk_for_temporary_files_is_told_and_stores_nothing(tiny_package, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    code = (
        "import sys; from pathlib import Path; from export.builders.ncnn import NcnnBuilder\n"
        "from runtime.errors import EngineError\n"
        "try:\n    NcnnBuilder().build(Path(sys.argv[1], 'denoiser.onnx').read_bytes(), {}, Path('x'))\n"
        "except EngineError as error:\n    print(error)\n"
    )
    small = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=5m tmpfs "$TMPDIR" || exit 77; exec "$@"', "sh"]
    command = [*small, sys.executable, "-c", code, str(tiny_package)]
    environment = os.environ | {"TMPDIR": str(full), "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if done.returncode and "EngineError" not in done.stderr and ("unshare" in done.stderr or done.returncode == 77):
        pytest.skip("no disk of its own here")
    assert done.stdout.startswith(f"{full}: no room for pnnx to work in (No space left on device); free space in")
