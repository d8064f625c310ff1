"""What is to be measured: packages x backends x loops x sizes. Everything that can be wrong with the command is told
here, before anything is timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.image import padded_size
from runtime.names import BACKENDS, LOOP
from runtime.package.certificate import read_certificate
from runtime.package.manifest import CERTIFICATE
from runtime.package.reading import Package

from .gpus import torch_has_gpu
from .job import TF32, Job
from .loops import Loops, check_once
from .origin import origin

Size = tuple[int, int]  # width, height

STANDARD_SIZES = ("600x400", "1280x720", "1920x1080", "2560x1440", "3840x2160")
QUICK_SIZES = ("320x240", "600x400")


@dataclass(frozen=True)
class Config:
    """One configuration."""

    job: Job
    package: Package
    package_sha256: str
    size: Size

    @property
    def checkpoint_sha256(self) -> str:
        return origin(self.package).checkpoint_sha256

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
        return f"{what}, {self.job.loop.words}, {self.size[0]}x{self.size[1]}"


def open_packages(paths: Sequence[Path]) -> list[tuple[Package, str]]:
    """(package, its sha256) of every path, each file hashed and what records tell of it checked. Raises PackageError,
    or InputError for one given twice."""
    found: dict[str, Package] = {}
    for path in paths:
        package = Package.open(path)
        if package.sha256 in found:
            raise InputError(f"{path}: the same package as {found[package.sha256].path}; give it once.")
        for name in package.manifest.files:
            package.read(name)
        certificate(package), origin(package)
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
    loops: Loops,
) -> Iterator[Config]:
    """Size by size. Raises InputError."""
    chosen = [parse_backend(one) for one in backends]
    given = (sizes, "size"), (chosen, "backend"), (loops.steps, "number of steps"), (loops.samplings, "sampling")
    for values, what in given:
        if len(set(values)) < len(values):
            raise InputError(f"the same {what} was given twice; give it once.")
    own = {digest: loops.of(package) for package, digest in packages}
    for package, digest in packages:
        check_once(package, own[digest])
    for size in sizes:
        for package, digest in packages:
            for name, provider in chosen:
                for loop in own[digest]:
                    path = str(package.path.absolute())
                    job = Job("package", path, loop.calls, loop.sampler, name, provider, sampling=loop.sampling)
                    yield Config(job, package, digest, size)


def certificate(package: Package) -> dict[str, Any]:
    """What the package's own certificate says: worst PSNR and grey levels, end to end."""
    cases = read_certificate(package).get("end_to_end", [])
    return {
        "sha256": package.manifest.files[CERTIFICATE][0],
        "psnr_db": min((case["psnr_db"] for case in cases), default=None),
        "grey_levels": max((case["grey_levels"] for case in cases if "grey_levels" in case), default=None),
    }
