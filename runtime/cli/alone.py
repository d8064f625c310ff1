"""Where a run keeps what it has so far: beside what it makes, and for one run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import InputError
from ..machine.leftovers import alone_in


def state_folder(output: Path, kind: str) -> Path:
    """The folder ``.NAME.KIND`` beside the output."""
    place = Path(os.path.realpath(output))
    return place.with_name(f".{place.name}.{kind}")


@contextmanager
def only_run(output: Path, kind: str) -> Iterator[None]:
    """Be the one run that keeps its state in ``state_folder``: two would mix what they found. Raises InputError."""
    folder = state_folder(output, kind)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(folder))
        except BlockingIOError as error:
            told = f"{output}: another run makes it at the moment ({folder} is its)"
            raise InputError(f"{told}; wait for it, or choose another -o.") from error
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another -o.") from error
        yield
