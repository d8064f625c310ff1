"""Photos a second of ``Enhancer.stream`` on the CUDA provider, host included: stream.py PACKAGE OUT WxH ..."""

import json
import sys
import time

import numpy as np

from runtime import Enhancer

package, out, *sizes = sys.argv[1:]
with open(out, "a") as file:
    for size in sizes:
        width, height = map(int, size.split("x"))
        frames = [np.random.default_rng(n).integers(0, 60, (height, width, 3), dtype=np.uint8) for n in range(8)]
        for sampling in ("published", "fast"):
            with Enhancer.open(package, providers=["CUDA"]) as enhancer:
                started = time.perf_counter()
                single = [enhancer(frame, sampling=sampling) for frame in frames]
                first_s = time.perf_counter() - started
                equal = all(map(np.array_equal, single, enhancer.stream(frames, sampling=sampling)))
                started = time.perf_counter()
                count = sum(1 for _ in enhancer.stream(frames * 6, sampling=sampling))
                found = {"size": size, "sampling": sampling, "photos a second": count / (time.perf_counter() - started)}
                found |= {"equals single calls": equal, "first eight, s": first_s, "why": enhancer.backend.why[:300]}
            print(json.dumps(found), flush=True)
            file.write(json.dumps(found) + "\n")
