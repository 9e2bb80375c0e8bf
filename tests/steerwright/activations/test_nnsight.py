"""nnsight around a loaded model: docs/nnsight.md as it stands, seeds, and what would be dropped in silence."""

import linecache
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.trace import as_nnsight, uninstrumented_after
from steerwright.errors import UserError
from steerwright.steering.pictures import make_pictures

REPOSITORY = Path(__file__).parents[3]
RUN: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "np"}


def pixels(found: Any) -> np.ndarray:
    return (found.images * 255).round().astype(np.uint8)


def test_the_example_in_the_docs_runs_and_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "nnsight.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        # nnsight reads the source of a trace, as it would in a file or a notebook.
        file = f"<docs/nnsight.md, block {number}>"
        linecache.cache[file] = (len(block), None, block.splitlines(keepends=True), file)
        exec(compile(block, file, "exec"), names)
    assert np.array_equal(names["plain"], names["same"].pixels)
    assert np.abs(np.asarray(names["edited"].images[0]).astype(int) - names["plain"]).max() > 10
    assert names["prompt_mlp"].shape == (1, 24, 64)
    assert names["residual"].shape[1:] == (names["request"].ids.shape[1], 160)
    assert names["text"] == names["other"].text


def test_a_seed_is_the_picture_of_make_pictures(sd21: Any) -> None:
    with uninstrumented_after(sd21.pipeline):
        model = as_nnsight(sd21.pipeline)
        one = pixels(model.generate("a red house", seed=17, **RUN))
        again = pixels(model.generate("a red house", seed=np.int64(17), **RUN))
        several = pixels(model.generate(["a red house", "a red house"], seed=[3, 17], **RUN))
        counted = pixels(model.generate("a red house", seed=16, num_images_per_prompt=2, **RUN))
    wanted = make_pictures(sd21, "a red house", 17)[0].pixels
    assert np.array_equal(one[0], wanted) and np.array_equal(again[0], wanted)
    assert np.abs(several[1].astype(int) - wanted).max() <= 1
    assert np.abs(several[0].astype(int) - make_pictures(sd21, "a red house", 3)[0].pixels).max() <= 1
    assert np.abs(counted[1].astype(int) - wanted).max() <= 1


def test_a_loaded_model_brings_its_own_steps_and_guidance(sd21: Any) -> None:
    with uninstrumented_after(sd21.pipeline):
        found = pixels(as_nnsight(sd21).generate("a red house", seed=17, output_type="np"))
    assert np.array_equal(found[0], make_pictures(sd21, "a red house", 17)[0].pixels)


def test_flux_makes_pictures_of_its_own_size_and_reads_as_much_text_as_elsewhere(flux: Any) -> None:
    with uninstrumented_after(flux.pipeline):
        found = pixels(as_nnsight(flux).generate("a red house", seed=17, output_type="np"))
    assert np.array_equal(found[0], make_pictures(flux, "a red house", 17)[0].pixels)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 1, "guidance": 4.0}, "takes no guidance; choose among seed, prompt"),
        ({"seed": 1, "steps": 4}, "takes no steps"),
        ({"seed": True}, "a seed is a whole number"),
        ({"seed": [1, 2, 3]}, "3 seeds for 1 pictures"),
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator both say"),
    ],
)
def test_an_argument_that_would_be_dropped_is_refused(sd21: Any, given: dict[str, Any], message: str) -> None:
    with uninstrumented_after(sd21.pipeline):
        model = as_nnsight(sd21.pipeline)
        with pytest.raises(UserError, match=message):
            model.generate("a red house", num_inference_steps=1, **given)


def test_a_language_model_is_traced_by_the_names_of_its_own_modules(language: Callable[[str], Any]) -> None:
    import nnsight

    model = language("mistral")
    ids = torch.tensor([[1, 5, 7]])
    with uninstrumented_after(model.model):
        traced = as_nnsight(model)
        with traced.trace(ids):
            seen = nnsight.save(traced.model.layers[1].output)
    with torch.inference_mode():
        hidden = model.model(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(seen, hidden[2])
