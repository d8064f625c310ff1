#!/usr/bin/env bash
# Everything that only a GPU can prove, on one H100 or H200 in under 15 minutes. The host receives at most 64 MiB at a time,
# has CUDA 13 and PyTorch 2.11 for Python 3.12, and installs nothing: what is missing goes there as parts. In the project's root:
#   bash tests/gpu/day/gpu_day.sh prepare        here, an hour before: packages, slim libraries, three parts .gpu/1 .gpu/2 .gpu/3
#   bash .gpu/1/gpu_day.sh one                   there, with .gpu/1 (150 s): facts; our streams, events and graphs on real CUDA
#   bash .gpu/2/gpu_day.sh two                   there, with .gpu/2 (420 s): onnxruntime: tests, stream, benchmark beside PyTorch (223 s on an H200)
#   bash .gpu/3/gpu_day.sh three                 there, with .gpu/3 (230 s): TensorRT-RTX on Hopper; forms of the denoiser
# $OUT is the folder whose files come back; fetch them after each part. What each part needs is kept in /tmp/day until the host goes.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
store=/tmp/day/store site=/tmp/day/site
ORT=1.31.1 RTX=1.7.1.116 LIMIT=$((50 << 20))   # 64 MiB less the project's 12.4 and a margin

wheels() { python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 -d "$1" "${@:2}"; }

pack() {  # NAME FOLDER: cut into pieces of 2 MiB
  tar -C "$2" --owner=0 --group=0 -cf - . | nice xz -T2 -6 | split -b 2M -d -a 3 - "$tmp/pieces/$1.tar.xz."
}

prepare() {
  set -e
  tmp=$(mktemp -d); mkdir -p "$tmp"/{pieces,ort,rtx,packages}; trap 'rm -rf "$tmp"' EXIT
  for p in fp32 fp16; do
    [ -d build/diffll-$p ] || python3 -m export.build --precision $p -o build/diffll-$p
    cp -r build/diffll-$p "$tmp/packages/" && rm -rf "$tmp/packages/diffll-$p/engines"
  done
  wheels "$tmp/w1" onnxruntime-gpu==$ORT
  unzip -q "$tmp"/w1/*.whl -x 'onnxruntime/capi/libonnxruntime.so*' 'onnxruntime/transformers/*' 'onnxruntime/tools/*' -d "$tmp/ort"
  cuda=$tmp/ort/onnxruntime/capi/libonnxruntime_providers_cuda.so
  python3 "$here/slim.py" $cuda $cuda.slim 90 && mv $cuda.slim $cuda   # the machine code of compute capability 9.0 alone
  wheels "$tmp/w2" tensorrt-rtx-cu13-libs==$RTX tensorrt-rtx-cu13-bindings==$RTX polygraphy==0.53.6
  python3 -m pip wheel -q --no-deps -w "$tmp/w3" tensorrt-rtx-cu13==$RTX   # the module itself, a source package
  for w in "$tmp"/w2/*.whl "$tmp"/w3/*.whl; do [ -f "$w" ] && unzip -q -o "$w" -d "$tmp/rtx"; done
  pack 1-packages "$tmp/packages"; pack 2-ort "$tmp/ort"; pack 3-rtx "$tmp/rtx"
  rm -rf .gpu; grep -qx /.gpu/ .git/info/exclude || echo /.gpu/ >>.git/info/exclude
  part=1 used=0
  for f in "$tmp"/pieces/*; do
    size=$(stat -c %s "$f")
    if ((used + size > LIMIT)); then part=$((part + 1)); used=0; fi
    mkdir -p .gpu/$part; mv "$f" .gpu/$part/; used=$((used + size))
  done
  (cd .gpu && sha256sum ./*/*.xz.* | sed 's# \./[0-9]*/# #' >sums)
  for n in $(seq $part); do cp .gpu/sums "$here"/{gpu_day.sh,torch_engine.py,forms.py,rtx.py,stream.py} .gpu/$n/; done
  du -sh .gpu/*; [ "$part" -le 3 ] || echo "more than three parts: take .gpu/4 there first: bash .gpu/4/gpu_day.sh take"
}

take() { mkdir -p $store $site && cp "$here"/*.xz.* $store/ 2>/dev/null; cp "$here"/sums $store/; }

ready() {  # NAME: unpacked, if all its pieces are here
  [ -f $store/$1.done ] && return 0
  (cd $store && grep " $1\.tar" sums | sha256sum -c --quiet) || { echo "$1: not all here"; return 1; }
  mkdir -p "$2" && cat $store/$1.tar.xz.* | xz -dc -T4 | tar -C "$2" -xf - && touch $store/$1.done
}

environment() {
  export PYTHONPATH=$site:$PWD PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 POLYGRAPHY_USE_TENSORRT_RTX=1
  LD_LIBRARY_PATH=$(python3 -c "import glob, sysconfig; print(':'.join(glob.glob(sysconfig.get_paths()['purelib'] + '/nvidia/*/lib')))")
  export LD_LIBRARY_PATH; fp32=/tmp/day/packages/diffll-fp32 fp16=/tmp/day/packages/diffll-fp16
}

