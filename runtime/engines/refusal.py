"""Why an engine that is there is not taken, and the line to type against that very cause."""

from __future__ import annotations

import getpass
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..errors import EngineError
from ..machine.files import only_ours
from .signing import UnusableKey

Cause = Literal["link", "shared", "owner", "unreadable", "foreign", "damaged", "key"]
"""``link``: the cache itself is one. ``shared``: others can write to it. ``foreign``: it has no signature by this
user's key. ``damaged``: not what a build leaves. ``key``: the key cannot be used."""
_ADVICE: Mapping[Cause, str] = {
    "link": "Remove it and build",
    "shared": "Take that right from them",
    "owner": "Build your own beside a copy of the package",
    "unreadable": "Give yourself the right to read it",
    "foreign": "Build it again",
    "damaged": "Build it again",
}


class NotTaken(EngineError):
    """An engine, or a whole cache, that is there and is not taken. stage, target: what it says of itself, or ""."""

    def __init__(self, place: Path, reason: str, cause: Cause, stage: str = "", target: str = "") -> None:
        super().__init__(f"{place}: {reason}")
        self.place, self.reason = place, reason
        self.cause: Cause = cause
        self.stage, self.target = stage, target
        self.line = ""
        """The line to type where it depends on nothing else."""

    def brief(self, package: Path) -> str:
        """Which entry, or which file of it, and why not."""
        place = self.place.relative_to(package / "engines") if self.place != package / "engines" else self.place
        return f"{place.parent if place.name == 'engine.json' else place}: {self.reason}"

    def with_cure(self, package: Path, target: str) -> NotTaken:
        """The same, with what to type in its message."""
        if self.cause != "key":  # which has it in the reason
            self.args = (f"{self.place}: {self.reason}. {_ADVICE[self.cause]}: `{self.cure(package, target)}`.",)
        return self

    def cure(self, package: Path, target: str = "") -> str:
        """The line to type. target: of the engines that are wanted; "": not known, so nothing is built."""
        cache = package / "engines"
        quoted = shlex.quote(str(cache))
        build = f" && {build_command(package, target)}" if target else ""
        if self.cause == "link":
            return f"rm {quoted}{build}"
        if self.cause == "shared":
            return f"chmod -R go-w {quoted}"
        if self.cause == "unreadable":
            return f"chmod -R u+rwX {quoted}"
        if self.cause == "owner":
            copy = Path(f"{package.absolute().name}-{_user()}")
            own = shlex.quote(str(copy))
            build = f" && {build_command(copy, target)}" if target else ""
            return f"mkdir {own} && cp {shlex.quote(str(package))}/*.* {own}{build}"
        if self.line:
            return self.line
        entry = next((one for one in (self.place, *self.place.parents) if one.parent == cache), cache)
        return f"{build_command(package, target)} --rebuild" if target else f"rm -r {shlex.quote(str(entry))}"


def build_command(package: Path, target: str) -> str:
    """The command line that builds the engines of a package."""
    return f"python -m export.engine {shlex.quote(str(package))} --target {target}"


def check_place(place: Path, found: os.stat_result) -> None:
    """Raise NotTaken unless this user (or root) alone can write to a file or folder of the cache. found: its lstat."""
    if stat.S_ISLNK(found.st_mode):
        raise NotTaken(place, "a symbolic link", "damaged")
    if only_ours(found):
        return
    owner, user = found.st_uid, os.getuid()
    if owner not in (user, 0):
        raise NotTaken(place, f"belongs to {_name(owner)}, and this is {_user()}", "owner")
    cause: Cause = "shared" if user in (owner, 0) else "owner"  # who may change the mode
    raise NotTaken(place, "others can write to it, and an engine is a program", cause)


def unreadable(place: Path, error: OSError) -> NotTaken:
    """What to raise for a file or folder of the cache that the system does not let this user read, or that is no
    regular file."""
    reason = f"cannot be read ({error.strerror})"
    if not isinstance(error, PermissionError):
        return NotTaken(place, reason, "damaged")
    try:
        ours = os.lstat(place).st_uid == os.getuid()
    except OSError:  # its folder is what cannot be read
        ours = os.lstat(place.parent).st_uid == os.getuid()
    return NotTaken(place, reason, "unreadable" if ours else "owner")


def unusable_key(place: Path, error: UnusableKey) -> NotTaken:
    found = NotTaken(place, f"its signature cannot be checked ({error})", "key")
    found.line = error.line
    return found


def _user() -> str:
    return _name(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def _name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
