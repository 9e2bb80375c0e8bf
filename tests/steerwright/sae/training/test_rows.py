"""Rows of a model as a source: training and validation prompts stay apart, unused hookpoints are not recorded."""

import torch

from steerwright.activations.shard_plan import CollectedPrompt, Collection
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.sae.training.config import TrainingAmounts
from steerwright.sae.training.rows import ModelSource

MIDDLE, UP = Hookpoint.parse("unet.mid_block.attentions.0"), Hookpoint.parse("unet.up_blocks.1.attentions.0")
PROMPTS = [
    CollectedPrompt(id=f"p{number}", prompt="a cat", split="validation" if number == 4 else "train", seed=number)
    for number in range(5)
]
AMOUNTS = TrainingAmounts(rows=20, batch_rows=4, pool_rows=32, checkpoint_rows=10, seed=0)


def test_the_model_gives_training_rows_without_end_and_validation_rows_once(sd21: LoadedModel) -> None:
    collection = Collection(hookpoints=(str(MIDDLE), str(UP)), steps=(1,), batch_size=2)
    source = ModelSource(sd21, PROMPTS, collection, torch.device("cpu"))
    assert source.hookpoints == [MIDDLE, UP]
    stream = source.stream([MIDDLE], AMOUNTS)
    batches = [stream.next() for _ in range(5)]
    stream.close()
    assert all(set(batch) == {MIDDLE} and len(batch[MIDDLE]) == 4 for batch in batches)
    assert all(set(batch[MIDDLE].step.tolist()) == {1} for batch in batches)
    held_out = source.held_out(MIDDLE, AMOUNTS)
    tokens = 1  # the middle block of a latent of 8 x 8 after three halvings
    assert sum(map(len, held_out)) == tokens
    assert source.held_out(MIDDLE, AMOUNTS) is held_out  # generated once for all autoencoders
    training = torch.cat([batch[MIDDLE].rows for batch in batches])
    distances = torch.cdist(held_out[0].rows, training)
    assert float(distances.min()) > 1e-3
    site = source.site(MIDDLE)
    assert (site.model, site.steps, site.branches) == (sd21.fingerprint.digest, (1,), ("cond",))


def test_rows_of_one_step_come_alone_and_the_site_says_so(sd21: LoadedModel) -> None:
    collection = Collection(hookpoints=(str(MIDDLE),), batch_size=2)
    source = ModelSource(sd21, PROMPTS, collection, torch.device("cpu"))
    stream = source.stream([MIDDLE], AMOUNTS, (0,))
    assert set(stream.next()[MIDDLE].step.tolist()) == {0}
    stream.close()
    assert {step for batch in source.held_out(MIDDLE, AMOUNTS, (0,)) for step in batch.step.tolist()} == {0}
    assert len({step for batch in source.held_out(MIDDLE, AMOUNTS) for step in batch.step.tolist()}) > 1
    assert source.site(MIDDLE, (0,)).steps == (0,) and source.site(MIDDLE).steps is None
