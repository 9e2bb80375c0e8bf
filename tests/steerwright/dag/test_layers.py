"""Layers of a pipeline are read off its stages' names."""

import pytest

from steerwright.dag.registry import layers_of, stages_of_layers
from steerwright.errors import UserError

STAGES = ["flux-model", "flux-sae-early", "flux-sae-late", "flux-grids-early", "flux-grids-late", "flux-report",
          "world-text-encoder", "world-text", "latents-sae"]  # fmt: skip


def test_layers_are_last_words_of_names_that_are_alike_otherwise() -> None:
    assert layers_of("flux", STAGES) == ["early", "late"]
    assert layers_of("latents", STAGES) == layers_of("world", STAGES) == []


def test_one_layer_means_its_stages_and_all_layers_mean_the_pipeline() -> None:
    assert stages_of_layers("flux", STAGES, ["late"]) == ["flux-sae-late", "flux-grids-late"]
    assert stages_of_layers("flux", STAGES, ["late", "early"]) is None


@pytest.mark.parametrize(("flow", "told"), [("flux", "its layers are early, late"), ("latents", "it has no layers")])
def test_a_layer_that_is_not_there_is_refused(flow: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        stages_of_layers(flow, STAGES, ["middle"])
