"""The report page of the language pipeline."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.report.language.content import LanguageContent
from steerwright.report.language.gather import judge_name, read_table, what_was_done
from steerwright.report.language.page import write_language_report as write_page
from steerwright.report.language.words import numbers
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions


def write_language_report(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    statistics: Annotated[Path, Dep()],
    cosines: Annotated[Path, Dep()],
    sweep: Annotated[Path, Dep()],
    mix_sweep: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    chosen_mixes: Annotated[Path, Dep()],
    scored: Annotated[Path, Dep()],
    aggregate: Annotated[Path, Dep()],
    mixed: Annotated[Path, Dep()],
    params: Annotated[dict[str, Any], Param("/language")],
    scorer: Annotated[str, Param("/language.scorer")],
    perplexity_ratio: Annotated[float, Param("/language.choice.perplexity_ratio")],
    distinct: Annotated[float, Param("/language.choice.distinct")],
    report: Annotated[Path, Out("report")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Write the report: texts side by side, rates and what they cost, over layers and strengths, mixes and removal."""
    identity = json.loads(model.read_text())
    spec = identity["spec"]
    library = json.loads(pairs.read_text())
    described, swept, blends = (
        read_table(path, name) for path, name in ((statistics, "statistics"), (sweep, "sweep"), (mixed, "mixes"))
    )
    asked = pl.read_parquet(prompts)
    judge = judge_name(scorer)
    content = LanguageContent(
        title="Steering a language model",
        model=f"{spec['name']} ({spec['source']})",
        factors={name: concept["factor"] for name, concept in library.items()},
        texts=read_table(scored, "texts"),
        sweep=swept,
        mix_sweep=read_table(mix_sweep, "sweep"),
        aggregate=read_table(aggregate, "aggregate"),
        mixes=blends,
        statistics=described,
        cosines=read_table(cosines, "cosines"),
        chosen=json.loads(chosen.read_text()) | json.loads(chosen_mixes.read_text()),
        ratio_limit=perplexity_ratio,
        distinct_limit=distinct,
        judge=judge,
        done=what_was_done(library, asked, described, swept, blends, params, judge),
        provenance=RunProvenance(
            facts={"Model": spec["source"], "Model fingerprint": identity["fingerprint"]["digest"]},
            params={"language": params},
            hashes=file_hashes({"vectors": vectors, "texts": scored, "scores": aggregate}),
            versions=library_versions(),
        ),
    )
    write_page(content, report)
    metrics.write_text(json.dumps(numbers(content), indent=1) + "\n")
