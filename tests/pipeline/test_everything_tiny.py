"""All the real pipelines on the embedded models, small, from nothing and by one command, as threads of one process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SOME_STAGES = {
    "winter": {"winter-activations", "winter-search", "winter-report"},
    "attention": {"attention-vectors", "attention-images", "attention-report"},
    "latents": {"latents-sae", "latents-search", "latents-report"},
    "flux": {"flux-sae-early", "flux-grids-late", "flux-report"},
    "language": {"language-removals", "language-vectors", "language-sweep", "language-report"},
}


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("everything-again")


@pytest.mark.parametrize("flow", SOME_STAGES)
def test_every_stage_of_every_pipeline_ran(flow: str, everything: Path, project: Any) -> None:
    verdicts = project.verdicts((everything / "said").read_text(), flow)
    assert SOME_STAGES[flow] <= set(verdicts) and set(verdicts.values()) == {"ran"}


def test_it_ends_with_one_table_of_all_methods_and_straight_after_there_is_nothing_to_do(everything: Path) -> None:
    said, again = ((everything / name).read_text() for name in ("said", "said-again"))
    for method in (
        "text encoder, fixed strength",
        "text encoder, adaptive strength",
        "cross-attention, add",
        "sparse autoencoder latents, add",
    ):
        assert method in said
    assert "scoreboard.html" in said
    assert "up to date" in again and "cross-attention, add" in again


def test_the_other_door_has_nothing_to_do_at_all(project: Any) -> None:
    assert project.runs_by_dvc() == []
    assert project.dvc_status() == {}
