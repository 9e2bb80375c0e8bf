"""What the lab opens with before any pipeline has run: frozen, since it is in git beside the models."""

from steerwright.dag import stage
from tasks.attention import pipeline as attention
from tasks.flux import pipeline as flux
from tasks.language import pipeline as language
from tasks.latents import pipeline as latents
from tasks.winter import pipeline as winter
from tasks.world.concepts import lab_concepts
from tasks.world.starters import lab_starters

starters = stage(
    "world-starters",
    lab_starters,
    frozen=True,
    text_vectors=winter.vectors.out("vectors"),
    text_best=winter.search.out("chosen"),
    attention_vectors=attention.vectors.out("vectors"),
    attention_chosen=attention.search.out("chosen"),
    saes=latents.saes.out("trained"),
    moments=latents.concepts.out("moments"),
    latents_chosen=latents.search.out("chosen"),
    latents_trials=latents.towards_winter.out("trials"),
    images=flux.table,
    pictures=flux.pictures,
    flux_saes=[one.saes.out("trained") for one in flux.layers],
    facts=[one.smatrix.out("facts") for one in flux.layers],
    maps=[one.smatrix.out("maps") for one in flux.layers],
    statistics=[one.statistics.out("statistics") for one in flux.layers],
    top=[one.statistics.out("best") for one in flux.layers],
    coherence=[one.coherence.out("coherence") for one in flux.layers],
    labels=[one.labels.out("labels") for one in flux.layers],
    selected=[one.selection.out("selected") for one in flux.layers],
    changes=[one.demos.out("changes") for one in flux.layers],
    outs={"starters": "models/seasons-starters"},
)
concepts = stage(
    "world-concepts",
    lab_concepts,
    frozen=True,
    model=language.model,
    pairs=language.pairs,
    vectors=language.vectors,
    removals=language.removals.out("vectors"),
    chosen=language.choice.out("chosen"),
    outs={"concepts": "models/seasons-concepts"},
)
