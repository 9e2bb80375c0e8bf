"""The stage that trains autoencoders: its files, its messages, and going on after a kill."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from steerwright.activations.store.rows import Rows
from steerwright.activations.store.writer import StoreWriter
from steerwright.errors import UserError, UserErrors
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.folder_digest import content_digest
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.formats.registry import import_sae
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.sae.site import Site
from steerwright.sae.training.curves import read_curves
from tasks.shared.train_sae import train_sae

MIDDLE, UP = "unet.mid_block.attentions.0:out", "unet.up_blocks.1.attentions.0:out"
MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
TOPK = {"architecture": "topk", "latents": 32, "k": 3, "learning_rate": 0.01}
SAES: dict[str, Any] = {
    "mid": {"hookpoint": MIDDLE, **TOPK},
    "mid-seed-1": {"hookpoint": MIDDLE, **TOPK, "seed": 1},
    "up": {"hookpoint": UP, "architecture": "batchtopk", "latents": 24, "k": 2},
}
AMOUNTS = {"rows": 3000, "batch_rows": 100, "pool_rows": 800, "checkpoint_rows": 1000, "seed": 0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store of 8 prompts, of which two are for validation, and the table of prompts."""
    folder = tmp_path_factory.mktemp("inputs")
    ids = [f"p{number}" for number in range(8)]
    generator = torch.Generator().manual_seed(0)
    hookpoints = [Hookpoint.parse(MIDDLE), Hookpoint.parse(UP)]
    provenance = {"steps": [0, 3], "branches": ["cond"]}
    with StoreWriter(
        folder / "rows", model=MODEL, dtype="float32", hookpoints=hookpoints, provenance=provenance
    ) as writer:
        rows = []
        for hookpoint, width in zip(hookpoints, (12, 6), strict=True):
            for step in (0, 3):
                values = torch.randn(8, 16, width, generator=generator)
                rows.append(Rows(hookpoint, values, ids, [0] * 8, Step(step, 1.0, 1.0), "cond", (4, 4)))
        writer.write_shard("0-of-1", "0" * 64, ids, rows)
    splits = ["train"] * 6 + ["validation"] * 2
    columns = {"id": ids, "prompt": ["a horse"] * 8, "split": splits, "template": [0] * 8, "seed": list(range(8))}
    pl.DataFrame(columns).with_columns(object=pl.lit("horse")).write_parquet(folder / "prompts.parquet")
    return {"activations": folder / "rows", "prompts": folder / "prompts.parquet", "model": folder / "model.json"}


def run(inputs: dict[str, Path], out: Path, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        **inputs, "collection": {}, "source": "store", "saes": SAES, **AMOUNTS,
        "trained": out / "saes", "quality": out / "quality.parquet", "metrics": out / "metrics.json",
        "curves": out / "curves",
    }  # fmt: skip
    train_sae(**(arguments | changes))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run(inputs, folder)
    return folder


def test_there_is_a_folder_for_each_autoencoder_and_nothing_else(made: Path) -> None:
    assert sorted(path.name for path in (made / "saes").iterdir()) == sorted(SAES)
    sae = load_sae(made / "saes" / "mid")
    assert (sae.size, sae.width) == (32, 12)
    site = sae.site
    assert (site.model, site.hookpoint, site.steps, site.branches) == ("d" * 64, MIDDLE, (0, 3), ("cond",))
    assert site.grid == (4, 4)


def test_quality_and_metrics_agree(made: Path) -> None:
    quality = pl.read_parquet(made / "quality.parquet")
    metrics = json.loads((made / "metrics.json").read_text())
    assert set(metrics) == set(SAES)
    for name, numbers in metrics.items():
        assert set(numbers) == {"fvu", "l0", "dead_share"}
        pooled = quality.filter(sae=name, measure="fvu").filter(pl.col("step").is_null())
        assert numbers["fvu"] == pytest.approx(pooled["value"].item(), rel=1e-5)
        steps = quality.filter(pl.col("step").is_not_null(), sae=name)["step"].to_list()
        assert steps == [0, 3]
    assert 0 < metrics["mid"]["l0"] <= 3


