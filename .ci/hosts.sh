#!/usr/bin/env bash
# The programs that open the single file in tests and have no place in the project's own environment, in build/hosts:
# onnxruntime-web for node, and darktable's `dtai`. The tests of what is missing are skipped, with the reason.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/hosts/web

command -v npm >/dev/null || timeout 180 apt-get install -y -qq nodejs npm >/dev/null 2>&1
[ -d build/hosts/web/node_modules/onnxruntime-web ] ||
  timeout 180 npm install --prefix build/hosts/web --silent --no-audit --no-fund onnxruntime-web@1.30.0 ||
  echo "ci: no onnxruntime-web here" >&2

[ -x build/hosts/dtai/bin/dtai ] || {
  python3 -m venv build/hosts/dtai &&
    timeout 180 build/hosts/dtai/bin/pip install -q darktable-ai-sdk==0.1.1a1 onnxruntime -c constraints.txt
} || echo "ci: no darktable-ai-sdk here" >&2
