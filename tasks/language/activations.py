"""What the language model computes on both sides of every contrast pair."""

import json
import logging
from pathlib import Path
from typing import Annotated

from steerwright.activations.residuals import collect_residuals as collect
from steerwright.activations.text_encoder import Engine
from steerwright.dag import Dep, Out, Param, code_digest, previous_output, progress
from steerwright.models.language.encode import Padding
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import read_language_model
from steerwright.vectors.language import Contrast, contrast_texts, role_of, unread

log = logging.getLogger(__name__)


def collect_residuals(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    engine: Annotated[Engine, Param()],
    contrast: Annotated[Contrast, Param()],
    padding: Annotated[Padding, Param()],
    batch_size: Annotated[int, Param()],
    shards: Annotated[int, Param()],
    activations: Annotated[Path, Out("activations", resume=True)],
) -> None:
    """Record the residual stream after every block for the positive and negative side of all contrast pairs."""
    spec, identity = read_language_model(model)
    loaded = load_language_model(spec, identity.digest)
    content = json.loads(pairs.read_text())
    texts = contrast_texts(content, contrast)
    if found := unread(content, contrast):
        log.warning(found)
    collect(
        loaded,
        texts,
        activations,
        shards=shards,
        engine=engine,
        role=role_of(contrast),
        padding=padding,
        batch_size=batch_size,
        earlier=previous_output("activations"),
        code=code_digest(),
        progress=lambda done, total: progress(done, total, "shards"),
    )
