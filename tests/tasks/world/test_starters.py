"""What is gathered for shipping makes the same edits as what it was gathered from, and mixes no two models."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from steerwright.concepts.scores import ConceptMoments, save_concept_moments
from steerwright.errors import UserError
from steerwright.lab.pictures.sources import added_by_winter, steered
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.sae.site import Site
from steerwright.steering.algebra import Edit
from steerwright.steering.latents.edits import ConceptLatents, LatentRecipe, latent_edits
from steerwright.steering.latents.gates import LatentsInImage
from steerwright.steering.latents.operators import EditLatents
from tasks.world import starters
from tasks.world.starters import Finished

CONCEPTS = ("object:cat", "object:horse", "season:spring", "season:summer", "season:winter", "time:day", "time:night")
STEPS, SIZE = (0, 1, 2), 40
ERASE = {"places": ["one", "two"], "change": "move", "top": 5, "gate": 0.4, "gate_at": "three", "gate_top": 4,
         "gate_until": 0}  # fmt: skip
ADD = {"places": ["two"], "change": "set", "top": 6, "one_sided": True}


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """Three autoencoders of 40 latents with their concepts' moments, and choices for one object and one season."""
    run = tmp_path / "run"
    draw = torch.Generator().manual_seed(5)
    for name in ("one", "two", "three"):
        eye = torch.eye(SIZE)
        sae = Sae(
            encoder=eye, encoder_bias=torch.zeros(SIZE), decoder=eye, decoder_bias=torch.zeros(SIZE), activation=Relu(),
            site=Site(model="d" * 64, hookpoint=f"unet.{name}:out"),
        )  # fmt: skip
        save_sae(sae, run / "saes" / name)
        moments = ConceptMoments.empty(CONCEPTS, STEPS, SIZE)
        for concept in range(len(CONCEPTS)):
            means = torch.rand(8, len(STEPS) + 1, SIZE, generator=draw) + torch.rand(SIZE, generator=draw)
            moments.add(torch.full((8,), concept), means, torch.ones(8, len(STEPS) + 1, dtype=torch.bool))
        (run / "moments").mkdir(exist_ok=True)
        save_concept_moments(moments, run / "moments" / f"{name}.safetensors")
    chosen = {
        concept: {"steered": {"recipe": ERASE, "strength": 1.5, "kept": 1.0}, "ablation": {"recipe": {}}}
        for concept in ("object:cat", "season:winter")
    }
    (run / "chosen.json").write_text(json.dumps(chosen))
    pl.DataFrame(
        {"recipe": [json.dumps(ADD)] * 2, "strength": [1.0, 1.25], "chosen": [False, True]}
    ).write_parquet(run / "trials.parquet")  # fmt: skip
    return Finished(
        text_vectors=run, text_best=run, attention_vectors=run, attention_chosen=run, saes=run / "saes",
        moments=run / "moments", latents_chosen=run / "chosen.json", latents_trials=run / "trials.parquet", features={},
    )  # fmt: skip


def moved(edit: Edit, rows: torch.Tensor) -> torch.Tensor:
    """How `edit` moves rows [images, tokens, d] where its gate is open."""
    assert isinstance(edit.operator, EditLatents)
    return edit.operator.delta(rows, (None,) * len(edit.operator.parts))[1]


def test_shipped_latents_make_the_edits_of_the_run(finished: Finished, tmp_path: Path) -> None:
    from steerwright.concepts.scores import load_concept_moments
    from steerwright.lab.pictures.part_moments import load_part_moments

    folder = tmp_path / "starters"
    assert starters.write_latents(finished, folder) == {"d" * 64}
    names = ("one", "two", "three")
    whole = {
        name: ConceptLatents(
            load_sae(finished.saes / name), load_concept_moments(finished.moments / f"{name}.safetensors")
        )
        for name in names
    }
    part = {
        name: ConceptLatents(
            load_sae(folder / "saes" / name), load_part_moments(folder / "moments" / f"{name}.safetensors")
        )
        for name in names
    }
    # Time is on no recipe's axis; at `three` only the gate looks.
    assert set(part["one"].moments.concepts) == set(CONCEPTS[:5])
    compared = 0
    for action, concept, recipe in (
        ("erase", "object:cat", ERASE), ("erase", "season:winter", ERASE), ("add", "season:winter", ADD),
    ):  # fmt: skip
        theirs, ours = (
            latent_edits(action, places, concept, LatentRecipe(**recipe), 1.5, steps=3)  # type: ignore[arg-type]
            for places in (whole, part)
        )
        for wanted, found in zip(theirs, ours, strict=True):
            rows = torch.rand(4, 7, SIZE, generator=torch.Generator().manual_seed(compared)) * 2
            wanted_moved, found_moved = (moved(one, rows) for one in (wanted, found))
            assert torch.allclose(wanted_moved, found_moved, atol=1e-4)
            assert wanted_moved.abs().max() > 0.1
            if isinstance(wanted.gate, LatentsInImage):
                assert isinstance(found.gate, LatentsInImage)
                assert torch.allclose(wanted.gate.presence(rows), found.gate.presence(rows), rtol=2e-2, atol=2e-2)
            compared += 1
    assert compared == 6 + 6 + 3


def test_our_own_method_and_the_chosen_trial_are_what_is_shipped(finished: Finished) -> None:
    erased = steered(json.loads(finished.latents_chosen.read_text()))
    assert erased == {name: {"recipe": ERASE, "strength": 1.5} for name in ("object:cat", "season:winter")}
    added = added_by_winter(finished.latents_trials)
    assert added == {"concept": "season:winter", "recipe": ADD, "strength": 1.25}
    assert added_by_winter(finished.latents_trials.with_name("none.parquet")) is None


def test_runs_on_different_weights_are_not_mixed() -> None:
    assert starters.only_value("seasons-sd", {"a"}) == "a"
    with pytest.raises(UserError, match="different weights of seasons-sd"):
        starters.only_value("seasons-sd", {"a", "b"})
