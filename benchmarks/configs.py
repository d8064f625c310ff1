"""What is to be measured: packages x backends x steps x sizes, and the baselines. Everything that can be wrong with
the command is told here, before anything is timed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from runtime.errors import BackendUnavailableError, InputError
from runtime.image import padded_size
from runtime.machine.gpu import current_gpu
from runtime.machine.host import describe
from runtime.names import BACKENDS, LOOP
from runtime.package.manifest import CERTIFICATE
from runtime.package.reading import Package
from runtime.sampler import check_steps

from .gpus import torch_has_gpu
from .job import Job

Size = tuple[int, int]  # width, height

STANDARD_SIZES = ("600x400", "1280x720", "1920x1080", "2560x1440", "3840x2160")
QUICK_SIZES = ("320x240", "600x400")
TF32 = "eager tf32"  # eager mode in float32, whose products a GPU forms of 10-bit mantissas
VARIANTS = {
    "pytorch": ("eager fp32", TF32, "eager bf16", "eager fp16", "compile fp32"),
    "naive-onnx": ("stages", "unrolled"),
}


@dataclass(frozen=True)
class Config:
    """One configuration."""

    job: Job
    package: Package
    package_sha256: str
    size: Size

    @property
    def checkpoint_sha256(self) -> str:
        return str(self.package.manifest.provenance.get("checkpoint_sha256", ""))

    @property
    def padded(self) -> Size:
        width, height = (padded_size(side, self.package.manifest.pad_multiple) for side in self.size)
        return width, height

    @property
    def precision(self) -> str:
        if self.job.kind == "package":
            return self.package.manifest.precision
        if self.job.kind != "pytorch" or self.job.variant == TF32:  # its weights and tensors are float32
            return "fp32"
        return self.job.variant.split()[1]

    @property
    def on_device(self) -> bool:
        """Whether it computes in a GPU's memory."""
        if self.job.kind != "package":
            return self.job.kind == "pytorch" and torch_has_gpu()
        return self.job.backend.startswith("tensorrt") or (self.job.provider or "CPU").upper()[:3] not in ("CPU", "")

    @property
    def flop(self) -> int:
        """2 x multiply-adds of the network for one photo that runs whole, as the package's manifest has them."""
        width, height = self.padded
        runs = {LOOP: self.job.steps}
        return sum(one.flop.at(height, width) * runs.get(name, 1) for name, one in self.package.manifest.cost.items())

    @property
    def subject(self) -> dict[str, Any]:
        """What is measured, without where and how: part of the key."""
        found: dict[str, Any] = {"kind": self.job.kind, "precision": self.precision}
        if self.job.kind == "package":
            found |= {
                "package_sha256": self.package_sha256,
                "backend": self.job.backend,
                "provider": self.job.provider,
            }
        else:
            found["variant"] = self.job.variant
        return found | {"checkpoint_sha256": self.checkpoint_sha256}

    @property
    def label(self) -> str:
        """For a person."""
        what = f"{self.job.kind} {self.job.variant}"
        if self.job.kind == "package":
            provider = f":{self.job.provider}" if self.job.provider else ""
            what = f"{self.package.path.absolute().name} {self.job.backend}{provider}"
        return f"{what}, {self.job.steps} steps, {self.size[0]}x{self.size[1]}"


def open_packages(paths: Sequence[Path]) -> list[tuple[Package, str]]:
    """(package, its sha256) of every path, each file hashed. Raises PackageError, or InputError for one given twice."""
    found: dict[str, Package] = {}
    for path in paths:
        package = Package.open(path)
        if package.sha256 in found:
            raise InputError(f"{path}: the same package as {found[package.sha256].path}; give it once.")
        for name in package.manifest.files:
            package.read(name)
        found[package.sha256] = package
    return [(package, digest) for digest, package in found.items()]


def parse_backend(text: str) -> tuple[str, str | None]:
    """``NAME`` or ``NAME:PROVIDER``. Raises InputError for a name that is not known."""
    name, _, provider = text.partition(":")
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is not known; use one of {', '.join(BACKENDS)}.")
    return name, provider or None


