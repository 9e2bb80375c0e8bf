"""A picture drawn for the lab is the one of `generate`; it tells its steps, and can be stopped without a trace."""

from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from torch import nn

from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations.steer_picture import picture_choices
from steerwright.lab.pictures.drawing import draw_picture
from steerwright.lab.pictures.session import picture_session
from steerwright.models.generate import generate

PROMPT = "a red house by a lake"


def hooks(pipeline: Any) -> int:
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    modules = [module for network in networks for module in network.modules()]
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def test_without_edits_it_is_the_picture_of_generate_to_the_bit(sd: Any) -> None:
    assert np.array_equal(draw_picture(sd, PROMPT, 3).pixels, generate(sd, [PROMPT], [3])[0])


def test_strength_0_of_every_method_gives_the_unsteered_picture_to_the_bit(picture_lab: Any, sd: Any) -> None:
    plain = generate(sd, [PROMPT], [3])[0]
    for method in ("text", "attention", "latents"):
        edit = next(iter(picture_session(picture_lab).choices(method).values()))
        assert np.array_equal(draw_picture(sd, PROMPT, 3, edit.edits(sd, 0.0)).pixels, plain), method


def test_each_denoising_step_is_told_once_within_the_span(sd: Any) -> None:
    told: list[tuple[float, str]] = []
    draw_picture(sd, PROMPT, 3, job=Job(lambda share, words: told.append((share, words))), span=(0.5, 1.0), what="Now")
    assert [words for _, words in told] == [f"Now: step {step} of 20" for step in range(1, 21)]
    assert [share for share, _ in told] == pytest.approx([0.5 + 0.5 * step / 20 for step in range(20)])


def test_a_picture_that_is_stopped_leaves_no_hook_and_the_next_one_is_as_ever(picture_lab: Any, sd: Any) -> None:
    edit = picture_session(picture_lab).choices("attention")["add-winter"]
    wanted = draw_picture(sd, PROMPT, 3, edit.edits(sd, 2.0)).pixels
    before, asked = hooks(sd.pipeline), []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 7

    with pytest.raises(Cancelled):
        draw_picture(sd, PROMPT, 3, edit.edits(sd, 2.0), heat=edit.heat(sd), job=Job(cancelled=cancelled))
    assert len(asked) == 8
    assert hooks(sd.pipeline) == before
    assert np.array_equal(draw_picture(sd, PROMPT, 3, edit.edits(sd, 2.0)).pixels, wanted)


def test_heat_is_recorded_after_the_edits_have_acted(picture_lab: Any, sd: Any) -> None:
    seen: list[int] = []

    class Counting:
        @contextmanager
        def recording(self, model: Any) -> Any:
            # Hooks of the edit are there already, so what is recorded now comes after them.
            seen.append(hooks(model.pipeline))
            yield lambda: np.ones((1, 1, 1), np.float32)

    choice = picture_choices(picture_lab, "attention")[0]
    edit = picture_session(picture_lab).choices("attention")[choice.key]
    draw_picture(sd, PROMPT, 3, heat=Counting())
    drawn = draw_picture(sd, PROMPT, 3, edit.edits(sd, 1.0), heat=Counting())
    assert seen[1] > seen[0]
    assert drawn.heat is not None and drawn.heat.shape == (1, 1, 1)
