"""Stored rows of images through an autoencoder: equal to brute force, refused where they do not fit, resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations import denoiser as collect_latents
from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.shard_plan import CollectedPrompt, parse_collection, plan_collection
from steerwright.activations.store.reader import Store, open_store
from steerwright.errors import UserError
from steerwright.features import images as module
from steerwright.features.images import image_latents, mean_norm
from steerwright.features.s_matrix import SMatrix
from steerwright.features.token_maps import TokenMaps
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.sae.site import Site

BLOCK, OTHER = "transformer.transformer_blocks.1", "transformer.transformer_blocks.0"
PROMPTS = [CollectedPrompt(id=f"p{i}", prompt="a b c d"[: 1 + 2 * i], split="test", seed=50 + i) for i in range(4)]
IDS = [one.id for one in PROMPTS]
STEP, SIZE = 2, 24


@pytest.fixture(scope="module")
def store(flux: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    asked = parse_collection({"hookpoints": [BLOCK], "steps": [1, STEP], "splits": ["test"], "batch_size": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_latents, "load_once", lambda spec, digest: flux)
        jobs = plan_collection(flux, PROMPTS, asked, folder)
        for job in jobs:
            collect_shard(job)
    commit_collection(jobs)
    return open_store(folder)


def autoencoder(store: Store, folder: Path, **site: Any) -> Path:
    width = store.layout(Hookpoint.parse(BLOCK)).width
    generator = torch.Generator().manual_seed(3)
    encoder = torch.randn(SIZE, width, generator=generator)
    known = {"model": store.manifest.model.digest, "hookpoint": f"{BLOCK}:out:image", "grid": (4, 4)}
    sae = Sae(
        encoder=encoder, encoder_bias=torch.zeros(SIZE), decoder=encoder, decoder_bias=torch.zeros(width),
        activation=TopK(3), site=Site(**known | site),
    )  # fmt: skip
    save_sae(sae, folder / "pooled", {})
    return folder / "pooled"


def run(store: Store, sae: Path, folder: Path, **more: Any) -> tuple[SMatrix, TokenMaps]:
    image_latents(store, sae, STEP, IDS, folder / "matrix", folder / "maps", top_share=0.25, **more)
    return SMatrix.open(folder / "matrix"), TokenMaps.open(folder / "maps")


def test_matrix_and_maps_are_those_of_brute_force(store: Store, tmp_path: Path) -> None:
    folder = autoencoder(store, tmp_path)
    matrix, maps = run(store, folder, tmp_path)
    index, rows, sae = store.index(Hookpoint.parse(BLOCK)), store.read(Hookpoint.parse(BLOCK)), load_sae(folder)
    for image, id_ in enumerate(IDS):
        mine = ((index["prompt"] == id_) & (index["step"] == STEP)).to_numpy()
        assert index["token"].to_numpy()[mine].tolist() == list(range(16))
        dense = sae.encode(rows[torch.from_numpy(mine)]).dense().numpy()
        np.testing.assert_array_equal(matrix.max[image], dense.max(0))
        np.testing.assert_allclose(matrix.mean[image], dense.mean(0), rtol=1e-6, atol=1e-7)
        # A quarter of 16 tokens is 4.
        np.testing.assert_allclose(matrix.top[image], np.sort(dense, 0)[-4:].mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(maps.maps([image], list(range(SIZE)))[0], dense.T.reshape(SIZE, 4, 4))


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ({"steps": (1,)}, r"steps: \(1,\) and \(2,\)"),
        ({"model": "another"}, "model: another and "),
        ({"resolution": (1024, 1024)}, r"resolution: \(1024, 1024\) and \(32, 32\)"),
        ({"grid": (8, 8)}, r"grid: \(8, 8\) and \(4, 4\)"),
        ({"hookpoint": f"{OTHER}:out:image"}, f"belongs to {OTHER}:out:image, and the store has rows of {BLOCK}"),
    ],
)  # fmt: skip
def test_an_autoencoder_of_other_rows_is_refused_with_the_difference(
    store: Store, tmp_path: Path, site: dict[str, Any], told: str
) -> None:
    folder = autoencoder(store, tmp_path, **site)
    with pytest.raises(UserError, match=told):
        run(store, folder, tmp_path)
    matrix, _ = run(store, folder, tmp_path, allow_mismatch=True)
    assert matrix.max.any() and matrix.source.site.hookpoint == f"{BLOCK}:out:image"


def test_one_that_was_trained_on_all_steps_fits_every_one(store: Store, tmp_path: Path) -> None:
    matrix, _ = run(store, autoencoder(store, tmp_path, steps=(0, 1, 2, 3)), tmp_path)
    assert matrix.source.step == STEP


def test_a_killed_run_goes_on_where_it_was(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = autoencoder(store, tmp_path)
    monkeypatch.setattr(module, "_TOKENS", 16)  # an image at a time

    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        run(store, folder, tmp_path / "killed", progress=kill)
    with pytest.raises(UserError, match="not finished"):
        SMatrix.open(tmp_path / "killed" / "matrix")
    done: list[int] = []
    again = run(store, folder, tmp_path / "killed", progress=lambda here, _: done.append(here))
    assert done == [3, 4]
    whole = run(store, folder, tmp_path / "whole")
    np.testing.assert_array_equal(again[0].max, whole[0].max)
    np.testing.assert_array_equal(again[1].maps(range(4), range(SIZE)), whole[1].maps(range(4), range(SIZE)))


def test_an_image_without_rows_is_named(store: Store, tmp_path: Path) -> None:
    folder = autoencoder(store, tmp_path)
    with pytest.raises(UserError, match=r"for 1 of 5 images \(first: p9"):
        image_latents(store, folder, STEP, [*IDS, "p9"], tmp_path / "m", tmp_path / "t", top_share=0.25)


def test_the_unit_of_strength_is_the_mean_length_of_the_rows(store: Store) -> None:
    rows = store.read(Hookpoint.parse(BLOCK)).double()
    assert mean_norm(store, Hookpoint.parse(BLOCK)) == pytest.approx(float(rows.norm(dim=1).mean()), rel=1e-6)