def package_configs(
    packages: Sequence[tuple[Package, str]],
    sizes: Sequence[Size],
    backends: Sequence[str],
    steps: Sequence[int],
    sampler: str,
) -> Iterator[Config]:
    """Size by size. steps: empty for each package's own. Raises InputError."""
    chosen = [parse_backend(one) for one in backends]
    for values, what in ((sizes, "size"), (chosen, "backend"), (steps, "number of steps")):
        if len(set(values)) < len(values):
            raise InputError(f"the same {what} was given twice; give it once.")
    for size in sizes:
        for package, digest in packages:
            for name, provider in chosen:
                for count in steps or (package.manifest.num_inference_steps,):
                    check_steps(package.manifest.num_train_timesteps, count, sampler)
                    job = Job("package", str(package.path.absolute()), count, sampler, name, provider)
                    yield Config(job, package, digest, size)


def baseline_configs(
    baselines: Sequence[str],
    packages: Sequence[tuple[Package, str]],
    sizes: Sequence[Size],
    steps: Sequence[int],
    sampler: str,
    checkpoints: Sequence[Path],
    quick: bool,
) -> Iterator[Config]:
    """The baselines of every checkpoint that the packages were built from, in the published sampler. quick: without
    ``torch.compile``, which takes minutes. TF32 is a GPU's. Raises InputError or BackendUnavailableError."""
    if not baselines:
        return
    if sampler != "ddim":
        raise InputError(f"--baseline runs the published sampler, ddim, and --sampler {sampler} was asked for.")
    if importlib.util.find_spec("torch") is None:  # the naive graphs are traced here
        raise BackendUnavailableError(f"--baseline {baselines[0]} needs PyTorch; `pip install '.[export]'`.")
    files = find_checkpoints(packages, checkpoints)
    for size in sizes:
        for digest, path in files.items():
            own = [one for one in packages if one[0].manifest.provenance.get("checkpoint_sha256") == digest]
            package, package_sha256 = min(own, key=lambda one: one[0].manifest.precision != "fp32")
            for count in steps or (package.manifest.num_inference_steps,):
                check_steps(package.manifest.num_train_timesteps, count, sampler)
                for baseline in dict.fromkeys(baselines):
                    for variant in VARIANTS[baseline]:
                        if quick and variant.startswith("compile"):
                            continue
                        if variant.endswith("fp16") and not computes_fp16():
                            continue
                        if variant == TF32 and not torch_has_gpu():
                            continue
                        job = Job(
                            baseline, str(package.path.absolute()), count, sampler, checkpoint=path, variant=variant
                        )
                        yield Config(job, package, package_sha256, size)


def computes_fp16() -> bool:
    """Whether PyTorch finds half-precision arithmetic here. On a processor without it (AVX-512 and bf16, no fp16) the
    first full-size photo of 600x400 was not there after nine minutes."""
    return current_gpu() is not None or not {"avx512_fp16", "asimdhp"}.isdisjoint(describe()["features"])


def find_checkpoints(packages: Sequence[tuple[Package, str]], given: Sequence[Path]) -> dict[str, str]:
    """sha256 -> file of every checkpoint that the packages were built from: the bundled one, or one of ``given``.

    Raises InputError for a package whose checkpoint is not there, or a file that none was built from.
    """
    from export.files import bundled_checkpoint

    bundled = bundled_checkpoint()
    known = {_sha256(path): path for path in (bundled, *given)}
    wanted = {str(one.manifest.provenance.get("checkpoint_sha256", "")): one for one, _ in packages}
    for digest, package in wanted.items():
        if digest not in known:
            raise InputError(
                f"{package.path}: built from the checkpoint {package.manifest.provenance.get('checkpoint')!r} (sha256 "
                f"{digest[:12]}...), which --baseline needs; give it with --checkpoint FILE."
            )
    for path in given:
        if _sha256(path) not in wanted:
            raise InputError(f"{path}: none of the packages was built from this checkpoint (sha256); leave it out.")
    return {digest: str(known[digest].absolute()) for digest in wanted}


def certificate(package: Package) -> dict[str, Any]:
    """What the package's own certificate says: worst PSNR and grey levels, end to end."""
    content = json.loads(package.read(CERTIFICATE))
    cases = content.get("end_to_end", []) if isinstance(content, dict) else []
    return {
        "sha256": package.manifest.files[CERTIFICATE][0],
        "psnr_db": min((case["psnr_db"] for case in cases), default=None),
        "grey_levels": max((case["grey_levels"] for case in cases if "grey_levels" in case), default=None),
    }


def _sha256(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint ({error.strerror}); check the path.") from error
