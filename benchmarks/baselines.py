"""What packages are compared with: PyTorch and plainly traced graphs, of the checkpoints that they were built from."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from runtime.errors import BackendUnavailableError, InputError
from runtime.machine.gpu import current_gpu
from runtime.machine.host import describe
from runtime.machine.regular import read_regular
from runtime.names import PUBLISHED
from runtime.package.reading import Package

from .configs import Config, Size
from .gpus import torch_has_gpu
from .job import TF32, VARIANTS, Job
from .loops import Loops
from .origin import origin


def baseline_configs(
    baselines: Sequence[str],
    packages: Sequence[tuple[Package, str]],
    sizes: Sequence[Size],
    loops: Loops,
    checkpoints: Sequence[Path],
    quick: bool,
) -> Iterator[Config]:
    """The baselines of every checkpoint that the packages were built from, with DDIM. Plain traces run
    the published loop and evenly spaced steps, PyTorch every loop of ``loops``. quick: without ``torch.compile``,
    which takes minutes. TF32 is a GPU's. Raises InputError or BackendUnavailableError."""
    if not baselines:
        return
    if loops.sampler != "ddim":
        raise InputError(f"--baseline runs the published sampler, ddim, and --sampler {loops.sampler} was asked for.")
    if importlib.util.find_spec("torch") is None:  # the naive graphs are traced here
        raise BackendUnavailableError(f"--baseline {baselines[0]} needs PyTorch; `pip install '.[export]'`.")
    files = find_checkpoints(packages, checkpoints)
    for size in sizes:
        for digest, path in files.items():
            own = [one for one in packages if origin(one[0]).checkpoint_sha256 == digest]
            package, package_sha256 = min(own, key=lambda one: one[0].manifest.precision != "fp32")
            for loop in dict.fromkeys(loops.of(package)):
                for baseline in dict.fromkeys(baselines):
                    for variant in VARIANTS[baseline]:
                        if baseline != "pytorch" and loop.sampling not in ("", PUBLISHED):
                            continue
                        if quick and variant.startswith("compile"):
                            continue
                        if baseline == "pytorch" and not computes(variant.split()[1]):
                            continue
                        if variant == TF32 and not torch_has_gpu():
                            continue
                        job = Job(
                            baseline,
                            str(package.path.absolute()),
                            loop.calls,
                            loop.sampler,
                            checkpoint=path,
                            variant=variant,
                            sampling=loop.sampling,
                        )
                        yield Config(job, package, package_sha256, size)


_CHECKPOINT_LIMIT = 8 << 30  # bytes: the official one has 1 GB
_HALF = {"fp16": {"avx512_fp16", "asimdhp"}, "bf16": {"avx512f", "avx512_bf16", "amx_bf16", "bf16"}}


def computes(precision: str) -> bool:
    """Whether PyTorch finds this arithmetic here; float32 always. On a processor without it the first full-size photo
    of 600x400 was not there after eight minutes (fp16 beside AVX-512 and bf16; bf16 beside AVX2 alone)."""
    wanted = _HALF.get(precision)
    return wanted is None or current_gpu() is not None or not wanted.isdisjoint(describe()["features"])


def find_checkpoints(packages: Sequence[tuple[Package, str]], given: Sequence[Path]) -> dict[str, str]:
    """sha256 -> file of every checkpoint that the packages were built from: the bundled one, or one of ``given``.

    Raises InputError for a package whose checkpoint is not there, or a file that none was built from.
    """
    from export.files import bundled_checkpoint

    bundled = bundled_checkpoint()
    known = {_sha256(path): path for path in (bundled, *given)}
    wanted = {origin(one).checkpoint_sha256: one for one, _ in packages}
    for digest, package in wanted.items():
        if digest not in known:
            raise InputError(
                f"{package.path}: built from the checkpoint {origin(package).checkpoint!r} (sha256 "
                f"{digest[:12]}...), which --baseline needs; give it with --checkpoint FILE."
            )
    for path in given:
        if _sha256(path) not in wanted:
            raise InputError(f"{path}: none of the packages was built from this checkpoint (sha256); leave it out.")
    return {digest: str(known[digest].absolute()) for digest in wanted}


def _sha256(path: Path) -> str:
    try:
        return sha256(read_regular(path, _CHECKPOINT_LIMIT, follow=True)[0]).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint ({error.strerror}); check the path.") from error
