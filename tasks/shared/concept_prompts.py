"""The prompts of the latents and flux pipelines: concepts by styles by templates, each with a split and a seed."""

from pathlib import Path
from typing import Annotated, Any

from steerwright.dag import Dep, Out, Param
from steerwright.prompts.concept_suite import concept_prompts, parse_suite
from steerwright.scoring.judge_domain import check_judges


def latents_prompts(
    texts: Annotated[Path, Dep()],
    suite: Annotated[dict[str, Any], Param()],
    model: Annotated[str, Param("/model")],
    models: Annotated[dict[str, Any], Param("/models")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    fid: Annotated[str, Param("/latents.scores.fid")],
    kept: Annotated[str, Param("/latents.winter.kept")],
    prompts: Annotated[Path, Out("prompts.parquet")],
) -> None:
    """Fill the templates in `texts` (or read UnlearnCanvas' files there) and split the prompts."""
    own = {"scores": {"fid": fid}, "winter": {"kept": kept}}
    check_judges("latents", {"model": model, "models": models, "scorers": scorers, "latents": own})
    concept_prompts(parse_suite(suite), texts).write_parquet(prompts)


def flux_prompts(
    texts: Annotated[Path, Dep()],
    suite: Annotated[dict[str, Any], Param()],
    model: Annotated[str, Param("/flux.model")],
    models: Annotated[dict[str, Any], Param("/models")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    scenes: Annotated[int, Param("/flux.truth.scenes")],
    prompts: Annotated[Path, Out("prompts.parquet")],
) -> None:
    """Fill the templates in `texts` (or read its lines) and split the prompts."""
    named = {"models": models, "scorers": scorers, "flux": {"model": model, "truth": {"scenes": scenes}}}
    check_judges("flux", named)
    concept_prompts(parse_suite(suite), texts).write_parquet(prompts)
