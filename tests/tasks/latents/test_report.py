"""The tasks that make the cards and the page, one after the other, on a small run of the embedded model."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

from steerwright.concepts.scores import ConceptMoments, moment_scores, save_concept_moments
from steerwright.files import save_picture
from steerwright.images import picture_path
from steerwright.models.generate import generate
from steerwright.models.load import load_model
from steerwright.models.select import read_model
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae
from steerwright.sae.site import Site
from steerwright.sae.training.curves import Curves
from tasks.latents.cards import latent_cards
from tasks.latents.report import write_latents_report
from tasks.latents.scores import evaluate_latents
from tasks.shared.fingerprint import fingerprint_model

pytestmark = pytest.mark.slow
SCORERS = {"clip": "models/seasons-clip", "labels": "models/seasons-labels", "lpips": "models/seasons-lpips"}
STEPS, SIZE = 3, 24
CONCEPTS = ("season:winter", "season:summer", "object:car", "object:cat")
SCORES = {"fid": "models/seasons-lpips", "artifact_quantile": 0.95, "resamples": 50, "bootstrap_seed": 1}


def start(folder: Path) -> None:
    """Model, prompts, autoencoder, means of concepts, choice and pictures: what the stages before leave."""
    inspect.unwrap(fingerprint_model)(
        "seasons-sd", {"seasons-sd": {"source": "models/seasons-sd", "steps": STEPS, "guidance": 4.0}},
        Path("models/seasons-sd"), folder / "model.json",
    )  # fmt: skip
    asked = [(season, thing) for season in ("winter", "summer") for thing in ("car", "cat")] * 2
    prompts = pl.DataFrame({
        "id": [f"test-{n}" for n in range(8)], "prompt": [f"a {thing} in {season}, {n}" for n, (season, thing) in
        enumerate(asked)], "split": "test", "template": 0, "seed": range(8), "season": [s for s, _ in asked],
        "object": [thing for _, thing in asked],
    })  # fmt: skip
    prompts.write_parquet(folder / "prompts.parquet")
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(SIZE, 128, generator=generator)
    sae = Sae(weights, torch.zeros(SIZE), weights, torch.zeros(128), TopK(4),
              site=Site(hookpoint="unet.mid_block.attentions.0:out", grid=(4, 4)))  # fmt: skip
    save_sae(sae, folder / "saes" / "mid", {"config": {"architecture": "topk", "k": 4}, "rows": 1000})
    moments = ConceptMoments.empty(CONCEPTS, tuple(range(STEPS)), SIZE)
    for place in range(len(CONCEPTS)):
        means = torch.rand(10, STEPS + 1, SIZE, generator=generator) + (torch.arange(SIZE) % 4 == place)
        moments.add(torch.full((10,), place), means, torch.ones(10, STEPS + 1, dtype=torch.bool))
    (folder / "moments").mkdir()
    save_concept_moments(moments, folder / "moments" / "mid.safetensors")
    pl.DataFrame([
        {"sae": "mid", "concept": concept, "step": step, "latent": latent, "cohens_d": float(d), "auroc": 0.9,
         "share_difference": 0.1, "stability": 1.0, "density": 0.02, "keep": 16}
        for concept in CONCEPTS for step in (None, *range(STEPS))
        for latent, d in enumerate(moment_scores(moments, concept, step, "cohens_d"))
    ], infer_schema_length=None).write_parquet(folder / "concepts.parquet")  # fmt: skip
    point = {"recipe": {"places": ["mid"], "change": "set"}, "strength": 1.0, "reached": True}
    (folder / "chosen.json").write_text(json.dumps({"season:winter": {"steered": point}}))
    pl.DataFrame([{"target": "season:winter", "method": "steered", "strength": 1.0, "wanted": 1.0, "kept": 0.9,
                   "recipe": "{}", "chosen": True}]).write_parquet(folder / "trials.parquet")  # fmt: skip
    pl.DataFrame([{"sae": "mid", "measure": "fvu", "step": step, "low": None, "high": None, "value": 0.1}
                  for step in (None, 0, 1, 2)], schema_overrides={"low": pl.Float64, "high": pl.Float64}
                 ).write_parquet(folder / "quality.parquet")  # fmt: skip
    curves = Curves()
    for step in range(1, 5):
        curves.add("mid", step, {"fvu": 1 / step, "l0": 4.0, "dead_share": 0.0})
    curves.write(folder / "curves")
    spec, identity = read_model(folder / "model.json")
    texts, seeds = prompts["prompt"].to_list(), prompts["seed"].to_list()
    pixels = generate(load_model(spec, identity.digest), texts, seeds)
    rows: list[dict[str, Any]] = []
    for target, method in ((None, "unsteered"), ("season:winter", "steered")):
        for number, image in enumerate(pixels):
            path = picture_path(method, number, number)
            save_picture(image if target is None else image[::-1], folder / "pictures" / path)
            rows.append({"target": target, "method": method, "strength": 0.0 if target is None else 1.0,
                         "operating": True, "prompt_id": f"test-{number}", "prompt": texts[number], "seed": number,
                         "path": path})  # fmt: skip
    pl.DataFrame(rows, schema_overrides={"target": pl.String}).write_parquet(folder / "shots.parquet")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    start(folder)
    files = {name: folder / f"{name}.parquet" for name in ("prompts", "shots", "concepts", "quality", "trials")}
    inspect.unwrap(latent_cards)(
        folder / "model.json", files["shots"], folder / "saes", files["concepts"], folder / "chosen.json",
        latents=2, top=3, prompts=8, cards=folder / "cards.parquet", maps=folder / "maps.safetensors",
    )  # fmt: skip
    inspect.unwrap(evaluate_latents)(
        files["prompts"], files["shots"], folder / "pictures", [], scorers=SCORERS, axes=["season", "object"], **SCORES,
        images=folder / "images.parquet", rates=folder / "rates.parquet", sequential=folder / "sequential.parquet",
        comparisons=folder / "comparisons.json", metrics=folder / "metrics.json",
    )  # fmt: skip
    inspect.unwrap(write_latents_report)(
        folder / "model.json", files["prompts"], folder / "saes", files["quality"], folder / "curves",
        files["concepts"], folder / "moments", files["trials"], folder / "chosen.json", files["shots"],
        folder / "pictures", folder / "images.parquet", folder / "rates.parquet", folder / "sequential.parquet",
        folder / "comparisons.json", folder / "cards.parquet", folder / "maps.safetensors",
        params={"concepts": {"axes": ["season", "object"]}, "sae": {"batch_rows": 256}, "scores": SCORES},
        scorers=SCORERS, report=folder / "report",
    )  # fmt: skip
    return folder


def test_cards_hold_the_best_latents_and_the_pictures_on_which_they_are_most_active(done: Path) -> None:
    cards = pl.read_parquet(done / "cards.parquet")
    best = pl.read_parquet(done / "concepts.parquet").filter(pl.col("step").is_null(), concept="season:winter")
    expected = best.sort("cohens_d", descending=True)["latent"].head(2).to_list()
    assert cards["latent"].unique(maintain_order=True).to_list() == expected
    with safe_open(str(done / "maps.safetensors"), framework="np") as file:
        assert json.loads(file.metadata()["steps"]) == {"mid": [0, 1, 2]}
        for row in cards.drop_nulls("rank").iter_rows(named=True):
            values = file.get_tensor(f"mid/{row['latent']}/{row['rank']}")
            assert values.shape == (STEPS, 4, 4)
            assert values.astype(np.float64).mean() == pytest.approx(row["activation"], rel=1e-3)


def test_the_page_is_written_with_cards_and_scores(done: Path) -> None:
    page = (done / "report" / "report.html").read_text()
    for name in ("done", "rates", "pictures", "autoencoders", "concepts", "latents", "points", "answers"):
        assert f'id="{name}"' in page, name
    assert "unet.mid_block.attentions.0:out" in page and "1\u202f000 rows of activations" in page
    for latent in pl.read_parquet(done / "cards.parquet")["latent"].unique().to_list():
        assert f'id="latent-mid-{latent}"' in page
    training = pl.read_csv(done / "report" / "training.csv")
    assert training["rows"].to_list() == [256, 512, 768, 1024]
