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
