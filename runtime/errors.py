"""The exception family. Every message says what happened, the facts, and what to do about it."""


class DiffLLError(Exception):
    """Base of everything this project raises on purpose; the commands turn it into one ``error:`` line."""


class PackageError(DiffLLError, ValueError):
    """A model package (or checkpoint) is damaged, incomplete, of another format, or not to be trusted."""


class BackendUnavailableError(DiffLLError, ImportError):
    """A backend, provider or library that was asked for is not on this machine."""


class EngineError(DiffLLError, RuntimeError):
    """An inference engine failed to load, to run, or to fit into memory."""


class InputError(DiffLLError, ValueError):
    """An argument or a photo cannot be used: wrong type, shape, range, file or path."""


class TooLargeError(InputError):
    """A photo has more pixels than its reader allows."""


class UnsupportedFormatError(InputError):
    """A file is of a known kind that is not read, such as a GIF, or one that needs an extra."""


class OutOfMemoryError(EngineError, MemoryError):
    """An engine, or the host's part, did not get the memory that it asked for."""


def out_of_memory(error: BaseException | str) -> bool:
    """Whether an engine library's exception, or its words, say so: they have no class of their own for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in _WORDS)


def one_line(error: BaseException | str, length: int = 300) -> str:
    """An engine library's exception, or its words, for use in a message: one line of at most ``length`` characters."""
    return " ".join(str(error).split())[:length]


_WORDS = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory", "out_of_memory", "cannot allocate")
