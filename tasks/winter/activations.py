"""What the model computes on both sides of the contrast pairs."""

import json
from pathlib import Path
from typing import Annotated

from steerwright.activations.collect import collect_text
from steerwright.activations.text_encoder import Engine
from steerwright.dag import Dep, Out, Param, code_digest, previous_output, progress
from steerwright.models.hookpoints import text_encoder_mlps
from steerwright.models.load import load_model
from steerwright.models.select import read_model


def collect_activations(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    engine: Annotated[Engine, Param()],
    shards: Annotated[int, Param()],
    activations: Annotated[Path, Out("activations", resume=True)],
) -> None:
    """Record the output of every text-encoder MLP for the positive and negative prompts."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    prompts = {}
    for pair in json.loads(pairs.read_text()):
        # Both sides of a pair share a shard, since the shard is chosen by a hash of the id up to the colon.
        prompts[f"{pair['id']}:positive"] = pair["positive"]
        prompts[f"{pair['id']}:negative"] = pair["negative"]
    collect_text(
        loaded,
        prompts,
        text_encoder_mlps(loaded.pipeline),
        activations,
        shards=shards,
        engine=engine,
        earlier=previous_output("activations"),
        code=code_digest(),
        progress=lambda done, total: progress(done, total, "shards"),
    )
