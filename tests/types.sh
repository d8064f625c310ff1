#!/usr/bin/env bash
# The code that is written for a GPU, read by a type checker against TensorRT's own stubs. The stubs require TensorRT
# itself, which installs on a GPU machine only, and hold syntax that mypy stops at: so they are unpacked beside, and
# read by pyright. Needs a package index. The protocols in the two base.py are mypy's alone: to pyright a docstring is no
# body.
set -euo pipefail
cd "$(dirname "$0")/.."
code=(export/engine.py export/builders/{tensorrt,profiles}.py runtime/engines runtime/machine/gpu.py
  runtime/doctor/probes.py runtime/backends/tensorrt)
for path in "${code[@]}"; do
  [ -e "$path" ] || { echo "types: $path is gone; follow it here" >&2; exit 1; }
done
python=$PWD/.venv/bin/python
$python -m pip install -q --no-deps --upgrade --target build/stubs tensorrt-stubs==10.13.0.35.1
$python -m venv build/pyright
build/pyright/bin/pip install -q basedpyright==1.40.2
cat >build/pyrightconfig.json <<JSON
{
  "include": [$(printf '"../%s", ' "${code[@]}" | sed 's/, $//')],
  "extraPaths": ["stubs", ".."], "typeCheckingMode": "standard", "reportMissingImports": "none",
  "reportMissingModuleSource": "none", "pythonVersion": "3.11"
}
JSON
build/pyright/bin/basedpyright -p build/pyrightconfig.json --pythonpath "$python"
