"""What a library keeps beside its engines for itself: given back to it only where this user's own run wrote it."""

from __future__ import annotations

from pathlib import Path

from ..errors import EngineError
from ..machine.files import write_file
from ..machine.regular import read_regular
from .refusal import check_place
from .signing import make_key, read_key

_LIMIT = 1 << 30
_SEAL = 32


def read_signed(path: Path, purpose: str) -> bytes:
    """The content of a file of ``write_signed``, or b"" where there is none. purpose: what it was signed for. Raises
    EngineError, which says why it is not taken."""
    try:
        content, found = read_regular(path, _LIMIT)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error
    check_place(path, found)
    signer, seal, content = read_key(), content[:_SEAL], content[_SEAL:]
    if signer is None or not signer.signed(purpose, content, seal.hex()):
        raise EngineError(f"{path}: damaged, foreign or of an older version: not signed by this user's key for it")
    return content


def write_signed(path: Path, purpose: str, content: bytes) -> None:
    """Whole or not at all. Raises OSError, and EngineError where this user's key cannot be used."""
    seal = bytes.fromhex(make_key().signature(purpose, content))
    with write_file(path, overwrite=True, mode=0o600) as file:
        file.write(seal + content)
