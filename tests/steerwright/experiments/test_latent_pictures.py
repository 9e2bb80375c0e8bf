"""The stages that choose how concepts are erased and draw it, on a tiny pipeline with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from steerwright.activations.record import record
from steerwright.concepts.scores import ConceptMoments, save_concept_moments
from steerwright.experiments.draw import survey
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae
from steerwright.sae.site import Site
from steerwright.scoring.erasure_samples import read_shots, timings
from steerwright.scoring.unlearning import check_pictures
from steerwright.steering.latents.edits import presence_gate
from steerwright.steering.latents.erasure import load_places
from steerwright.steering.latents.gates import image_means
from tasks.latents.images import latent_images
from tasks.latents.search import search_latents

ROOT = Path(__file__).parents[3]
MID = Hookpoint("unet.mid_block.attentions.0")
CLIP = str(ROOT / "models" / "seasons-clip")
SPLITS = {"tuning": 0, "test": 1}
SET = {"places": ["mid"], "top": 6, "gate": 0.5, "gate_top": 6}
METHODS: dict[str, Any] = {
    "steered": {"season": [{**SET, "strengths": [0.5, 4.0]}]},
    "ablation": {"season": [{"places": ["mid"], "change": "scale", "factor": 0.0, "top": 6}]},
    "saeuron": [{"places": ["mid"], "change": "scale_by_mean", "factor": -3.0, "top": 2, "own_only": True,
                 "rank": "share_difference", "branch": "both", "compat": "saeuron"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(sd21: Any, sd21_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Prompts, an autoencoder with random weights at the middle block, and its concepts' means in real pictures."""
    folder = tmp_path_factory.mktemp("inputs")
    spec = sd21.spec.model_copy(update={"source": str(sd21_folder)})
    fingerprint = sd21.fingerprint.model_dump()
    (folder / "model.json").write_text(json.dumps({"spec": spec.model_dump(), "fingerprint": fingerprint}))
    rows: list[dict[str, Any]] = [
        {"id": f"{split}-{season}-{name}", "prompt": f"{name} {season} {split}", "split": split, "template": 0,
         "seed": 10 * number + place, "object": name, "season": season}
        for split, place in SPLITS.items()
        for number, (season, name) in enumerate((s, o) for s in ("winter", "summer") for o in ("cat", "boat"))
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(folder / "prompts.parquet")
    width = sd21.pipeline.unet.mid_block.attentions[0].config.in_channels
    decoder = torch.nn.functional.normalize(torch.randn(64, width, generator=torch.Generator().manual_seed(1)), dim=1)
    sae = Sae(decoder.clone(), torch.zeros(64), decoder, torch.zeros(width), TopK(16), site=Site(hookpoint=str(MID)))
    save_sae(sae, folder / "saes" / "mid")
    moments = ConceptMoments.empty(("season:summer", "season:winter"), (0, 1, 2), 64)
    for row in rows:
        with record(sd21.pipeline, [MID]) as recording:
            generate(sd21, [row["prompt"]], [row["seed"]])
        means = torch.stack([image_means(sae, t.flatten(2).transpose(1, 2)[1:])[0] for t in recording[MID][:3]])
        means = torch.cat([means, means.mean(0, keepdim=True)])[None]
        number = torch.tensor([int(row["season"] == "winter")])
        moments.add(number, means, torch.ones(1, 4, dtype=torch.bool))
    (folder / "moments").mkdir()
    save_concept_moments(moments, folder / "moments" / "mid.safetensors")
    names = {"model": "model.json", "prompts": "prompts.parquet", "saes": "saes", "moments": "moments"}
    return {key: folder / name for key, name in names.items()}


def search(inputs: dict[str, Path], out: Path, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        **inputs, "judges": inputs["saes"], "clip": CLIP, "axes": ["object", "season"], "targets": ["season"],
        "methods": METHODS, "named": 2, "others": 2, "goal": 2.0, "floor": 0.0,
        "work": out / "tried", "trials": out / "trials.parquet", "chosen": out / "chosen.json",
        "metrics": out / "metrics.json",
    }  # fmt: skip
    search_latents(**(given | changes))
    found: dict[str, Any] = json.loads((out / "chosen.json").read_text())
    return found


def images(inputs: dict[str, Path], out: Path, chosen: Path, **changes: Any) -> pl.DataFrame:
    given: dict[str, Any] = {
        **inputs, "chosen": chosen, "seeds": [0], "random_seed": 5, "timed": 1,
        "methods": {"steered": None, "ablation": 2, "saeuron": 2, "random": 2},
        "sequences": [["season:winter", "season:summer"]], "pictures": out / "pictures", "notes": out / "notes",
        "shots": out / "shots.parquet", "seconds": out / "seconds.json",
    }  # fmt: skip
    latent_images(**(given | changes))
    return read_shots(out / "shots.parquet")


@pytest.fixture(scope="module")
def searched(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    search(inputs, folder)
    return folder


@pytest.fixture(scope="module")
def made(inputs: dict[str, Path], searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    images(inputs, folder, searched / "chosen.json")
    return folder


def pixels(made: Path, path: str) -> np.ndarray:
    return np.asarray(Image.open(made / "pictures" / path))


def test_every_target_has_a_choice_for_every_method_and_a_table_of_what_was_tried(searched: Path) -> None:
    chosen = json.loads((searched / "chosen.json").read_text())
    assert set(chosen) == {"season:winter", "season:summer"}
    assert all(set(methods) == {"steered", "ablation", "saeuron"} for methods in chosen.values())
    trials = pl.read_parquet(searched / "trials.parquet")
    # A goal that nothing reaches: both strengths are tried; methods with one recipe have nothing to try.
    assert trials.group_by("target", "method").len().sort("target")["len"].to_list() == [2, 2]
    for row in trials.filter("chosen").iter_rows(named=True):
        steered = chosen[row["target"]]["steered"]
        assert (steered["strength"], steered["wanted"]) == (row["strength"], row["wanted"])
        assert not steered["reached"]


def test_the_least_edit_that_reaches_the_goal_ends_the_search(inputs: dict[str, Path], tmp_path: Path) -> None:
    chosen = search(inputs, tmp_path, goal=0.0)
    assert [chosen[target]["steered"]["strength"] for target in chosen] == [0.5, 0.5]
    assert pl.read_parquet(tmp_path / "trials.parquet").height == 2


def test_a_search_goes_on_where_it_was_cut_short(
    inputs: dict[str, Path], searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(searched / "tried", tmp_path / "tried")
    monkeypatch.setattr("steerwright.experiments.draw.generate", None)  # whoever draws fails
    search(inputs, tmp_path)
    assert (tmp_path / "chosen.json").read_bytes() == (searched / "chosen.json").read_bytes()
    assert (tmp_path / "trials.parquet").read_bytes() == (searched / "trials.parquet").read_bytes()


def test_each_method_has_pictures_of_the_same_prompts_and_seeds(made: Path) -> None:
    shots = read_shots(made / "shots.parquet")
    check_pictures(shots)
    counts = shots.group_by("target", "method").len().sort("target", "method").rows()
    single = [("ablation", 2), ("random", 2), ("saeuron", 2), ("steered", 4)]
    assert counts == [
        (None, "unsteered", 4),
        *(("season:summer", *row) for row in single),
        *(("season:winter", *row) for row in single),
        ("season:winter + season:summer", "steered", 4),
    ]
    assert all((made / "pictures" / path).is_file() for path in shots["path"])
    measured = timings(shots)
    assert measured is not None
    assert set(measured["method"]) == {"unsteered", "steered", "ablation", "saeuron", "random"}
    assert (measured["seconds_per_picture"] > 0).all()


def test_a_steered_picture_is_the_unsteered_one_exactly_where_its_gate_never_holds(
    sd21: Any, inputs: dict[str, Path], made: Path
) -> None:
    places = load_places(inputs["saes"], inputs["moments"])
    shots = read_shots(made / "shots.parquet").filter(target="season:winter", method="steered")
    for row in shots.iter_rows(named=True):
        with record(sd21.pipeline, [MID]) as recording:
            plain = generate(sd21, [row["prompt"]], [row["seed"]])[0]
        held = []
        for seen in recording.captures(MID):
            assert seen.step is not None
            gate = presence_gate(places["mid"], "season:winter", seen.step.index, top=6, threshold=0.5)
            held.append(gate.presence(seen.tensor.flatten(2).transpose(1, 2)[1:]).item() > 0.5)
        assert row["path"].startswith("unsteered/") == (not any(held))
        if not any(held):
            assert np.abs(pixels(made, row["path"]).astype(int) - plain).max() <= 1


def test_pictures_that_are_there_are_not_drawn_again(
    inputs: dict[str, Path], searched: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerwright.experiments.draw.generate", None)
    before = (made / "shots.parquet").read_bytes()
    images(inputs, made, searched / "chosen.json", timed=0)
    after = pl.read_parquet(made / "shots.parquet").drop("seconds_per_picture")
    assert after.equals(pl.read_parquet(before).drop("seconds_per_picture"))


def test_no_hook_is_left(sd21: Any, made: Path) -> None:
    assert not any(module._forward_hooks for module in sd21.pipeline.unet.modules())
    with survey(sd21, {}):
        pass