step() {  # SECONDS NAME COMMAND...: its output into the part's log (few files come back), its end on the screen
  local seconds=$1 name=$2 started=$SECONDS; shift 2
  timeout "$seconds" "$@" >/tmp/day/step.log 2>&1; local code=$?
  { echo "== $name: exit $code after $((SECONDS - started)) s"; cat /tmp/day/step.log; } >>"$OUT/steps.log"
  echo "== $name: exit $code after $((SECONDS - started)) s"; tail -n 25 /tmp/day/step.log | cut -c1-400
}

one() {
  take; environment; ready 1-packages /tmp/day/packages
  { nvidia-smi; nvidia-smi -q -d CLOCK,PERFORMANCE | head -60; python3 -m pip list 2>/dev/null | grep -iE 'torch|cuda|cudnn|cublas|onnx|numpy'
    python3 -c "from runtime.machine.gpu import current_gpu; print(current_gpu())"; free -g; nproc; } >"$OUT/facts.log" 2>&1
  tail -n 30 "$OUT/facts.log" | cut -c1-200
  step 65 torch-engine-fp32 python3 "$here/torch_engine.py" $fp32 "$OUT/torch-engine-fp32.json"
  step 45 torch-engine-fp16 python3 "$here/torch_engine.py" $fp16 "$OUT/torch-engine-fp16.json"
}

two() {
  take; environment; ready 1-packages /tmp/day/packages; ready 2-ort $site || return
  cat >>tests/gpu/conftest.py <<'P'


@pytest.fixture(scope="session")
def bundled_package():
    from pathlib import Path

    return Path("/tmp/day/packages/diffll-fp32")
P
  step 15 provider python3 -c "import onnxruntime as o; from runtime.doctor.probes import probe; print(o.__version__, o.get_available_providers()); probe('provider', 'CUDAExecutionProvider')"
  for p in $fp32 $fp16; do step 30 engine-${p##*-} python3 -m export.engine $p --target cuda; done
  step 85 pytest python3 -m pytest -m gpu -n0 -p no:cacheprovider --durations=8 tests/gpu/test_onnxruntime_on_gpu.py
  local common=(--backend onnxruntime:CUDA --baseline pytorch --sampling published fast --quick --rounds 3 -o "$OUT/gpu.jsonl")
  step 120 bench-600 python3 -m benchmarks $fp32 $fp16 "${common[@]}" --size 600x400
  step 90 bench-1080 python3 -m benchmarks $fp16 "${common[@]}" --size 1920x1080
  step 30 stream python3 "$here/stream.py" $fp16 "$OUT/stream.jsonl" 600x400 1920x1080
  step 90 bench-4k python3 -m benchmarks $fp16 "${common[@]}" --size 3840x2160
}

three() {
  take; environment; ready 1-packages /tmp/day/packages; ready 3-rtx $site && step 100 rtx python3 "$here/rtx.py" $fp16 "$OUT/rtx.json"
  ready 2-ort $site && step 100 forms python3 "$here/forms.py" $fp16 "$OUT/forms.jsonl" 90 \
    600x400 package plain cuda cuda+profile cuda+all:prefer_nhwc=1 1920x1080 cuda+profile cuda+all:prefer_nhwc=1
}

[ $# -gt 0 ] || { sed -n 2,9p "$0"; exit 2; }
"$@"
