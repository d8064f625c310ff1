"""Two Ray nodes here and 300 photos: an actor gets SIGKILL, a node is removed, and one photo kills its process.

`bash tests/cluster.sh` runs it, in an environment that has Ray: python cluster_faults.py PACKAGE WORK_FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, POISON = 300, "p150.png"
KILLER = f"""
import os, signal, runtime.cli.batch as batch
read = batch.read_photo
def read_photo(source, **options):
    if str(source).endswith("{POISON}"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(source, **options)
batch.read_photo = read_photo
"""


def actors() -> list[int]:
    """The processes of the actors that are at work."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(process.parent.name))
        except OSError:
            continue
    return found


def main(package: str, folder: Path) -> None:
    photos, out, hook = folder / "photos", folder / "out", folder / "hook"
    for path in (photos, hook):
        path.mkdir(parents=True)
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 60, (96, 144, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"p{number}.png")
    # Every Python of the cluster loads it; only that of an actor has the module that it changes.
    (hook / "killer.py").write_text(KILLER)
    code = "import sys\nif 'default_worker.py' in ' '.join(sys.orig_argv):\n    import killer\n"
    (hook / "sitecustomize.py").write_text(code)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), os.getcwd()])

    import ray
    from ray.cluster_utils import Cluster

    from serving.cluster.run import Job, run

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    happened: list[str] = []

    def harm() -> None:
        journal = out / ".diffll-journal.jsonl"

        def done() -> int:
            return journal.read_text().count('"done"') if journal.exists() else 0

        while done() < 40:
            time.sleep(0.05)
        os.kill(actors()[0], signal.SIGKILL)
        happened.append(f"an actor killed after {done()} photos")
        while done() < 90:
            time.sleep(0.05)
        cluster.remove_node(second)
        happened.append(f"a node removed after {done()} photos")

    thread = threading.Thread(target=harm, daemon=True)
    thread.start()
    job = Job(package, str(photos), str(out), "onnxruntime", "fast", None, 2)
    started = time.monotonic()
    first = run(job)
    print(f"{happened}; {first} in {time.monotonic() - started:.0f} s")
    again = run(job)
    print(f"again: {again}")
    lines = [json.loads(line) for line in (out / ".diffll-journal.jsonl").read_text().splitlines() if line]
    named = [line["done"] for line in lines if "done" in line]
    assert len(happened) == 2, happened
    assert (first.done, list(first.failed)) == (COUNT - 1, [str(photos / POISON)]), first
    assert len(named) == len(set(named)) == COUNT - 1
    assert sorted(path.name for path in out.glob("p*.png")) == sorted(named)
    assert [path.name for path in out.iterdir() if path.name.endswith(".part")] == []
    assert (again.skipped, list(again.failed)) == (COUNT - 1, [str(photos / POISON)]), again
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
