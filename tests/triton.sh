#!/usr/bin/env bash
# A real tritonserver on this machine serves what `python -m serving.triton` writes. It comes from PyPI's nvidia-pytriton,
# with the python backend alone, into an environment of its own (numpy below 2). Needs a package index.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$PWD/build/diffll-fp32 port=18741
[ -d "$package" ] || .venv/bin/python -m export.build
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

venv=$PWD/build/triton
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q nvidia-pytriton==0.7.0 'numpy<2' pillow==13.0.0 onnxruntime==1.32.0
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_python_version())')
libraries=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
server=$site/pytriton/tritonserver

# The backend starts the stub of this Python, which lies elsewhere in the wheel.
mkdir "$work/backends"
cp -r "$server/backends/python" "$work/backends/"
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$work/backends/python/"
chmod +x "$work/backends/python/triton_python_backend_stub"
.venv/bin/python -m serving.triton "$package" -o "$work/models"
PATH=$venv/bin:$PATH LD_LIBRARY_PATH=$site/nvidia_pytriton.libs:$libraries "$server/bin/tritonserver" \
  --model-repository "$work/models" --backend-directory "$work/backends" --http-address 127.0.0.1 --http-port $port \
  --allow-grpc=false --allow-metrics=false >"$work/log" 2>&1 &
for _ in $(seq 120); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/v2/health/ready" && break
  kill -0 $! 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.5
done
DIFFLL_TRITON=127.0.0.1:$port DIFFLL_TRITON_PACKAGE=$package \
  .venv/bin/python -m pytest -n0 -q tests/serving/test_triton.py -k 'tritons_pictures or triton_tells'
