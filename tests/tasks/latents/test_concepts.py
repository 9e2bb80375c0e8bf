"""The task, on real files."""

import inspect
import json
from pathlib import Path

import polars as pl
import pytest
import torch

from steerwright.activations.store.rows import Rows
from steerwright.activations.store.writer import StoreWriter
from steerwright.concepts.scores import load_concept_moments
from steerwright.concepts.select_latents import select_latents
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae
from steerwright.sae.site import Site
from tasks.latents.concepts import map_concepts

MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
PLACES = {"mid": Hookpoint.parse("unet.mid_block:out"), "up": Hookpoint.parse("unet.up_blocks.1:out")}


def run(folder: Path) -> dict[str, Path]:
    """Forty prompts, cats and horses, two hookpoints; latent 2 says cat at both. Test prompts would spoil it."""
    split = ["train"] * 24 + ["validation"] * 8 + ["test"] * 8
    prompts = pl.DataFrame(
        {
            "id": [str(n) for n in range(40)], "prompt": [f"prompt {n}" for n in range(40)], "split": split,
            "template": 0, "seed": range(40), "object": [["cat", "horse"][n % 2] for n in range(40)],
        }
    )  # fmt: skip
    prompts.write_parquet(folder / "prompts.parquet")
    generator = torch.Generator().manual_seed(0)
    with StoreWriter(
        folder / "rows", model=MODEL, dtype="float16", hookpoints=list(PLACES.values()), provenance={}
    ) as store:
        rows = []
        for index in range(2):
            for hookpoint in PLACES.values():
                values = torch.rand(40, 4, 6, generator=generator)
                values[:, :, 2] = 2.0 * torch.tensor([n % 2 == (n >= 32) for n in range(40)])[:, None]
                step = Step(index, float(index), 1.0)
                rows.append(Rows(hookpoint, values.half(), list(prompts["id"]), range(40), step, "cond", (2, 2)))
        store.write_shard("0-of-1", "k" * 64, list(prompts["id"]), rows)
    for name, hookpoint in PLACES.items():
        site = Site(model=MODEL.digest, hookpoint=str(hookpoint), grid=(2, 2))
        sae = Sae(torch.eye(6), torch.zeros(6), torch.eye(6), torch.zeros(6), TopK(3), site=site)
        save_sae(sae, folder / "saes" / name)
    (folder / "saes" / ".training").mkdir()  # what the trainer may leave beside them
    outs = {name: folder / "out" / name for name in ("concepts", "moments", "probe", "metrics")}
    (folder / "out").mkdir()
    inspect.unwrap(map_concepts)(
        folder / "prompts.parquet", folder / "rows", folder / "saes", axes=["object"], branch="cond", keep=2,
        permutations=1000, halvings=5, seed=0, **outs,
    )  # fmt: skip
    return outs


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run(tmp_path_factory.mktemp("map"))


def test_every_autoencoder_has_its_rows_and_its_moments(outs: dict[str, Path]) -> None:
    table = pl.read_parquet(outs["concepts"])
    assert table.columns == [
        "sae", "concept", "step", "latent", "mean", "mean_others", "share_difference", "auroc", "cohens_d", "p_value",
        "q_value", "stability", "density", "keep",
    ]  # fmt: skip
    assert sorted(path.name for path in outs["moments"].iterdir()) == ["mid.safetensors", "up.safetensors"]
    for name, hookpoint in PLACES.items():
        mine = table.filter(sae=name)
        moments = load_concept_moments(outs["moments"] / f"{name}.safetensors")
        assert moments.facts["hookpoint"] == str(hookpoint) and moments.facts["timesteps"] == [0.0, 1.0]
        assert moments.count[:, -1].tolist() == [12, 12]
        for step in (0, 1, None):
            assert select_latents(mine, "object:cat", step, "auroc", top=1) == [2]
            assert select_latents(moments, "object:cat", step, top=1) == [2]


def test_a_folder_without_autoencoders_is_said(outs: dict[str, Path], tmp_path: Path) -> None:
    folder = outs["concepts"].parents[1]
    with pytest.raises(UserError, match="holds no autoencoder"):
        inspect.unwrap(map_concepts)(
            folder / "prompts.parquet", folder / "rows", tmp_path, axes=["object"], branch="cond", keep=2,
            permutations=10, halvings=5, seed=0, **{name: tmp_path / name for name in outs},
        )  # fmt: skip


def test_metrics_say_how_well_single_latents_do(outs: dict[str, Path]) -> None:
    metrics = json.loads(outs["metrics"].read_text())
    assert list(metrics) == ["mid", "up"]
    assert metrics["mid"]["best_auroc"]["object:cat"] == 1.0
    assert metrics["mid"]["significant"] >= 0.5
    probe = pl.read_parquet(outs["probe"])
    cat = probe.filter(sae="up", concept="object:cat").row(0, named=True)
    assert (cat["latent"], cat["latent_auroc"], cat["probe_auroc"]) == (2, 1.0, 1.0)
    assert metrics["up"]["validation"]["probe_auroc"] == round(probe.filter(sae="up")["probe_auroc"].mean(), 4)  # type: ignore[arg-type]
