"""The thirty winter prompts steered by latents, so that this method stands in the table of all methods."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.errors import UserError
from steerwright.experiments.draw import Condition, ModelTools, draw
from steerwright.experiments.operating_point import Tried, operating_point
from steerwright.experiments.tuning import ConceptMeasure, KeptBy, Trials, try_all
from steerwright.images import Sample, load_images, picture_path
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import evenly
from steerwright.prompts.concepts import Concept
from steerwright.scoring.clip import ClipScorer, scorer_here
from steerwright.scoring.edits import judged_edits
from steerwright.scoring.judges import ConceptJudge
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.samples import EditSample
from steerwright.steering.attention import Candidate, EditSpec
from steerwright.steering.latents.edits import LatentRecipe
from steerwright.steering.latents.erasure import ConceptChange, LatentChanges, parse_candidates


def latent_winter(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    moments: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    concepts: Annotated[dict[str, Any], Param("/attention.prompts.concepts")],
    concept: Annotated[str, Param()],
    recipes: Annotated[list[dict[str, Any]], Param()],
    tuning_prompts: Annotated[int, Param()],
    tuning_seeds: Annotated[list[int], Param()],
    goal: Annotated[float, Param()],
    kept: Annotated[KeptBy, Param()],
    floor: Annotated[float, Param()],
    seeds: Annotated[list[int], Param()],
    random_seed: Annotated[int, Param()],
    work: Annotated[Path, Out("tried", resume=True)],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    trials: Annotated[Path, Out("trials.parquet")],
    images: Annotated[Path, Out("images.parquet")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Choose recipe and strength on the tuning prompts, then steer the scored ones, beside random latents."""
    spec, identity = read_model(model)
    tools = ModelTools.here(spec, identity.digest)
    texts = json.loads(prompts.read_text())

    def changes(recipe: LatentRecipe, strength: float, random: int | None = None) -> LatentChanges:
        one = ConceptChange(concept=concept, recipe=recipe, strength=strength, action="add", random=random)
        return LatentChanges(saes.absolute(), moments.absolute(), (one,))

    name, wanted = shown_concept(concept, concepts)
    tried_recipes = parse_candidates(recipes, "latents.winter.recipes")
    options = [(one.recipe, strength) for one in tried_recipes for strength in one.strengths]
    tuning = evenly([row["prompt"] for row in texts["tuning"]], tuning_prompts)
    samples = tuple(
        Sample(text, seed, f"unsteered/{number}-{seed}.png")
        for number, text in enumerate(tuning)
        for seed in tuning_seeds
    )
    meant = tuple(
        one.prompt if wanted.kind(one.prompt) == "contains" else f"{one.prompt} {wanted.text}" for one in samples
    )
    measure = ConceptMeasure(
        tuple(one.prompt for one in samples), meant, "add", wanted, wanted, kept, scorer_here(scorers["clip"]),
        SEASONS_WORLD,
    )  # fmt: skip
    found = try_all(
        Trials(tools, work.absolute(), samples, measure), [changes(*one) for one in options], name, map_shards
    )
    tried = [Tried(Candidate((str(number),), options[number][1]), **one) for number, one in enumerate(found)]
    best = operating_point(tried, goal=goal, floor=floor)
    recipe, strength = options[tried.index(best)]
    pl.DataFrame(
        [{"concept": concept, "recipe": one.model_dump_json(exclude_defaults=True), "strength": far,
          "wanted": t.wanted, "kept": t.kept, "chosen": t is best}
         for (one, far), t in zip(options, tried, strict=True)]
    ).write_parquet(trials)  # fmt: skip

    conditions = {
        "unsteered": None, "steered": changes(recipe, strength), "random": changes(recipe, strength, random_seed),
    }  # fmt: skip
    made = {
        condition: [
            EditSample(
                prompt=row["prompt"], original=row["prompt"], prompt_id=int(row["id"]), seed=seed, condition=condition,
                path=picture_path(condition, row["id"], seed), unsteered=picture_path("unsteered", row["id"], seed),
                strength=0.0 if change is None else strength,
            )
            for row in texts["scored"] for seed in seeds
        ]
        for condition, change in conditions.items()
    }  # fmt: skip
    draw(tools, [(Condition(name, change), made[name]) for name, change in conditions.items()], pictures, map_shards)
    classifier = None if scorers["labels"] == "clip" else LabelScorer.load(scorers["labels"], SEASONS_WORLD)
    judge, perceptual = ConceptJudge(ClipScorer(scorers["clip"]), SEASONS_WORLD), Perceptual(scorers["lpips"])
    edit = EditSpec(action="add", concept=name, suite="winter", strengths=(strength,), goal=goal)
    tables: list[pl.DataFrame] = []
    for some in made.values():
        pixels = load_images([pictures / one.path for one in some])
        beside = load_images([pictures / one.unsteered for one in some])
        tables.append(
            judged_edits("latents", edit, {name: wanted}, some, pixels, beside, judge, classifier, perceptual)
        )
    table = pl.concat(tables)
    table.write_parquet(images)
    shown = table.group_by("condition", maintain_order=True).agg(pl.col("concept_by_clip").mean())
    numbers = {"strength": strength, "wanted": best.wanted, "kept": best.kept, **dict(shown.iter_rows())}
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")


def shown_concept(concept: str, concepts: dict[str, Any]) -> tuple[str, Concept]:
    """The concept of the attention pipeline that says how pictures show `concept`, such as season:winter, by name."""
    label, _, value = concept.partition(":")
    for name, one in concepts.items():
        if (one.get("label"), one.get("value")) == (label, value):
            return name, Concept.model_validate(one, context=SEASONS_WORLD)
    raise UserError(
        f"latents.winter.concept is {concept}, but no concept of attention.prompts.concepts has `label: {label}` and "
        f"`value: {value}`, which say how prompts and pictures show it; add one."
    )
