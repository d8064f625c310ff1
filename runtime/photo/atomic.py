"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from ..errors import InputError


def write_file(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write ``data`` to ``path`` through a hidden temporary file beside it, which never stays behind.

    With ``overwrite`` the file is replaced in one step (through a symbolic link: the file it names).
    Without it an existing file is never touched, also if it appeared a moment ago. The mode follows
    the umask. Raises InputError with the path and the cure.
    """
    target = Path(os.path.realpath(path)) if overwrite else path
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            if overwrite:
                os.replace(temporary, target)
            else:
                _publish(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except FileExistsError:
        raise InputError(
            f"cannot write {path}: it exists already; choose another name or allow it (--overwrite)"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; {_cure(error, data)}") from error


def _publish(temporary: Path, target: Path) -> None:
    """Give the finished file its name, failing with FileExistsError where the name is taken."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # exFAT and some network folders have no hard links: reserve the name, then replace
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, target)
        except BaseException:
            os.unlink(target)
            raise


def _cure(error: OSError, data: bytes) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free {len(data) / 1e6:.1f} MB or choose another disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose another folder or change its permissions"
    return "check the folder and its disk or choose another"
