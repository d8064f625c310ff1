#!/usr/bin/env bash
# `python -m serving.cluster` on two Ray nodes of this machine, with an actor killed, a node removed, and a photo that kills
# its process. Ray goes into an environment of its own. Needs a package index.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$PWD/build/diffll-fp32
[ -d "$package" ] || .venv/bin/python -m export.build
venv=$PWD/build/ray
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q 'ray[data]==2.60.0' numpy==2.4.6 pillow==13.0.0 onnxruntime==1.32.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$PWD "$venv/bin/python" tests/serving/cluster_faults.py "$package" "$work/faults"
