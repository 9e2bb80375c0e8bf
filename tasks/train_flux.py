"""The seasons world's FLUX pipeline."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Dep, Out, Param
from steerkit.world.assemble_flux import assemble_flux
from steerkit.world.train_flux import train_flux as train


def train_flux(
    tokenizer: Annotated[Path, Dep()],
    vae: Annotated[Path, Dep()],
    text_encoder: Annotated[Path, Dep()],
    sequence_encoder: Annotated[Path, Dep()],
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    decay: Annotated[int, Param()],
    guidance_steps: Annotated[int, Param()],
    pipeline: Annotated[Path, Out("seasons-flux", cache=False, resume=True)],
) -> None:
    """Train the flow transformer and put the FluxPipeline folder together."""
    work = pipeline / ".work"
    train(
        vae, text_encoder, sequence_encoder, tokenizer, work / "transformer", work, scenes, steps, decay,
        guidance_steps,
    )  # fmt: skip
    assemble_flux(vae, text_encoder, sequence_encoder, tokenizer, work / "transformer", pipeline)
    shutil.rmtree(work)
