"""Cross-attention steering: a concept added, erased or replaced inside the UNet (spec of seed 002)."""

from steerwright.dag import File, stage
from tasks.attention.activations import collect_attention
from tasks.attention.images import steer_images
from tasks.attention.prompts import contrast_prompts
from tasks.attention.report import write_attention_report
from tasks.attention.scores import evaluate_edits
from tasks.attention.search import search_edits
from tasks.attention.vectors import attention_vectors
from tasks.shared.pipeline import fingerprint

model = fingerprint.out("model")

prompts = stage(
    "attention-prompts",
    contrast_prompts,
    contexts=File("data/attention/contexts"),
    winter_scored=File("data/winter/prompts.csv"),
    winter_tuning=File("data/winter/tuning.csv"),
    objects_scored=File("data/attention/objects-test.csv"),
    objects_tuning=File("data/attention/objects-tuning.csv"),
)
activations = stage(
    "attention-activations", collect_attention, model=model, prompts=prompts.out("prompts"), tags=("gpu",), retries=1
)
vectors = stage(
    "attention-vectors",
    attention_vectors,
    model=model,
    prompts=prompts.out("prompts"),
    activations=activations.out("activations"),
    # It computes little, but loads the model, and models must not be loaded in two threads at once.
    tags=("gpu",),
)
search = stage(
    "attention-search",
    search_edits,
    model=model,
    prompts=prompts.out("prompts"),
    vectors=vectors.out("vectors"),
    judges=File("models/seasons-clip"),
    tags=("gpu",),
    retries=1,
)
images = stage(
    "attention-images",
    steer_images,
    model=model,
    prompts=prompts.out("prompts"),
    vectors=vectors.out("vectors"),
    chosen=search.out("chosen"),
    tags=("gpu",),
    retries=1,
)
scores = stage(
    "attention-scores",
    evaluate_edits,
    prompts=prompts.out("prompts"),
    chosen=search.out("chosen"),
    pictures=images.out("pictures"),
    judges=[File(f"models/seasons-{judge}") for judge in ("clip", "labels", "lpips")],
    tags=("gpu",),
    retries=1,
)
report = stage(
    "attention-report",
    write_attention_report,
    model=model,
    prompts=prompts.out("prompts"),
    vectors=vectors.out("vectors"),
    geometry=vectors.out("geometry"),
    trials=search.out("trials"),
    chosen=search.out("chosen"),
    pictures=images.out("pictures"),
    images=scores.out("images"),
    aggregate=scores.out("aggregate"),
    comparisons=scores.out("comparisons"),
)
