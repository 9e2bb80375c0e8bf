"""What attention layers give on both sides of the contrast pairs, at every denoising step."""

import json
from pathlib import Path
from typing import Annotated, Literal

from steerwright.activations.attention import collect_attention as collect
from steerwright.dag import Dep, Out, Param, code_digest, previous_output, progress
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.load import load_model
from steerwright.models.select import read_model
from steerwright.prompts.suite import ContrastPair


def collect_attention(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    attention: Annotated[list[Attention], Param()],
    branches: Annotated[list[Literal["cond", "uncond"]], Param()],
    keep: Annotated[Literal["moments", "rows"], Param()],
    seeds: Annotated[list[int], Param()],
    shuffles: Annotated[int, Param()],
    shards: Annotated[int, Param()],
    activations: Annotated[Path, Out("activations", resume=True)],
) -> None:
    """Make both images of every pair, up to the decoder, and keep sums (or rows) of what attention layers give."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    concepts = json.loads(prompts.read_text())["concepts"]
    done, total = 0, len(concepts) * shards
    earlier = previous_output("activations")
    for name, content in concepts.items():
        collect(
            loaded,
            [ContrastPair(**pair) for pair in content["pairs"]],
            attention_blocks(loaded.pipeline, attention),
            activations / name,
            keep=keep,
            branches=branches,
            seeds=seeds,
            shuffles=shuffles,
            shards=shards,
            earlier={path.removeprefix(f"{name}/"): file for path, file in earlier.items()
                     if path.startswith(f"{name}/")},
            code=code_digest(),
            progress=lambda here, _, done=done: progress(done + here, total, "shards"),  # type: ignore[misc]
        )  # fmt: skip
        done += shards
