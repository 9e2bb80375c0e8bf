"""The texts of the language pipeline: contrast pairs of every concept, and the requests to tune and to score on."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError
from steerwright.prompts.concept_library import check_held_out, chosen_concepts, read_libraries
from steerwright.prompts.concept_table import evenly
from steerwright.prompts.suite import check_disjoint, read_prompts
from steerwright.scoring.judge_domain import check_judges


def language_prompts(
    texts: Annotated[Path, Dep()],
    libraries: Annotated[list[str], Param()],
    concepts: Annotated[list[str] | str, Param()],
    tuning: Annotated[int | None, Param()],
    test: Annotated[int | None, Param()],
    model: Annotated[str, Param("/language.model")],
    models: Annotated[dict[str, Any], Param("/models")],
    scorer: Annotated[str, Param("/language.scorer")],
    pairs: Annotated[Path, Out("pairs.json")],
    prompts: Annotated[Path, Out("prompts.parquet")],
) -> None:
    """Read and check the library of concepts, the requests to tune on and the requests to score."""
    check_judges("language", {"models": models, "language": {"model": model, "scorer": scorer}})
    outside = [name for name in libraries if Path(name).name != name]
    if outside:
        raise UserError(f"The library {outside[0]!r} is no file name; put the file into {texts.name} and name it.")
    library = chosen_concepts(read_libraries([texts / name for name in libraries]), concepts)
    files = {split: texts / "prompts" / f"{split}.csv" for split in ("tuning", "test")}
    suites = {split: read_prompts(path) for split, path in files.items()}
    check_disjoint(suites["test"], suites["tuning"], files["test"], files["tuning"])
    check_held_out(library, {f"{split}-{key}": text for split, suite in suites.items() for key, text in suite.items()})
    counts = {"tuning": tuning, "test": test}
    rows = [
        {"id": f"{split}-{key}", "prompt": text, "split": split}
        for split, suite in suites.items()
        for key, text in evenly(list(suite.items()), counts[split] or len(suite))
    ]
    pl.DataFrame(rows).write_parquet(prompts)
    content = {
        name: {
            **concept.model_dump(include={"factor", "instruction", "hypothesis"}),
            "pairs": [{"id": f"{name}-{number}", **pair.model_dump()} for number, pair in enumerate(concept.pairs)],
        }
        for name, concept in library.items()
    }
    pairs.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
