"""Concepts in a language model: directions from contrast pairs, steered at every layer, measured (seed 003)."""

from steerwright.dag import File, stage
from tasks.language.activations import collect_residuals
from tasks.language.choice import language_choice
from tasks.language.model import language_model
from tasks.language.prompts import language_prompts
from tasks.language.removals import language_removals
from tasks.language.report import write_language_report
from tasks.language.scores import language_scores
from tasks.language.sweep import language_sweep
from tasks.language.texts import language_texts
from tasks.language.vectors import language_vectors

JUDGE = File("models/seasons-text-labels")

fingerprint = stage("language-model", language_model, section="language", embedded=File("models/seasons-lm"))
model = fingerprint.out("model")
read = stage("language-prompts", language_prompts, texts=File("data/language"))
pairs, prompts = read.out("pairs"), read.out("prompts")
activations = stage("language-activations", collect_residuals, model=model, pairs=pairs, tags=("gpu",), retries=1)
fitted = stage(
    "language-vectors", language_vectors, model=model, pairs=pairs, activations=activations.out("activations")
)
vectors = fitted.out("vectors")
removals = stage("language-removals", language_removals, model=model, pairs=pairs, tags=("gpu",), retries=1)
sweep = stage("language-sweep", language_sweep, model=model, prompts=prompts, vectors=vectors, tags=("gpu",), retries=1)
choice = stage("language-choice", language_choice, pairs=pairs, texts=sweep.out("texts"), judges=JUDGE)
texts = stage(
    "language-texts",
    language_texts,
    model=model,
    pairs=pairs,
    prompts=prompts,
    vectors=vectors,
    removals=removals.out("vectors"),
    chosen=choice.out("chosen"),
    chosen_mixes=choice.out("chosen_mixes"),
    tags=("gpu",),
    retries=1,
)
scores = stage("language-scores", language_scores, pairs=pairs, texts=texts.out("texts"), judges=JUDGE)
report = stage(
    "language-report",
    write_language_report,
    model=model,
    pairs=pairs,
    prompts=prompts,
    vectors=vectors,
    statistics=fitted.out("statistics"),
    cosines=fitted.out("cosines"),
    sweep=choice.out("sweep"),
    mix_sweep=choice.out("mix_sweep"),
    chosen=choice.out("chosen"),
    chosen_mixes=choice.out("chosen_mixes"),
    scored=scores.out("scored"),
    aggregate=scores.out("aggregate"),
    mixed=scores.out("mixed"),
)
