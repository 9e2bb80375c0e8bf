"""The prompts of the latents pipeline: concepts by styles by templates, each with a split and a seed of its own."""

from pathlib import Path
from typing import Annotated, Any

from steerkit.dag import Dep, Out, Param
from steerkit.prompts.concept_suite import concept_prompts as make
from steerkit.prompts.concept_suite import parse_suite


def concept_prompts(
    texts: Annotated[Path, Dep()],
    suite: Annotated[dict[str, Any], Param()],
    prompts: Annotated[Path, Out("prompts.parquet")],
) -> None:
    """Fill the templates in `texts` (or read UnlearnCanvas' files there) and split the prompts."""
    make(parse_suite(suite), texts).write_parquet(prompts)