def test_it_is_judged_on_the_validation_prompts(inputs: dict[str, Path], made: Path) -> None:
    """By another route: the store's own rows of these prompts."""
    from steerwright.activations.store.reader import open_store

    store, hookpoint = open_store(inputs["activations"]), Hookpoint.parse(MIDDLE)
    held_out = store.index(hookpoint)["prompt"].is_in(["p6", "p7"]).to_torch()
    rows = store.read(hookpoint)[held_out]
    latents, reconstruction = load_sae(made / "saes" / "mid").reconstruct(rows)
    residual = (rows - reconstruction).var(0, correction=0).sum() / rows.var(0, correction=0).sum()
    metrics = json.loads((made / "metrics.json").read_text())["mid"]
    assert metrics["fvu"] == pytest.approx(float(residual), rel=1e-4)
    assert metrics["l0"] == pytest.approx(float(latents.used.sum(1).float().mean()), rel=1e-4)


def test_curves_are_of_every_autoencoder(made: Path) -> None:
    curves = read_curves(made / "curves")
    assert set(curves["sae"]) == set(SAES)
    assert {"step", "rows", "fvu", "l0", "dead_share"} <= set(curves.columns)
    assert curves.filter(sae="mid")["rows"].to_list() == [100.0 * n for n in range(1, 31)]


