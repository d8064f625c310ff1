"""What the doctor runs: a tiny graph on every backend and provider, each in a process of its own.

A provider's native libraries may crash or hang the process that loads them. Here that is a verdict.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..machine.gpu import Gpu, current_gpu, is_jetson

Verdict = Literal["ok", "absent", "problem"]

TIMEOUT_S = 60.0  # generous: the first use of a GPU library reads gigabytes from the disk
TOLERANCE = 1e-2  # of outputs up to 10: a wrong kernel is far off, TF32 and half sums are not

# One Conv, x (1,2,8,8) -> y (1,1,8,8), 3x3, padded by 1, weights conv_weights(); opset 17, IR 10.
CONV_GRAPH = base64.b64decode(
    "CAo6ugEKIgoBeAoBdxIBeSIEQ29udioRCgRwYWRzQAFAAUABQAGgAQcSAWcqVwgBCAIIAwgDEAFCAXdKSAAAkL8AAIC/AABgvwAAQL8AACC/AAAA"
    "vwAAwL4AAIC+AAAAvgAAAAAAAAA+AACAPgAAwD4AAAA/AAAgPwAAQD8AAGA/AACAP1obCgF4EhYKFAgBEhAKAggBCgIIAgoCCAgKAggIYhsKAXkS"
    "FgoUCAESEAoCCAEKAggBCgIICAoCCAhCBAoAEBE="
)
# The same for ncnn; its weights go with it.
_NCNN_CONV = "7767517\n2 2\nInput x 0 1 x\nConvolution conv 1 1 x y 0=1 1=3 4=1 6=18\n"
# The parent's sys.path goes along: the child then sees the very same libraries, and this module.
_CHILD = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
_CHILD += "importlib.import_module(sys.argv[2]).probe(*sys.argv[3:])"
_MARK = "doctor-probe:"

_CPU = "CPUExecutionProvider"
_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
# provider -> (library that its onnxruntime wheel does not bring, its distribution)
_EXTRA = {
    "TensorrtExecutionProvider": ("tensorrt", "tensorrt"),
    "NvTensorRTRTXExecutionProvider": ("tensorrt_rtx", "tensorrt-rtx"),
}
_LIBRARY_PATH = (
    'export LD_LIBRARY_PATH=$(python -c "import glob, site; '
    "print(':'.join(glob.glob(site.getsitepackages()[0] + '/nvidia/*/lib')))\")"
)


@dataclass(frozen=True)
class Check:
    """One line of the report. verdict ``absent``: not installed or not usable here, which is no fault.

    fix: the line to type, or empty. version: of the library that was tried, or empty.
    """

    section: str
    name: str
    verdict: Verdict
    detail: str
    fix: str = ""
    version: str = ""


class ProbeError(Exception):
    """The child process did not get through; the message says how it ended."""


def run_probe(kind: str, *arguments: str) -> dict[str, Any]:
    """What ``probe(kind, *arguments)`` finds in a fresh process. Raises ProbeError: an error, a crash, or a hang."""
    words = [sys.executable, "-c", _CHILD, json.dumps(sys.path), __name__, kind, *arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as output:  # a pipe would be held open by grandchildren
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ProbeError(f"hangs: no answer in {TIMEOUT_S:g} s") from error
        output.seek(0)
        text = output.read()
    _, _, answer = text.rpartition(_MARK)
    found: dict[str, Any] = {}
    if _MARK in text:
        found = json.JSONDecoder().raw_decode(answer)[0]
    missing = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", text)
    cause = f" ({missing[1]} is not found)" if missing else ""
    if done.returncode < 0:
        after = " after it had run" if found and "error" not in found else ""
        raise ProbeError(f"crashes the process{after} ({_signal_name(-done.returncode)}){cause}")
    if "error" in found:
        raise ProbeError(found["error"] + cause)
    if done.returncode or not found:
        raise ProbeError(f"ends the process with exit code {done.returncode}{cause}: {' '.join(text.split())[-200:]}")
    return found | {"cause": cause}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def probe(kind: str, *arguments: str) -> None:
    """In the child: run one probe and print what it found as JSON."""
    try:
        found = _PROBES[kind](*arguments)
    except Exception as error:  # engines' exceptions share no base but Exception
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(f"\n{_MARK}{json.dumps(found)}", flush=True)


def _probe_onnxruntime() -> dict[str, Any]:
    import onnxruntime as ort

    return {"version": ort.__version__, "providers": ort.get_available_providers()}


def _probe_provider(provider: str, preload: str = "") -> dict[str, Any]:
    import onnxruntime as ort

    if preload:
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(CONV_GRAPH, options, providers=[provider])
    used = session.get_providers()[0]
    if used != provider:
        return {"used": used}
    if provider != _CPU:  # it loads; now the graph must run on it, not beside it on the CPU
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = ort.InferenceSession(CONV_GRAPH, options, providers=[provider])
    return {"used": used, "worst": _worst(session.run(None, {"x": conv_input()})[0])}


def _probe_openvino() -> dict[str, Any]:
    import openvino as ov

    core = ov.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.compile_model(core.read_model(CONV_GRAPH), "CPU", config)
    worst = _worst(model([conv_input()])[0])
    return {"version": ov.get_version(), "devices": core.available_devices, "worst": worst}


def _probe_tensorrt(module: str) -> dict[str, Any]:
    trt = importlib.import_module(module)
    found = {"version": trt.__version__, "file": str(trt.__file__)}
    try:
        trt.Builder(trt.Logger(trt.Logger.ERROR))
    except Exception as error:  # without a GPU the version is still worth knowing
        return found | {"failure": f"makes no builder ({' '.join(str(error).split())[:200]})"}
    if current_gpu() is not None and installed("cuda"):
        from .tensorrt import build_graph, run_plan

        plan = build_graph(trt, CONV_GRAPH)
        found["worst"] = _worst(run_plan(trt, plan, conv_input(), conv_expected().shape))
    return found


def _probe_ncnn(device: str = "") -> dict[str, Any]:
    """device: the number of a Vulkan device; empty for the CPU."""
    import numpy as np

    from ..backends.ncnn import keep_precision

    ncnn = importlib.import_module("ncnn")
    net = ncnn.Net()
    keep_precision(net.opt, "fp32")
    net.opt.use_vulkan_compute = bool(device)
    if device:
        net.set_vulkan_device(int(device))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "conv.bin"
        weights.write_bytes(bytes(4) + conv_weights().tobytes())  # four zero bytes: float32
        if net.load_param_mem(_NCNN_CONV) or net.load_model(str(weights)):
            raise RuntimeError("it does not load the test graph")
    extractor = net.create_extractor()
    extractor.input("x", ncnn.Mat(conv_input()[0]).clone())
    failed, output = extractor.extract("y")
    if failed:
        raise RuntimeError("it does not run the test graph")
    found = {"version": ncnn.__version__, "worst": _worst(np.array(output)[None])}
    return found | ({"name": ncnn.get_gpu_info(int(device)).device_name()} if device else {})


def _probe_vulkan() -> dict[str, Any]:
    return {"devices": importlib.import_module("ncnn").get_gpu_count()}


_PROBES: Mapping[str, Any] = {
    "onnxruntime": _probe_onnxruntime,
    "provider": _probe_provider,
    "openvino": _probe_openvino,
    "tensorrt": _probe_tensorrt,
    "ncnn": _probe_ncnn,
    "vulkan": _probe_vulkan,
}


def conv_weights() -> Any:
    """(1,2,3,3) float32, exact in every float type that an engine may choose; so are the inputs."""
    import numpy as np

    return ((np.arange(18) - 9) / 8).astype(np.float32).reshape(1, 2, 3, 3)


def conv_input() -> Any:
    """(1,2,8,8) float32 in [0, 1)."""
    import numpy as np

    return (np.arange(128) / 128).astype(np.float32).reshape(1, 2, 8, 8)


def conv_expected() -> Any:
    """(1,1,8,8) float32: the graph's output on ``conv_input()``, computed by numpy."""
    import numpy as np

    weights, padded = conv_weights(), np.pad(conv_input(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = (
        np.einsum("oc,nchw->nohw", weights[:, :, row, column], padded[:, :, row : row + 8, column : column + 8])
        for row in range(3)
        for column in range(3)
    )
    return sum(taps)


def _worst(output: Any) -> float:
    import numpy as np

    worst = float(np.abs(np.asarray(output) - conv_expected()).max())
    if not worst <= TOLERANCE:  # NaN too
        raise ValueError(f"wrong result: the test graph's output is {worst:g} off numpy's")
    return worst


def gpu_wheel(gpu: Gpu | None) -> str:
    """What to give pip for an onnxruntime-gpu that this driver can run (1.27 is the first built for CUDA 13)."""
    old = gpu is not None and int(gpu.driver_cuda.split(".")[0]) < 13
    return '"onnxruntime-gpu[cuda,cudnn]' + ('<1.27"' if old else '"')


def installed(module: str) -> bool:
    """Whether ``module`` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def check_onnxruntime(gpu: Gpu | None, wheels: Mapping[str, str]) -> Iterator[Check]:
    """onnxruntime itself when it fails, else one check a provider. wheels: the installed distributions of it."""
    name = "onnxruntime"
    if not installed(name):
        yield _not_installed(name)
        return
    try:
        found = run_probe("onnxruntime")
    except ProbeError as error:
        wheel = next(iter(wheels), name)
        yield _broken(name, f"{error}", f"pip install --force-reinstall {wheel}")
        return
    wheel = next(iter(wheels), name)
    for provider in found["providers"]:
        yield _check_provider(provider, wheel, found["version"], gpu)
    cuda = _NVIDIA[0]
    if gpu is not None and not is_jetson() and cuda not in found["providers"]:
        fix = f"pip uninstall -y {wheel} && pip install {gpu_wheel(gpu)}"
        yield Check("backends", f"{name} {cuda}", "absent", f"not in the wheel {wheel}", fix, found["version"])


def _check_provider(provider: str, wheel: str, version: str, gpu: Gpu | None) -> Check:
    def check(verdict: Verdict, detail: str, fix: str = "") -> Check:
        return Check("backends", f"onnxruntime {provider}", verdict, detail, fix, version)

    if provider == "AzureExecutionProvider":
        return check("absent", "not tried: it calls a web service and computes nothing here")
    module, distribution = _EXTRA.get(provider, ("", ""))
    if provider in _NVIDIA and gpu is None:
        return check("absent", "needs an NVIDIA GPU to run")
    if module and not installed(module):
        return check("absent", f"{distribution} is not installed", install_line(distribution))
    failure = _try_provider(provider)
    if isinstance(failure, float):
        return check("ok", f"ran the test graph (at most {failure:.1g} off)")
    if provider not in _NVIDIA:
        return check("problem", failure, f"pip install --force-reinstall {wheel}=={version}")
    if sys.platform == "linux" and isinstance(_try_provider(provider, "preload"), float):
        return check("problem", f"{failure}; it runs with pip's CUDA libraries on the path", _LIBRARY_PATH)
    return check("problem", failure, install_line(distribution) if module else f"pip install {gpu_wheel(gpu)}")


def _try_provider(provider: str, *preload: str) -> float | str:
    """How far off the result was, or what went wrong."""
    try:
        found = run_probe("provider", provider, *preload)
    except ProbeError as error:
        return str(error)
    if found["used"] != provider:
        return f"falls back to {found['used']}{found['cause']}"
    return float(found["worst"])


def check_openvino() -> Check:
    if not installed("openvino"):
        return _not_installed("openvino")
    try:
        found = run_probe("openvino")
    except ProbeError as error:
        return _broken("openvino", str(error), "pip install --force-reinstall openvino")
    detail = f"ran the test graph on CPU (at most {found['worst']:.1g} off); devices: {', '.join(found['devices'])}"
    return Check("backends", "openvino", "ok", detail, version=found["version"])


def check_tensorrt(name: str, gpu: Gpu | None) -> Check:
    """name: ``tensorrt`` or ``tensorrt-rtx``. On a GPU it builds the test graph and runs it."""
    module = name.replace("-", "_")
    line = install_line(name)
    option = "--force-reinstall" if line.startswith("pip") else "--reinstall"
    reinstall = line.replace(" install ", f" install {option} ")
    if not installed(module):
        return _not_installed(name)
    try:
        found = run_probe("tensorrt", module)
    except ProbeError as error:
        return _broken(name, str(error), reinstall)
    version = found["version"]
    if name == "tensorrt" and is_jetson() and "dist-packages" not in found["file"]:
        detail = f"comes from {found['file']}: a build for servers, not JetPack's"
        return Check("backends", name, "problem", detail, f"pip uninstall -y tensorrt && {line}", version)
    if gpu is None:
        return Check("backends", name, "absent", "loads; needs a GPU to run", version=version)
    if "failure" in found:
        return Check("backends", name, "problem", found["failure"], reinstall, version)
    if "worst" not in found:
        fix = f"pip install 'cuda-bindings=={gpu.driver_cuda.split('.')[0]}.*'"
        return Check("backends", name, "problem", "loads; cuda-bindings, which runs engines, is missing", fix, version)
    detail = f"built and ran the test graph (at most {found['worst']:.1g} off)"
    return Check("backends", name, "ok", detail, version=version)


def check_ncnn() -> Iterator[Check]:
    """The CPU, and every Vulkan device that ncnn finds."""
    if not installed("ncnn"):
        yield _not_installed("ncnn")
        return
    try:
        found = run_probe("ncnn")
    except ProbeError as error:
        yield _broken("ncnn", str(error), "pip install --force-reinstall ncnn")
        return
    version = found["version"]
    yield Check("backends", "ncnn", "ok", f"ran the test graph (at most {found['worst']:.1g} off)", version=version)
    try:
        devices = run_probe("vulkan")["devices"]
    except ProbeError as error:
        yield Check("backends", "ncnn vulkan", "problem", str(error), "vulkaninfo --summary", version)
        return
    if not devices:
        yield Check("backends", "ncnn vulkan", "absent", "no Vulkan device here", version=version)
    for index in range(devices):
        name = f"ncnn vulkan:{index}"
        try:
            found = run_probe("ncnn", str(index))
        except ProbeError as error:
            yield Check("backends", name, "problem", str(error), "vulkaninfo --summary", version)
            continue
        detail = f"ran the test graph on {found['name']} (at most {found['worst']:.1g} off)"
        yield Check("backends", name, "ok", detail, version=version)


def install_line(name: str) -> str:
    if name == "tensorrt" and is_jetson():
        return "sudo apt install python3-libnvinfer-dev"
    return f"pip install {name}"


def _not_installed(name: str) -> Check:
    return Check("backends", name, "absent", "not installed", install_line(name))


def _broken(name: str, detail: str, fix: str) -> Check:
    return Check("backends", name, "problem", detail, fix)


def check_backends(gpu: Gpu | None, wheels: Mapping[str, str]) -> list[Check]:
    """Every backend's checks. wheels: the installed distributions of onnxruntime and their versions."""
    return [
        *check_onnxruntime(gpu, wheels),
        check_openvino(),
        check_tensorrt("tensorrt", gpu),
        check_tensorrt("tensorrt-rtx", gpu),
        *check_ncnn(),
    ]
