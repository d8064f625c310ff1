"""Samplings that a package gets beside the published one: those that its checkpoint was trained for, those of a package
that was calibrated, or those of a file."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError
from runtime.machine.regular import read_regular
from runtime.package.fields import read_json
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.package.samplings import samplings_from

from .checkpoint import Checkpoint
from .model.diffll import NUM_TRAIN_TIMESTEPS

_LIMIT = 1 << 20  # bytes of a file


def samplings_of(checkpoint: Checkpoint, source: Path | None) -> tuple[Sampling, ...]:
    """Those of ``source``, a package or a JSON file that has them as a manifest has (``{"samplings": {...}}``); without
    it, those of the checkpoint itself.

    Raises InputError where one was judged on another checkpoint, and PackageError.
    """
    place = source or checkpoint.path
    where = f"{place}: cannot read samplings from it"
    if source is None:
        if not checkpoint.samplings:
            return ()
        found = _read(
            b'{"samplings": %s}' % checkpoint.samplings.encode(errors="surrogatepass"), where, "take another checkpoint"
        )
    elif source.is_dir():
        found = Package.open(source).manifest.more_samplings
    else:
        try:
            content = read_regular(source, _LIMIT, follow=True)[0]
        except OSError as error:
            raise InputError(f"{where} ({error.strerror}); give a package.") from error
        found = _read(content, where, "give a package")
    for one in found:
        judged = one.judged.get("checkpoint_sha256", checkpoint.sha256)
        if judged != checkpoint.sha256:
            raise InputError(
                f"{place}: its sampling {one.name!r} was judged on the checkpoint {str(judged)[:12]}..., and this is "
                f"{checkpoint.sha256[:12]}...; calibrate this checkpoint's package (`python -m calibration.sampling`)."
            )
    return found


def _read(content: bytes, where: str, cure: str) -> tuple[Sampling, ...]:
    with read_json(content, where, cure) as top:
        return samplings_from(top, NUM_TRAIN_TIMESTEPS)
