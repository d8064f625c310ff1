"""What the loop asks of a backend, seen through the null backend."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from null_backend import open_null

from runtime.errors import EngineError
from runtime.running.laps import Laps
from runtime.running.program import Program, Steps
from runtime.sampler import evenly_spaced


@pytest.fixture
def enhancer(tiny_package):
    with open_null(tiny_package) as opened:
        yield opened


def test_stages_run_in_order_and_the_loop_has_s_steps(enhancer):
    enhancer(np.zeros((20, 30, 3), np.uint8), steps=4)
    names = [name for name, _ in enhancer.backend.calls]
    assert names == ["dwt", "hfrm0", "hfrm1", *["denoiser"] * 4, "idwt"]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_tensors_flow_from_stage_to_stage_without_copies(enhancer, steps):
    enhancer(np.zeros((20, 30, 3), np.uint8), steps=steps)
    calls = enhancer.backend.calls
    dwt, hfrm0, hfrm1, loop, idwt = calls[0][1], calls[1][1], calls[2][1], calls[3:-1], calls[-1][1]
    assert hfrm0["details0"] == dwt["details0"]
    assert hfrm1["details1"] == dwt["details1"]
    for k in range(2):
        assert idwt[f"restored{k}"] == (hfrm0, hfrm1)[k][f"restored{k}"]
    before = loop[0][1]
    assert before["history"] == before["x_t"]  # finite, whatever an earlier photo left in the history buffers
    for _, tensors in loop:
        assert tensors["x_cond"] == dwt["x_cond"]
        assert len({tensors[name] for name in ("x_t", "x_next", "history_next", "x_cond")}) == 4
    for (_, a), (_, b) in pairwise(loop):
        assert b["x_t"] == a["x_next"]
        assert b["history"] == a["history_next"]
        assert b["timestep"] != a["timestep"]
        assert b["coefficients"] != a["coefficients"]
    assert idwt["x_0"] == loop[-1][1]["x_next"]


def test_buffers_are_made_once_a_shape(enhancer):
    photo = np.zeros((20, 30, 3), np.uint8)
    enhancer(photo)
    made = enhancer.backend.buffers_made
    first = enhancer.backend.calls[:]
    enhancer(photo + 1)
    enhancer(np.zeros((17, 31, 3), np.uint8))  # the same padded size
    assert enhancer.backend.buffers_made == made
    assert enhancer.backend.calls == first * 3
    enhancer(np.zeros((40, 30, 3), np.uint8))
    assert enhancer.backend.buffers_made > made


def test_two_shapes_alternate_without_new_buffers(enhancer):
    shapes = [(20, 30, 3), (30, 20, 3)]
    for shape in shapes:
        enhancer(np.zeros(shape, np.uint8))
    made = enhancer.backend.buffers_made
    for shape in shapes * 3:
        enhancer(np.zeros(shape, np.uint8))
    assert enhancer.backend.buffers_made == made


def test_the_backend_gets_the_whole_sequence_once_a_shape_and_table(enhancer):
    photo = np.zeros((20, 30, 3), np.uint8)
    for steps in (4, 4, 2, 4):
        enhancer(photo, steps=steps)
    concurrent = [("hfrm0", True), ("hfrm1", True)]
    assert enhancer.backend.sequences == [
        [("dwt", False), *concurrent, *[("denoiser", False)] * steps, ("idwt", False)] for steps in (4, 2)
    ]
    enhancer(np.zeros((40, 30, 3), np.uint8), steps=4)
    assert len(enhancer.backend.sequences) == 3


def test_few_sequences_are_kept_however_many_tables_are_asked_for(enhancer):
    photo = np.zeros((20, 30, 3), np.uint8)
    for steps in (1, 2, 4, 5, 8, 10):
        enhancer(photo, steps=steps)
    made = len(enhancer.backend.sequences)
    enhancer(photo, steps=10)
    assert len(enhancer.backend.sequences) == made
    (program,) = enhancer.runner.programs.values()
    assert len(program._jobs) == 4


@pytest.fixture
def program(enhancer):
    return Program(enhancer.backend, enhancer.manifest, 1, 24, 32)


def steps_of(enhancer, count: int) -> Steps:
    return Steps(
        enhancer.backend, enhancer.manifest, evenly_spaced(np.asarray(enhancer.manifest.alphas_cumprod), count)
    )


def test_submit_takes_what_it_needs_and_collect_gives_the_output(enhancer, program):
    image, noise = np.full((1, 3, 24, 32), 0.25, np.float32), np.ones((1, 3, 6, 8), np.float32)
    laps = Laps()
    program.submit(image, noise, steps_of(enhancer, 4), laps)
    assert [name for name, _ in enhancer.backend.calls] == ["dwt", "hfrm0", "hfrm1", *["denoiser"] * 4, "idwt"]
    image[:], noise[:] = 7, 7
    assert (program._stages.image == 0.25).all()
    assert (program._loop.x[0] == 1).all()
    program._stages.output[:] = 0.5
    assert (program.collect() == 0.5).all()
    assert list(laps.ms) == ["upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download"]
    assert len(laps.steps) == 4
    assert sum(laps.steps) == pytest.approx(laps.ms["denoiser"])


def test_a_photo_that_was_not_collected_is_waited_for_before_the_next(enhancer, program):
    steps, waits = steps_of(enhancer, 1), []
    image, noise = np.zeros((1, 3, 24, 32), np.float32), np.zeros((1, 3, 6, 8), np.float32)
    program.submit(image, noise, steps, Laps())
    job = program._jobs[steps]
    wait = job.wait
    job.wait = lambda: (waits.append(len(enhancer.backend.calls)), wait())[1]
    program.submit(image, noise, steps, Laps())
    assert waits == [5]  # the first photo's five calls, none of the second's yet
    program.settle()
    program.settle()
    assert len(waits) == 2


def test_close_gives_the_backend_back_once_and_for_all(tiny_package):
    enhancer = open_null(tiny_package)
    with enhancer:
        pass
    assert enhancer.backend.closed
    enhancer.close()
    with pytest.raises(EngineError, match="closed"):
        enhancer(np.zeros((20, 30, 3), np.uint8))
