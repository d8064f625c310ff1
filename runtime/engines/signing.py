"""The key by which this user's own builds are known: engines that arrive with a package are signed by another, or not.

It lies outside of every package, in ``$DIFFLL_ENGINE_KEY`` or ``$XDG_STATE_HOME/diffll/engine.key`` (by default
``~/.local/state``). The first build makes it; what opens a package only reads it. Whoever can read it can sign engines.
"""

from __future__ import annotations

import hmac
import os
import secrets
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..errors import EngineError
from ..machine.files import only_ours, write_file
from ..machine.regular import read_regular

VARIABLE = "DIFFLL_ENGINE_KEY"
_BYTES, _LIMIT = 32, 4096
_ELSEWHERE = f"let {VARIABLE} name a file that this user can write, outside of the package"


class UnusableKey(EngineError):
    """A key that is there and cannot be used. line: what to type."""

    def __init__(self, path: Path, reason: str, line: str, then: str = "") -> None:
        super().__init__(f"{path}: {reason}; `{line}`{then}.")
        self.line = line


@dataclass(frozen=True)
class SigningKey:
    """One user's key."""

    path: Path
    secret: bytes

    @property
    def name(self) -> str:
        """Which key it is, for messages: it tells nothing about the secret."""
        return sha256(b"diffll engine key\n" + self.secret).hexdigest()[:16]

    def signature(self, purpose: str, content: bytes) -> str:
        """64 hexadecimal digits. purpose: what is signed, so that one thing's signature is none of another's."""
        return hmac.new(self.secret, purpose.encode() + b"\n" + content, sha256).hexdigest()

    def signed(self, purpose: str, content: bytes, signature: str) -> bool:
        return hmac.compare_digest(self.signature(purpose, content).encode(), signature.encode())


def key_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the key lies or will lie. Raises EngineError where the user has no home and names no place."""
    if named := environment.get(VARIABLE, ""):
        return Path(named).absolute()
    state = Path(environment.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # by the XDG specification a relative one says nothing
        with suppress(RuntimeError):  # a user without a home
            state = Path.home() / ".local" / "state"
    if not state.is_absolute():
        raise EngineError(f"this user has no home for the key that signs engines; {_ELSEWHERE}.")
    return state / "diffll" / "engine.key"


def read_key() -> SigningKey | None:
    """This user's key, or None where none was made yet. Raises UnusableKey for one that cannot be read or that others
    could know or write, EngineError where there is no place for one."""
    path = key_path()
    quoted, another = shlex.quote(str(path)), f"export {VARIABLE}=~/diffll-engine.key"
    build = ", then build the engines again"
    try:
        secret, found = read_regular(path, _LIMIT, follow=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = f"the key that signs engines cannot be read ({error.strerror})"
        raise UnusableKey(path, reason, another, build) from error
    if not only_ours(found):
        if found.st_uid == os.getuid():
            raise UnusableKey(path, "others can write to the key that signs engines", f"chmod 600 {quoted}")
        raise UnusableKey(path, "the key that signs engines belongs to another user", another, build)
    if os.name == "posix" and found.st_mode & stat.S_IROTH:
        if found.st_uid == os.getuid():
            raise UnusableKey(path, "every user can read the key that signs engines", f"chmod 600 {quoted}")
        raise UnusableKey(path, "every user can read the key that signs engines", another, build)
    if len(secret) < _BYTES:
        reason = f"{len(secret)} bytes, and a key that signs engines has {_BYTES} or more"
        raise UnusableKey(path, reason, f"rm {quoted}", build)
    return SigningKey(path, secret)


def make_key() -> SigningKey:
    """This user's key, made now where there is none. Raises EngineError where it cannot be written or read."""
    if (key := read_key()) is not None:
        return key
    path = key_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError), write_file(path, overwrite=False, mode=0o600) as file:  # another build's
            file.write(secrets.token_bytes(_BYTES))
    except OSError as error:
        reason = f"{path}: the key that signs engines cannot be written ({error.strerror})"
        raise EngineError(f"{reason}; {_ELSEWHERE}.") from error
    key = read_key()
    if key is None:
        raise EngineError(f"{path}: the key that signs engines went while it was made; build again.")
    return key
