"""What can be timed, behind one face: a photo goes in, a photo comes out, and how long its parts took is kept."""

from __future__ import annotations

from .job import SEED, Job, Photo, Timed
from .needs import package_bytes


def open_runner(job: Job) -> Timed:
    """Open what ``job`` names. Raises DiffLLError, or ImportError for a library that is missing."""
    if job.kind == "package":
        return PackageRunner(job)
    if job.kind == "pytorch":
        from .pytorch_runner import PyTorchRunner

        return PyTorchRunner(job)
    from .naive_runner import NaiveRunner

    return NaiveRunner(job)


class PackageRunner:
    """A package with one of the runtime's backends."""

    def __init__(self, job: Job) -> None:
        from runtime.enhancer import Enhancer

        from .loops import call_arguments

        self._enhancer = Enhancer.open(
            job.package, backend=job.backend, providers=[job.provider] if job.provider else None
        )
        self._arguments = call_arguments(self._enhancer.manifest, job.loop, SEED)
        self.name, self.why = self._enhancer.backend.name, self._enhancer.backend.why
        self.plan = ""
        self.stages: dict[str, float] = {}
        self.step_ms: list[float] = []

    def needs(self, width: int, height: int) -> int:
        """Bytes of memory for a photo of this size, predicted: see needs.py."""
        return package_bytes(self._enhancer, width, height)

    def run(self, photo: Photo) -> Photo:
        bright: Photo = self._enhancer(photo, **self._arguments)
        self.stages, self.step_ms = self._enhancer.timings, self._enhancer.step_timings
        self.plan = self._enhancer.why
        return bright
