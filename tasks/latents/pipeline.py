"""Sparse autoencoders on what the UNet computes: trained, mapped to concepts, and used to erase them (seed 001)."""

from steerwright.dag import File, stage
from tasks.latents.cards import latent_cards
from tasks.latents.concepts import map_concepts
from tasks.latents.images import latent_images
from tasks.latents.report import write_latents_report
from tasks.latents.scores import evaluate_latents
from tasks.latents.search import search_latents
from tasks.latents.winter import latent_winter
from tasks.shared.collect_latents import collect_latents
from tasks.shared.concept_prompts import latents_prompts
from tasks.shared.pipeline import fingerprint
from tasks.shared.train_sae import train_sae
from tasks.winter import pipeline as winter

model = fingerprint.out("model")

prompts = stage("latents-prompts", latents_prompts, texts=File("data/latents"))
activations = stage(
    "latents-activations", collect_latents, model=model, prompts=prompts.out("prompts"), tags=("gpu",), retries=1
)
saes = stage(
    "latents-sae",
    train_sae,
    model=model,
    prompts=prompts.out("prompts"),
    activations=activations.out("rows"),
    tags=("gpu",),
    retries=1,
)
concepts = stage(
    "latents-concepts",
    map_concepts,
    prompts=prompts.out("prompts"),
    activations=activations.out("rows"),
    saes=saes.out("trained"),
    tags=("gpu",),
)
search = stage(
    "latents-search",
    search_latents,
    model=model,
    prompts=prompts.out("prompts"),
    saes=saes.out("trained"),
    moments=concepts.out("moments"),
    judges=File("models/seasons-clip"),
    tags=("gpu",),
    retries=1,
)
images = stage(
    "latents-images",
    latent_images,
    model=model,
    prompts=prompts.out("prompts"),
    saes=saes.out("trained"),
    moments=concepts.out("moments"),
    chosen=search.out("chosen"),
    tags=("gpu",),
    retries=1,
)
scores = stage(
    "latents-scores",
    evaluate_latents,
    prompts=prompts.out("prompts"),
    shots=images.out("shots"),
    pictures=images.out("pictures"),
    judges=[File(f"models/seasons-{judge}") for judge in ("clip", "labels", "lpips")],
    tags=("gpu",),
    retries=1,
)
cards = stage(
    "latents-cards",
    latent_cards,
    model=model,
    shots=images.out("shots"),
    saes=saes.out("trained"),
    concepts=concepts.out("concepts"),
    chosen=search.out("chosen"),
    tags=("gpu",),
)
report = stage(
    "latents-report",
    write_latents_report,
    model=model,
    prompts=prompts.out("prompts"),
    saes=saes.out("trained"),
    quality=saes.out("quality"),
    curves=saes.out("curves"),
    concepts=concepts.out("concepts"),
    moments=concepts.out("moments"),
    trials=search.out("trials"),
    chosen=search.out("chosen"),
    shots=images.out("shots"),
    pictures=images.out("pictures"),
    images=scores.out("images"),
    rates=scores.out("rates"),
    sequential=scores.out("sequential"),
    comparisons=scores.out("comparisons"),
    cards=cards.out("cards"),
    maps=cards.out("maps"),
)
towards_winter = stage(
    "latents-winter",
    latent_winter,
    model=model,
    prompts=winter.prompts.out("prompts"),
    saes=saes.out("trained"),
    moments=concepts.out("moments"),
    judges=[File(f"models/seasons-{judge}") for judge in ("clip", "labels", "lpips")],
    tags=("gpu",),
    retries=1,
)
