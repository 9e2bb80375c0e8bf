"""Towards winter, or another concept: the text encoder's activations, steered (spec of seed 000)."""

from steerwright.dag import File, stage
from tasks.shared.pipeline import fingerprint
from tasks.winter.activations import collect_activations
from tasks.winter.images import adaptive_winter
from tasks.winter.prompts import read_prompts
from tasks.winter.report import write_report
from tasks.winter.scores import evaluate
from tasks.winter.search import search_strength
from tasks.winter.vectors import steering_vectors

model = fingerprint.out("model")

prompts = stage(
    "winter-prompts",
    read_prompts,
    scored=File("data/winter/prompts.csv"),
    tuning=File("data/winter/tuning.csv"),
    contrast=File("data/winter"),
)
target = prompts.out("target")
activations = stage(
    "winter-activations", collect_activations, model=model, pairs=prompts.out("pairs"), tags=("gpu",), retries=1
)
vectors = stage(
    "winter-vectors",
    steering_vectors,
    model=model,
    activations=activations.out("activations"),
    pairs=prompts.out("pairs"),
    target=target,
)
search = stage(
    "winter-search",
    search_strength,
    model=model,
    target=target,
    prompts=prompts.out("prompts"),
    vectors=vectors.out("vectors"),
    judges=File("models/seasons-clip"),
    tags=("gpu",),
    retries=1,
)
images = stage(
    "winter-images",
    adaptive_winter,
    model=model,
    target=target,
    prompts=prompts.out("prompts"),
    pairs=prompts.out("pairs"),
    vectors=vectors.out("vectors"),
    best=search.out("chosen"),
    judges=File("models/seasons-clip"),
    tags=("gpu",),
    retries=1,
)
scores = stage(
    "winter-scores",
    evaluate,
    target=target,
    prompts=prompts.out("prompts"),
    pictures=images.out("pictures"),
    judges=[File(f"models/seasons-{judge}") for judge in ("clip", "labels", "lpips")],
    tags=("gpu",),
    retries=1,
)
report = stage(
    "winter-report",
    write_report,
    model=model,
    target=target,
    norms=vectors.out("norms"),
    vectors=vectors.out("vectors"),
    trials=search.out("work"),
    best=search.out("chosen"),
    pictures=images.out("pictures"),
    dose_table=images.out("dose_table"),
    images=scores.out("images"),
    per_prompt=scores.out("per_prompt"),
    aggregate=scores.out("aggregate"),
    comparisons=scores.out("comparisons"),
)
