"""Pictures steered by latents: planned once each, drawn as by hand, and bit-identical where nothing is steered."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from steerwright.experiments import draw as frames
from steerwright.experiments.draw import ModelTools
from steerwright.experiments.steered_pictures import Ask, SteeredJob, SteeredSite, Steering, draw_steered, plan_steered
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae
from steerwright.sae.site import Site as SaeSite
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

BLOCK = "transformer.transformer_blocks.1"
ASKS = [Ask(id="p0", prompt="a b", seed=5), Ask(id="p1", prompt="c", seed=6)]


@pytest.fixture(autouse=True)
def the_loaded_model(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "load_once", lambda spec, digest: flux)


@pytest.fixture
def site(flux: Any, tmp_path: Path) -> SteeredSite:
    width = flux.pipeline.transformer.inner_dim
    eye = torch.eye(width)
    sae = Sae(
        encoder=eye, encoder_bias=torch.zeros(width), decoder=eye, decoder_bias=torch.zeros(width),
        activation=Relu(), site=SaeSite(hookpoint=f"{BLOCK}:out:image"),
    )  # fmt: skip
    save_sae(sae, tmp_path / "sae", {})
    return SteeredSite(sae=tmp_path / "sae", norm=4.0)


def planned(flux: Any, site: SteeredSite, plan: Any, folder: Path) -> tuple[list[SteeredJob], pl.DataFrame]:
    return plan_steered(ModelTools.here(flux.spec, flux.fingerprint.digest), site, plan, folder)


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / name))


def test_a_steered_picture_is_the_one_that_the_edit_by_hand_gives(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    how = Steering(latent=3, mode="add", strength=0.5)
    jobs, table = planned(flux, site, [(how, ASKS)], tmp_path / "pictures")
    assert [draw_steered(job) for job in jobs] == ["drawn", "drawn"]  # unsteered, steered
    prompts, seeds = [one.prompt for one in ASKS], [one.seed for one in ASKS]
    unit = torch.eye(flux.pipeline.transformer.inner_dim)[3]
    by_hand = Edit(Hookpoint.parse(BLOCK), Add(Direction(unit, torch.tensor(1.0)), "unit"), 2.0, branch="both")
    with steer(flux, [by_hand]):
        expected = generate(flux, prompts, seeds, batch_size=16)
    plain = generate(flux, prompts, seeds, batch_size=16)
    assert (expected != plain).any()
    for row, image, unsteered in zip(table.to_dicts(), expected, plain, strict=True):
        np.testing.assert_array_equal(picture(tmp_path / "pictures", row["file"]), image)
        np.testing.assert_array_equal(picture(tmp_path / "pictures", row["plain"]), unsteered)
    assert [draw_steered(job) for job in jobs] == ["kept", "kept"]


def test_strength_zero_is_the_unsteered_picture_itself(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    plan = [(Steering(latent=3, mode="add", strength=strength), ASKS) for strength in (-1.0, 0.0, 1.0)]
    jobs, table = planned(flux, site, plan, tmp_path)
    middle = table.filter(strength=0.0)
    assert middle["file"].to_list() == middle["plain"].to_list() == ["unsteered/0.png", "unsteered/1.png"]
    assert sorted(frame.path for job in jobs for frame in job.frames) == [
        "3/add/+1/0.png", "3/add/+1/1.png", "3/add/-1/0.png", "3/add/-1/1.png", "unsteered/0.png", "unsteered/1.png",
    ]  # fmt: skip


def test_every_picture_is_drawn_once_however_often_it_is_asked_for(
    flux: Any, site: SteeredSite, tmp_path: Path
) -> None:
    how = Steering(latent=3, mode="add", strength=1.0)
    jobs, table = planned(flux, site, [(how, ASKS), (how, ASKS[:1])], tmp_path)
    assert len(table) == 3 and table["file"].n_unique() == 2
    assert sum(len(job.frames) for job in jobs) == 4


def test_a_run_that_was_cut_short_gives_the_same_bits(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    jobs, table = planned(flux, site, [(Steering(latent=1, mode="add", strength=0.5), ASKS)], tmp_path)
    for job in jobs:
        draw_steered(job)
    lost = tmp_path / table["file"][1]
    before = lost.read_bytes()
    lost.unlink()
    assert [draw_steered(job) for job in jobs] == ["kept", "drawn"]
    assert lost.read_bytes() == before


def test_jobs_survive_json(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    jobs, _ = planned(flux, site, [(Steering(latent=1, mode="add", strength=0.5), ASKS)], tmp_path)
    assert [SteeredJob.model_validate_json(job.model_dump_json()) for job in jobs] == jobs
