"""The folders and files that Triton reads."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import runtime
from runtime.errors import InputError
from runtime.machine.durable import make_folder
from runtime.machine.files import write_folder
from runtime.package.manifest import CERTIFICATE, GOLDEN, MANIFEST
from runtime.package.reading import Package
from runtime.photo import Photo, encode_photo
from runtime.running.arguments import choose_sampling

_CONFIG = """\
# Photos in (JPEG, PNG, TIFF, WebP, BMP), photos out; a request may have the parameters sampling, format and quality.
name: "diffll"
backend: "python"
max_batch_size: 0
input [{{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }}]
output [{{ name: "enhanced" data_type: TYPE_STRING dims: [ 1 ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters [
  {{ key: "backend" value: {{ string_value: "{backend}" }} }},
  {{ key: "sampling" value: {{ string_value: "{sampling}" }} }},
  {{ key: "max_pixels" value: {{ string_value: "50000000" }} }}
]
model_warmup [{{
  name: "golden"
  inputs {{ key: "image" value: {{ data_type: TYPE_STRING dims: [ 1 ] input_data_file: "golden" }} }}
}}]
"""
_ONNX_CONFIG = """\
# RGB, 0 to 1, of any size; output is the bright photo.
name: "diffll_onnx"
backend: "onnxruntime"
max_batch_size: 0
input [{ name: "image" data_type: TYPE_FP32 dims: [ 1, 3, -1, -1 ] }]
output [{ name: "output" data_type: TYPE_FP32 dims: [ 1, 3, -1, -1 ] }]
model_warmup [{
  name: "zero"
  inputs { key: "image" value: { data_type: TYPE_FP32 dims: [ 1, 3, 64, 64 ] zero_data: true } }
}]
"""


def write(package: str, output: Path, backend: str, sampling: str, single: Path | None) -> None:
    """A repository that needs nothing of this checkout: the runtime and the package lie in it.

    single: a file for Triton's onnxruntime backend. The folder appears whole or not at all. Raises InputError and
    PackageError.
    """
    opened = Package.open(package)
    choose_sampling(opened.manifest, sampling, None, None)
    if os.path.lexists(output):
        raise InputError(f"{output} is there already; choose another -o, or remove it.")
    if single is not None and not single.is_file():
        raise InputError(f"{single} is no file; make it by `python -m export.single {package} -o {single}`.")
    try:
        make_folder(output.absolute().parent)
        with write_folder(output.absolute(), overwrite=False) as work:
            _write_runtime(opened, work / "diffll", _CONFIG.format(backend=backend, sampling=sampling))
            if single is not None:
                version = work / "diffll_onnx" / "1"
                version.mkdir(parents=True)
                shutil.copyfile(single, version / "model.onnx")
                (version.parent / "config.pbtxt").write_text(_ONNX_CONFIG)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}; choose another -o.") from error


def _write_runtime(package: Package, model: Path, config: str) -> None:
    version, warmup = model / "1", model / "warmup"
    (version / "package").mkdir(parents=True)
    warmup.mkdir()
    (model / "config.pbtxt").write_text(config)
    shutil.copyfile(Path(__file__).with_name("model.py"), version / "model.py")
    source = Path(runtime.__file__).parent
    # under the name that the runtime has on a device; Triton finds what lies beside model.py
    shutil.copytree(source, version / "diffll", ignore=shutil.ignore_patterns("__pycache__", "pyproject.toml"))
    for name in {MANIFEST, CERTIFICATE, GOLDEN, *package.manifest.files}:
        shutil.copyfile(package.path / name, version / "package" / name)
    photo = encode_photo(Photo(package.golden()["photo"], None, False, None, None, "PNG"), "PNG")
    (warmup / "golden").write_bytes(struct.pack("<I", len(photo)) + photo)