def test_equal_inputs_give_equal_bytes_also_after_a_kill(
    inputs: dict[str, Path], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("tasks.shared.train_sae.quality_table", stop)
        with pytest.raises(Killed):
            run(inputs, tmp_path)
    assert (tmp_path / "saes" / ".training" / "all" / "training.safetensors").is_file()
    run(inputs, tmp_path)
    assert files(tmp_path) == files(made)


def test_mistakes_in_the_parameters_are_all_told(inputs: dict[str, Path], tmp_path: Path) -> None:
    wrong = {"mid": {**SAES["mid"], "k": 99}, "up": {**SAES["up"], "latens": 3}, "no": {"latents": 4, "k": 1}}
    with pytest.raises(UserErrors) as caught:
        run(inputs, tmp_path, saes=wrong, rows=0)
    told = "\n".join(caught.value.problems)
    for part in ("latents.sae.rows", "saes.mid: k = 99 exceeds", "saes.up.latens", "saes.no.hookpoint: is missing"):
        assert part in told
    assert len(caught.value.problems) == 4


def test_prompts_without_validation_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    prompts = pl.read_parquet(inputs["prompts"]).with_columns(split=pl.lit("train"))
    prompts.write_parquet(tmp_path / "prompts.parquet")
    with pytest.raises(UserError, match="No prompt is of the split validation; there is train"):
        run(inputs | {"prompts": tmp_path / "prompts.parquet"}, tmp_path)


def test_a_store_must_be_wired_to_be_read(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set source: model"):
        run(inputs, tmp_path, activations=None)


def test_an_imported_autoencoder_is_taken_by_its_digest_and_measured_like_the_others(
    inputs: dict[str, Path], made: Path, tmp_path: Path
) -> None:
    own = {"folder": str(made / "saes" / "mid")}
    with pytest.raises(UserError, match="no digest is written for it; if it is the one") as told:
        run(inputs, tmp_path / "a", saes={"mine": own})
    digest = str(told.value).rpartition("digest: ")[2].split()[0]
    assert digest == content_digest(made / "saes" / "mid")
    own["folder"] = str(shutil.copytree(made / "saes" / "mid", tmp_path / "with a page"))
    Path(own["folder"], "README.md").write_text("what it is")
    run(inputs, tmp_path / "b", saes={"mine": own | {"digest": digest}, "up": SAES["up"]})
    assert sorted(path.name for path in (tmp_path / "b" / "saes").iterdir()) == ["mine", "up"]
    before, after = (json.loads((folder / "metrics.json").read_text()) for folder in (made, tmp_path / "b"))
    assert after["mine"] == before["mid"] and after["up"] == before["up"]
    run(inputs, tmp_path / "c", saes={"mine": own | {"digest": digest}})
    with pytest.raises(UserError, match="it was 000000000000 when it was named"):
        run(inputs, tmp_path / "d", saes={"mine": own | {"digest": "0" * 64}})
    with pytest.raises(UserError, match=f"belongs to {MIDDLE}, and not to unet.elsewhere:out"):
        run(inputs, tmp_path / "e", saes={"mine": own | {"digest": digest, "hookpoint": "unet.elsewhere"}})


def test_what_an_imported_checkpoint_does_not_say_of_its_rows_is_stated_beside_its_folder(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    """A checkpoint of seed 004 carries its step; model and resolution it does not."""
    generator = torch.Generator().manual_seed(0)
    state = {
        "pre_bias": torch.zeros(12), "encoder.weight": torch.randn(24, 12, generator=generator),
        "encoder.bias": torch.zeros(24), "decoder.weight": torch.randn(12, 24, generator=generator),
    }  # fmt: skip
    for step in (3, 9):
        config = {"use_topk": True, "topk_k": 3, "normalize_data": False, "timestep": step}
        torch.save({"model_state_dict": state, "config": config}, tmp_path / f"{step}.pt")
        import_sae(tmp_path / f"{step}.pt", tmp_path / str(step))
    entry = {"folder": str(tmp_path / "3"), "digest": content_digest(tmp_path / "3")}
    with pytest.raises(UserError, match="import it with --hookpoint, or write its hookpoint beside its folder"):
        run(inputs, tmp_path / "a", saes={"theirs": entry})
    with pytest.raises(UserError) as refused:
        run(inputs, tmp_path / "b", saes={"theirs": entry | {"hookpoint": MIDDLE}})
    told = str(refused.value)
    assert f"model: not known and {'d' * 64}" in told and "resolution: not known and a grid of (4, 4)" in told
    assert "steps:" not in told and "--model, --resolution, or model:, resolution: beside its folder" in told
    stated = {"hookpoint": MIDDLE, "model": "toy", "resolution": [32, 32]}
    run(inputs, tmp_path / "c", saes={"theirs": entry | stated})
    assert load_sae(tmp_path / "c" / "saes" / "theirs").site == Site(
        model="d" * 64, hookpoint=MIDDLE, steps=(3,), branches=("cond",), resolution=(32, 32), unknown=()
    )
    with pytest.raises(UserError, match=f"model: other and {'d' * 64}"):
        run(inputs, tmp_path / "d", saes={"theirs": entry | stated | {"model": "other"}})
    nine = entry | stated | {"folder": str(tmp_path / "9"), "digest": content_digest(tmp_path / "9")}
    with pytest.raises(UserError, match=r"steps: \(9,\) and \(0, 3\)"):
        run(inputs, tmp_path / "e", saes={"theirs": nine})
    run(inputs, tmp_path / "f", saes={"theirs": nine | {"allow_mismatch": True}})
    with pytest.raises(UserError, match=r"belongs to steps \(3,\), and not to steps \(0,\)"):
        run(inputs, tmp_path / "g", saes={"theirs": entry | stated | {"steps": [0]}})
    with pytest.raises(UserErrors, match=r"saes\.theirs\.sites"):
        run(inputs, tmp_path / "h", saes={"theirs": entry | {"sites": 1}})


def test_an_autoencoder_of_another_width_is_a_users_error(inputs: dict[str, Path], made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "narrow"
    save_sae(replace(load_sae(made / "saes" / "up"), site=Site(model="d" * 64, hookpoint=MIDDLE)), folder)
    with pytest.raises(UserError, match="for rows of 6 numbers, but these have 12"):
        run(inputs, tmp_path, saes={"mine": {"folder": str(folder), "digest": content_digest(folder)}})
