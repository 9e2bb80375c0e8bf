"""The report page of the language pipeline."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.report.language.content import LanguageContent, nothing
from steerwright.report.language.page import write_language_report as write_page
from steerwright.report.language.words import UNITS, listed, number, numbers
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


# What the report of language models shows, from the artifacts of the pipeline: tables, and what was done in words.

TOKENS = {"last": "the last token of each answer", "content": "the mean over each answer's tokens"}
STEERED_TOKENS = {
    "last": "the last token of the prompt and every generated one", "generated": "every generated token",
    "all": "every token",
}  # fmt: skip


def read_table(path: Path, name: str) -> pl.DataFrame:
    """The table `name` of the content from a parquet file; one without rows gets the columns that are looked for."""
    table = pl.read_parquet(path)
    return table if table.height else nothing(name)


# What pairs hold, and the contrast leaves out of the vectors.
NOT_READ = {
    "requests": " The pairs' own answers do not enter the vectors.",
    "instructed": " The pairs' answers with the concept do not enter the vectors.",
    "texts": " The pairs' requests do not enter the vectors.",
}


def judge_name(scorer: str) -> str:
    """Who reads concepts off, in words: `models/seasons-text-labels` is the classifier seasons-text-labels."""
    return f"the classifier {scorer.removeprefix('models/')}"


def what_was_done(
    pairs: Mapping[str, Mapping[str, Any]], prompts: pl.DataFrame, statistics: pl.DataFrame, sweep: pl.DataFrame,
    mixes: pl.DataFrame, params: Mapping[str, Any], judge: str,
) -> dict[str, str]:  # fmt: skip
    """Heading -> sentence, for each part of the pipeline.

    `pairs`: pairs.json; `prompts`: id, prompt, split; `params`: those of the pipeline, of which any may be missing.
    """
    factors = list(dict.fromkeys(str(concept.get("factor", "")) for concept in pairs.values()))
    each = sorted({len(concept.get("pairs", ())) for concept in pairs.values()})
    splits = dict(prompts.group_by("split", maintain_order=True).len().iter_rows())
    layers, policy = statistics["layer"].n_unique(), str(_of(params, "vectors.tokens") or "")
    estimator = str(_of(params, "vectors.estimator") or "").replace("_", " ")
    contrast = _of(params, "activations.contrast")
    begins = contrast == "requests" and policy == "last"
    where_read = "where the answer to each request begins" if begins else TOKENS.get(policy, "")
    how = ", ".join(part for part in (estimator, f"from {where_read}" if where_read else "") if part)
    sides = {
        "requests": "one request, with words that ask for the concept and without them",
        "instructed": "one plain answer, to a request that asks for the concept and to one that does not",
        "texts": "two texts by themselves, with the concept and without it",
    }.get(str(contrast), "two answers to one request, with the concept and without it")
    found = {
        "Concepts": f"{number(len(pairs), 'concept')} ({listed([name for name in factors if name])}), each with "
        f"{_between(each)} contrast pairs: {sides}.{NOT_READ.get(str(contrast), '')}",
        "Vectors": f"One for every concept at each of {number(layers, 'layer')}{f': {how}' if how else ''}.",
    }
    if sweep.height:
        units = UNITS.get(str(_of(params, "steering.units")), "")
        strengths = sorted(sweep["strength"].unique().to_list())
        where = STEERED_TOKENS.get(str(_of(params, "steering.tokens")), "")
        found["Sweep"] = (
            f"{number(sweep['layer'].n_unique(), 'layer')}, {len(strengths)} strengths from {strengths[0]:g} to "
            f"{strengths[-1]:g} {units}".rstrip() + (f", added to {where}" if where else "")
            + f": {number(sweep.height, 'point')} on {number(splits.get('tuning', 0), 'tuning prompt')}."
        )  # fmt: skip
    limit, varied = _of(params, "choice.perplexity_ratio"), _of(params, "choice.distinct")
    if limit is not None and varied is not None:
        found["Choice"] = (
            f"For each concept the point that shows it most often, among those with a perplexity of at most {limit:g} "
            f"times the unsteered one and at least {100 * varied:.0f} % of its distinct-2."
        )
    found["Texts"] = f"Answers to {number(splits.get('test', 0), 'test prompt')}{_sampling(params)}: unsteered, " \
        "steered, in a random direction, asked for the concept in words, and asked while the edit works against it" \
        + (f"; and {_mixes(mixes['mix'].n_unique())}." if mixes.height else ".")  # fmt: skip
    found["Judge"] = f"{judge[:1].upper()}{judge[1:]} reads every concept off every text."
    return found


def _mixes(count: int) -> str:
    return "one mix" if count == 1 else f"{count} mixes"


def _sampling(params: Mapping[str, Any]) -> str:
    """`, greedy and sampled (temperature 0.7, top-p 0.9, 2 seeds), of at most 40 tokens`."""
    how = [str(name) for name in _of(params, "texts.decodings") or ()]
    given = {"temperature": _of(params, "sampling.temperature"), "top-p": _of(params, "sampling.top_p")}
    said = [f"{name} {value:g}" for name, value in given.items() if value is not None]
    seeds: Sequence[int] = _of(params, "texts.seeds") or ()
    said += [number(len(seeds), "seed")] if seeds else []
    noise = f" ({', '.join(said)})" if said and "sampled" in how else ""
    most = _of(params, "sampling.max_new_tokens")
    return (f", {listed(how)}{noise}" if how else "") + (f", of at most {most} tokens" if most else "")


def _of(params: Mapping[str, Any], path: str) -> Any:
    value: Any = params
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _between(counts: Sequence[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "no"
