"""The files that a build starts from: the checkpoint and the bundled assets. No torch here."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError

from .checkpoint_file import check_file

SUFFIXES = (".pth.tar", ".pth", ".pt", ".safetensors")
_BUNDLED = "diffll-mini.safetensors"


def check_checkpoint(path: Path) -> None:
    """Refuse a file that has no checkpoint's name, cannot be read or is something else. Raises InputError and
    PackageError."""
    if not suffix_of(path):
        raise InputError(f"{path}: not a checkpoint's name; known are {', '.join(SUFFIXES)}.")
    check_file(path)


def suffix_of(path: Path) -> str:
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")


def assets() -> Path:
    """The folder of bundled files: beside ``export`` in a checkout, inside it in an installed wheel."""
    here = Path(__file__).parent
    for folder in (here.parent / "assets", here / "assets"):
        if (folder / _BUNDLED).is_file():
            return folder
    raise InputError(
        f"the bundled assets are neither in {here.parent / 'assets'} nor in {here / 'assets'}; install the project "
        "again, or give a checkpoint."
    )


def bundled_checkpoint() -> Path:
    """The reference checkpoint that comes with the project."""
    return assets() / _BUNDLED


def bundled_samplings() -> Path:
    """The samplings that were calibrated for it."""
    return assets() / "samplings.json"
