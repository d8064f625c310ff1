#!/usr/bin/env bash
# The device distribution (./runtime) in fresh environments: every Python that is here, and numpy 1.26 (Jetson). Then the
# engine builder (the root distribution) on Python 3.10 without torch, as on a Jetson with JetPack 6.
# A Python that is not installed is named and left out. Needs a package index.
set -euo pipefail
cd "$(dirname "$0")/.."
package=build/diffll-fp32
[ -d "$package" ] || .venv/bin/python -m export.build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

is_here() { # is_here PYTHON
  "$1" -c 'import ensurepip' 2>/dev/null || { echo "device: $1 is not here, left out"; return 1; }
}

fresh() { # fresh PYTHON REQUIREMENT...: a new environment
  rm -rf "$work/venv" "$work/out.png"
  "$1" -m venv "$work/venv"
  "$work/venv/bin/pip" install -q "${@:2}"
}

try() { # try PYTHON REQUIREMENT...
  is_here "$1" || return 0
  fresh "$1" './runtime[onnxruntime]' "${@:2}"
  (
    cd "$work" # away from the checkout: only what was installed can be imported
    venv/bin/python - "$OLDPWD/$package" <<'PY'
import pathlib, sys, time
size = sum(f.stat().st_size for f in pathlib.Path(sys.prefix).rglob("*") if f.is_file() and not f.is_symlink())
own = sum(f.stat().st_size for name in ("pip", "setuptools", "pkg_resources")  # what venv itself puts there
          for d in pathlib.Path(sys.prefix).glob(f"lib/*/site-packages/{name}") for f in d.rglob("*") if f.is_file())
started = time.perf_counter()
from diffll import Enhancer
with Enhancer.open(sys.argv[1]) as enhancer:
    opened = time.perf_counter() - started
    levels = enhancer.self_test()
import numpy, onnxruntime
print(f"device: Python {sys.version.split()[0]}, numpy {numpy.__version__}, onnxruntime {onnxruntime.__version__}: "
      f"{(size - own) / 1e6:.0f} MB installed, opened in {opened:.2f} s, self-test {levels} grey level(s)")
assert not {"torch", "onnx", "runtime", "export"} & set(sys.modules)
# on 3.10 the last onnxruntime, 1.23, brings sympy
assert size - own < 200e6 or sys.version_info < (3, 11), "the environment is larger than 200 MB"
PY
    venv/bin/diffll "$OLDPWD/$package" "$OLDPWD/assets/sample.png" -o out.png --steps 1
    [ -s out.png ]
    venv/bin/diffll doctor --help | grep -q '^  diffll doctor '
  )
}

build_engines() { # build_engines PYTHON: the extra of a Jetson, and OpenVINO in the place of JetPack's TensorRT
  is_here "$1" || return 0
  fresh "$1" '.[jetson,openvino]'
  cp -r "$package" "$work/package"
  (
    cd "$work"
    venv/bin/python -m export.engine package --target openvino --size 451x300
    venv/bin/python -m runtime package "$OLDPWD/assets/sample.png" -o out.png --backend openvino --steps 1
    [ -s out.png ]
    venv/bin/python - <<'PY'
import importlib.util, sys
from runtime.engines.cache import EngineCache
from runtime.enhancer import Enhancer
from pathlib import Path
assert importlib.util.find_spec("torch") is None
with Enhancer.open("package", backend="openvino") as enhancer:
    assert enhancer.backend.why.startswith("engines of 480x320 "), enhancer.backend.why
print(f"builder: Python {sys.version.split()[0]}: {len(list(EngineCache(Path('package')).entries()))} engines built")
PY
  )
}

find_python() { # the real one before pyenv's shim, which is there for versions that are not
  ls -d "$HOME"/.pyenv/versions/"$1".*/bin/python 2>/dev/null | tail -1 | grep . || command -v "python$1" || echo "python$1"
}

for version in 3.10 3.11 3.12 3.13; do
  try "$(find_python "$version")"
done
try "$(find_python 3.10)" 'numpy==1.26.*'
build_engines "$(find_python 3.10)"
