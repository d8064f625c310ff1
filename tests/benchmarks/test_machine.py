"""What the machine is, on made-up machines; the GPU's memory, by a made-up library; the GEMM peak and the GPU suite."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from relabelled import with_fast

from benchmarks import baselines, configs, peak, suites
from benchmarks.describe import speed
from benchmarks.device_memory import DeviceMemory
from benchmarks.loops import Loops
from benchmarks.machine import driver_version, fingerprint, moment, power_mode, words
from runtime.errors import BackendUnavailableError, EngineError
from runtime.machine import gpu

NVML = """
#include <string.h>
static unsigned long long used = 100;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **device) {
  *device = (void *)(strcmp(place, "0000:3B:00.0") ? 0x20 : 0x10);
  return strcmp(place, "0000:99:00.0") == 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
  if (device != (void *)0x10) return 3;
  memory[0] = 1000; memory[1] = 1000 - used; memory[2] = used;
  return 0;
}
void use(unsigned long long bytes) { used = bytes; }
"""


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_fingerprint_holds_what_results_depend_on():
    found = fingerprint()
    assert found["cores_used"] >= 1
    assert {"numpy", "onnxruntime", "onnx", "torch"} <= set(found["libraries"])
    assert "cores used" in words(found)
    assert found == fingerprint()


def test_clocks_of_a_jetson(tmp_path):
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1510400\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n")
    write(tmp_path, "sys/class/devfreq/17000000.gpu/cur_freq", "1020000000\n")
    found = moment(tmp_path)
    assert found.pop("load") >= 0
    assert found == {"cpu_khz": 1510400, "cpu_governor": "schedutil", "gpu_hz": 1020000000}
    assert set(moment(tmp_path / "nowhere")) == {"load"}


def test_the_power_mode_is_what_nvpmodel_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_mode() is None
    write(tmp_path, "nvpmodel", "#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert power_mode() == "MAXN_SUPER"


def test_the_driver_version_is_the_kernel_modules(tmp_path):
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\n"
    assert driver_version(write(tmp_path, "version", line)) == "570.124.06"
    assert driver_version(tmp_path / "nowhere") is None


@pytest.fixture
def nvml(tmp_path) -> str:
    """A library that knows a GPU at 3B, one at 2A of whose memory it tells nothing, and none at 99."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source, library = write(tmp_path, "nvml.c", NVML), tmp_path / "libnvml.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def test_the_devices_peak_is_the_growth_since_the_start(nvml):
    import ctypes

    memory = DeviceMemory("0000:3B:00.0", nvml)
    assert memory.here
    assert (memory.used(), memory.free()) == (100, 900)
    memory.start()
    ctypes.CDLL(nvml).use(700)
    assert memory.stop() == 600


@pytest.mark.parametrize("place", [None, "0000:99:00.0", "0000:2A:00.0"])
def test_a_gpu_of_which_the_library_tells_nothing_has_no_numbers(nvml, place):
    memory = DeviceMemory(place, nvml)
    memory.start()
    assert (memory.here, memory.free(), memory.stop()) == (False, None, None)


def test_the_gpus_place_is_asked_of_the_driver(monkeypatch):
    class Driver:
        failed = 0

        def cuDeviceGetPCIBusId(self, place, length, device):
            assert length >= 13
            place.value = b"0000:3B:00.0"
            return self.failed

    monkeypatch.setattr(gpu, "_driver", lambda: (Driver(), None))
    assert gpu.pci_bus_id() == "0000:3B:00.0"
    Driver.failed = 100
    assert gpu.pci_bus_id() is None
    monkeypatch.setattr(gpu, "_driver", lambda: None)
    assert gpu.pci_bus_id() is None


def test_without_the_library_the_devices_memory_is_not_known(tmp_path):
    memory = DeviceMemory("0000:3B:00.0", str(tmp_path / "libnvml.so"))
    memory.start()
    assert not memory.here
    assert memory.stop() is None


def test_matrices_are_multiplied_on_every_path(monkeypatch):
    monkeypatch.setattr(peak, "_SIDE", 128)
    found = peak.gemm_peak()
    assert found["cpu"]["float32"] > 0
    assert found["how"].startswith("cpu float32: numpy, 128 x 128")
    for kind in ("float32", "tf32"):
        assert peak.onnxruntime_gflops("CPUExecutionProvider", kind, 64) > 0


