"""Training from the model while it generates: the rows that a store would hold, the same after a resume."""

from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.shard_plan import CollectedPrompt, Collection, plan_collection
from steerwright.activations.store.reader import open_store
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.loop import Planned, train_saes
from steerwright.sae.training.stream import ModelStream

MIDDLE, UP = Hookpoint.parse("unet.mid_block.attentions.0"), Hookpoint.parse("unet.up_blocks.1.attentions.0")
PROMPTS = [CollectedPrompt(id=f"p{n}", prompt="a cat", split="train", seed=n) for n in range(6)]
COLLECTION = Collection(hookpoints=(str(MIDDLE), str(UP)), branches=("cond",), steps=(0, 1), batch_size=2)


def stream(model: LoadedModel, **options: Any) -> ModelStream:
    return ModelStream(model, PROMPTS, COLLECTION, **{"batch_rows": 5, "pool_rows": 64, "seed": 3, **options})


def test_an_epoch_is_what_a_store_holds(sd21: LoadedModel, tmp_path: Path) -> None:
    jobs = plan_collection(sd21, PROMPTS, COLLECTION.model_copy(update={"prompts_per_shard": 2}), tmp_path)
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    kept = open_store(tmp_path).read(MIDDLE)
    made = stream(sd21, epochs=1, batch_rows=10**6)
    batch = made.next()[MIDDLE]
    made.close()

    def in_order(rows: torch.Tensor) -> torch.Tensor:
        return rows[rows[:, 0].argsort()]

    assert batch.rows.shape == kept.shape
    # The prompts of a batch are others, which may change the last bits.
    torch.testing.assert_close(in_order(batch.rows), in_order(kept), atol=1e-5, rtol=1e-4)


def test_a_cursor_goes_on_where_it_was_taken(sd21: LoadedModel) -> None:
    whole = stream(sd21)
    for _ in range(3):
        whole.next()
    cursor = whole.cursor()
    expected = [whole.next() for _ in range(4)]
    whole.close()
    resumed = stream(sd21)
    resumed.seek(cursor)
    for batches in expected:
        found = resumed.next()
        for hookpoint in (MIDDLE, UP):
            assert torch.equal(batches[hookpoint].rows, found[hookpoint].rows)
            assert torch.equal(batches[hookpoint].step, found[hookpoint].step)
    resumed.close()


def test_a_cursor_of_another_stream_is_refused(sd21: LoadedModel) -> None:
    cursor = stream(sd21).cursor()
    with pytest.raises(ValueError, match="another model, collection, seed or pool size"):
        stream(sd21, seed=4).seek(cursor)


def test_an_impossible_collection_is_refused_before_anything_runs(sd21: LoadedModel) -> None:
    with pytest.raises(UserError, match="There is no denoising step 99"):
        ModelStream(sd21, PROMPTS, COLLECTION.model_copy(update={"steps": (99,)}), batch_rows=5, pool_rows=64)


def test_training_from_the_model_survives_an_interruption(sd21: LoadedModel, tmp_path: Path) -> None:
    planned = {
        "mid": Planned(MIDDLE, sae_config(architecture="topk", latents=16, k=2)),
        "up": Planned(UP, sae_config(architecture="topk", latents=16, k=2)),
    }

    class Ended(Exception):
        pass

    def run(work: str, kill_after: int | None = None) -> dict[str, Any]:
        def progress(done: int, total: int) -> None:
            if kill_after is not None and done >= kill_after:
                raise Ended

        made = stream(sd21)
        try:
            return train_saes(
                made, planned, tmp_path / work, rows=30, batch_rows=5, checkpoint_rows=10, progress=progress
            ).saes
        finally:
            made.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steerwright.sae.training.loop.START_ROWS", 20)
        whole = run("whole")
        with pytest.raises(Ended):
            run("killed", kill_after=25)
        resumed = run("killed")
    for name in planned:
        assert torch.equal(whole[name].encoder, resumed[name].encoder)
        assert torch.equal(whole[name].decoder_bias, resumed[name].decoder_bias)
