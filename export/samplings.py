"""Samplings that a package gets beside the published one: from a package that was calibrated, or from a file."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError
from runtime.machine.regular import read_regular
from runtime.package.fields import read_json
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.package.samplings import samplings_from

_LIMIT = 1 << 20  # bytes of a file


def load_samplings(path: Path, checkpoint_sha256: str, total: int) -> tuple[Sampling, ...]:
    """Those of the package ``path``, or of a JSON file that has them as a manifest has (``{"samplings": {...}}``).

    total: num_train_timesteps. Raises InputError where one was judged on another checkpoint, and PackageError.
    """
    if path.is_dir():
        found = Package.open(path).manifest.more_samplings
    else:
        where = f"{path}: cannot read samplings from it"
        try:
            content = read_regular(path, _LIMIT, follow=True)[0]
        except OSError as error:
            raise InputError(f"{where} ({error.strerror}); give a package.") from error
        with read_json(content, where, "give a package") as top:
            found = samplings_from(top, total)
    for one in found:
        judged = one.judged.get("checkpoint_sha256", checkpoint_sha256)
        if judged != checkpoint_sha256:
            raise InputError(
                f"{path}: its sampling {one.name!r} was judged on the checkpoint {str(judged)[:12]}..., and this is "
                f"{checkpoint_sha256[:12]}...; calibrate this checkpoint's package (`python -m calibration.sampling`)."
            )
    return found