def test_a_gpus_float32_peak_is_without_tf32(monkeypatch):
    import torch

    asked = []

    def multiply(device: str, kind: object, side: int) -> float:
        asked.append((device, kind, torch.backends.cuda.matmul.allow_tf32))
        return 1.0

    monkeypatch.setattr(gpu, "current_gpu", lambda: gpu.Gpu("Some GPU", "9.0", False, "13.0"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(peak, "_SIDE", 64)
    monkeypatch.setattr(peak, "_torch_gflops", multiply)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        found = peak.gemm_peak()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert set(found["cuda"]) == {"float32", "tf32", "float16", "bfloat16"}
    assert {(kind, tf32) for device, kind, tf32 in asked if device == "cuda"} >= {
        (torch.float32, False), (torch.float32, True)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "runs", "kind"),
    [
        ({"kind": "pytorch", "variant": "eager fp32", "precision": "fp32"}, "cuda eager fp32", "float32"),
        ({"kind": "pytorch", "variant": "compile fp32", "precision": "fp32"}, "cuda compile fp32", "float32"),
        ({"kind": "pytorch", "variant": "eager tf32", "precision": "fp32"}, "cuda eager tf32", "tf32"),
        ({"kind": "package", "provider": "CUDA", "precision": "fp32"}, "onnxruntime", "tf32"),
        ({"kind": "package", "provider": None, "precision": "fp32"}, "tensorrt", "tf32"),
        ({"kind": "package", "provider": "CUDA", "precision": "fp16"}, "onnxruntime", "float16"),
        ({"kind": "package", "provider": None, "precision": "fp32"}, "onnxruntime", "float32"),
    ],
)
def test_a_share_is_of_the_peak_of_what_computes(subject, runs, kind):
    peaks = {"cpu": {"float32": 1.0}, "cuda": {"float32": 50.0, "tf32": 400.0, "float16": 800.0}, "how": ""}
    record = {"subject": subject, "runs": runs, "latency_ms": {"p50": 1000.0}}
    found = speed(record, 10**11, peaks)
    assert found["peak"]["number_type"] == kind
    rates = peaks[found["peak"]["device"]]
    assert found["share_of_peak"] == pytest.approx(100 / rates[kind])


def test_the_gpu_suite_names_a_missing_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "current_gpu", lambda: None)
    with pytest.raises(BackendUnavailableError, match="no NVIDIA GPU is visible here"):
        suites.gpu_arguments([], Path("r.jsonl"))


def test_the_gpu_suite_builds_what_is_missing_and_asks_for_the_whole_matrix(monkeypatch, tmp_path):
    from benchmarks.cli import parse_args

    built: list[tuple[str, ...]] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build/diffll-fp16").mkdir(parents=True)
    monkeypatch.setattr(gpu, "current_gpu", lambda: gpu.Gpu("Some GPU", "9.0", False, "13.0"))
    monkeypatch.setattr(suites, "_TARGETS", {"tensorrt": "json"})
    monkeypatch.setattr(suites, "prints_true", lambda code: "onnxruntime" in code)
    monkeypatch.setattr(suites, "torch_has_gpu", lambda: False)
    monkeypatch.setattr(suites, "_command", lambda *words: built.append(words))
    args = parse_args(suites.gpu_arguments([], Path("r.jsonl")))
    assert [words[0] for words in built] == ["export.build"] + ["export.engine"] * 2
    assert built[0][1:] == ("--precision", "fp32", "-o", "build/diffll-fp32")
    assert built[1] == ("export.engine", "build/diffll-fp32", "--target", "tensorrt", "--size", "1920x1080",
                        "--max-size", "3840x2160")  # fmt: skip
    assert [path.name for path in args.packages] == ["diffll-fp32", "diffll-fp16"]
    assert args.backend == ["tensorrt", "onnxruntime:CUDA"]
    assert args.size == ["600x400", "1920x1080", "3840x2160"]
    assert (args.steps, args.sampling) == ([], ["published", "fast"])
    assert args.baseline == []


@pytest.mark.parametrize("fast", [True, False])
def test_the_gpu_suite_measures_few_enough(tiny_package, tmp_path, make_checkpoint, monkeypatch, fast):
    """The count that its 8 minutes are for: see suites.py."""
    monkeypatch.setattr(baselines, "torch_has_gpu", lambda: True)
    monkeypatch.setattr(baselines, "computes", lambda precision: True)
    packages = configs.open_packages([with_fast(tiny_package, tmp_path) if fast else tiny_package])
    loops = Loops(samplings=("published", "fast"), instead=suites.GPU_INSTEAD)
    sizes = [(600, 400), (1920, 1080), (3840, 2160)]
    pytorch = list(baselines.baseline_configs(["pytorch"], packages, sizes, loops, [make_checkpoint()], quick=False))
    kept = [config for config in pytorch if suites.takes(config)]
    compiled = [config for config in kept if config.job.variant == "compile fp32"]
    assert [(config.size, config.job.steps) for config in compiled] == [((600, 400), 10)]
    assert len(kept) == 3 * (2 * 2 + 2) + 1
    assert {config.job.variant for config in kept if config.job.steps == 2} == {"eager fp32", "eager tf32"}
    own = list(configs.package_configs(packages, sizes, ["onnxruntime:CUDA"], loops))
    assert all(suites.takes(config) for config in own)
    assert [config.job.loop.words for config in own] == ["published", "fast" if fast else "2 steps"] * 3


def test_the_gpu_suite_stops_at_a_build_that_fails():
    with pytest.raises(EngineError, match=r"python -m export.build --precision fp99` failed"):
        suites._command("export.build", "--precision", "fp99")
