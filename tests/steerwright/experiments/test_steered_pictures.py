"""Pictures steered by latents: planned once each, drawn as by hand, and bit-identical where nothing is steered."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from steerwright.experiments import draw as frames
from steerwright.experiments.draw import DrawJob, ModelTools, draw, draw_shard
from steerwright.experiments.steered_pictures import SeededPrompt, SteeredSite, Steering, plan_steered
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
ASKS = [SeededPrompt(id="p0", prompt="a b", seed=5), SeededPrompt(id="p1", prompt="c", seed=6)]


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


def planned(flux: Any, site: SteeredSite, plan: Any, folder: Path) -> tuple[list[DrawJob], pl.DataFrame]:
    """The shards, none of them drawn yet, and the table."""
    groups, table = plan_steered(site, plan)
    jobs: list[DrawJob] = []
    tools = ModelTools.here(flux.spec, flux.fingerprint.digest)
    draw(tools, groups, folder, lambda _, some, what: jobs.extend(some))
    return jobs, table


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / name))


def test_a_steered_picture_is_the_one_that_the_edit_by_hand_gives(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    how = Steering(latent=3, mode="add", strength=0.5)
    jobs, table = planned(flux, site, [(how, ASKS)], tmp_path / "pictures")
    assert [draw_shard(job) for job in jobs] == ["drawn", "drawn"]  # unsteered, steered
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
    assert [draw_shard(job) for job in jobs] == ["kept", "kept"]


def test_strength_zero_is_the_unsteered_picture_itself(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    plan = [(Steering(latent=3, mode="add", strength=strength), ASKS) for strength in (-1.0, 0.0, 1.0)]
    jobs, table = planned(flux, site, plan, tmp_path)
    middle = table.filter(strength=0.0)
    assert middle["file"].to_list() == middle["plain"].to_list() == ["unsteered/0.png", "unsteered/1.png"]
    assert sorted(one.path for job in jobs for one in job.samples) == [
        "3/add/+1/0.png", "3/add/+1/1.png", "3/add/-1/0.png", "3/add/-1/1.png", "unsteered/0.png", "unsteered/1.png",
    ]  # fmt: skip


def test_every_picture_is_drawn_once_however_often_it_is_asked_for(
    flux: Any, site: SteeredSite, tmp_path: Path
) -> None:
    how = Steering(latent=3, mode="add", strength=1.0)
    jobs, table = planned(flux, site, [(how, ASKS), (how, ASKS[:1])], tmp_path)
    assert len(table) == 3 and table["file"].n_unique() == 2
    assert sum(len(job.samples) for job in jobs) == 4


def test_a_run_that_was_cut_short_gives_the_same_bits(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    jobs, table = planned(flux, site, [(Steering(latent=1, mode="add", strength=0.5), ASKS)], tmp_path)
    for job in jobs:
        draw_shard(job)
    lost = tmp_path / table["file"][1]
    before = lost.read_bytes()
    lost.unlink()
    assert [draw_shard(job) for job in jobs] == ["kept", "drawn"]
    assert lost.read_bytes() == before


def test_a_job_goes_to_another_process_and_draws_the_same_there(flux: Any, site: SteeredSite, tmp_path: Path) -> None:
    jobs, table = planned(flux, site, [(Steering(latent=1, mode="add", strength=0.5), ASKS)], tmp_path / "here")
    for job in jobs:
        draw_shard(job)
        draw_shard(replace(pickle.loads(pickle.dumps(job)), folder=tmp_path / "there"))
    for name in table["file"]:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
