"""What the latents of FLUX stand for: from activations to a gallery of features (seed 004, all of its steps)."""

from dataclasses import dataclass

from steerwright.dag import File, Stage, StageOutput, stage
from tasks.flux.clip import embed_images
from tasks.flux.coherence import latent_coherence
from tasks.flux.comparison import compare_layers
from tasks.flux.decoder import describe_decoder
from tasks.flux.demos import search_demos
from tasks.flux.grids import demo_grids
from tasks.flux.images import make_pictures
from tasks.flux.labels import label_latents
from tasks.flux.overlays import overlay_latents
from tasks.flux.report import write_flux_report
from tasks.flux.responses import latent_responses
from tasks.flux.selection import select_latents
from tasks.flux.sheets import contact_sheet
from tasks.flux.smatrix import s_matrix
from tasks.flux.statistics import latent_statistics
from tasks.flux.steering import steer_latents
from tasks.flux.truth import ground_truth
from tasks.shared.collect_latents import collect_latents
from tasks.shared.concept_prompts import flux_prompts
from tasks.shared.fingerprint import fingerprint_model
from tasks.shared.train_sae import train_sae

LAYERS = ("early", "late")
JUDGES: list[StageOutput | File] = [File(f"models/seasons-{judge}") for judge in ("clip", "labels", "lpips")]

fingerprint = stage(
    "flux-model", fingerprint_model, section="flux", params={"name": "/flux.model"},
    embedded=File("models/seasons-flux"),
)  # fmt: skip
model = fingerprint.out("model")
prompts = stage("flux-prompts", flux_prompts, texts=File("data/flux"))
asked = prompts.out("prompts")
activations = stage("flux-activations", collect_latents, model=model, prompts=asked, tags=("gpu",), retries=1)
images = stage(
    "flux-images", make_pictures, model=model, prompts=asked, judge=File("models/seasons-labels"), tags=("gpu",),
    retries=1,
)  # fmt: skip
table, pictures = images.out("images"), images.out("pictures")
clip = stage(
    "flux-clip", embed_images, images=table, pictures=pictures, judge=File("models/seasons-clip"), tags=("gpu",)
)
embeddings = clip.out("embeddings")


@dataclass(frozen=True)
class LayerStages:
    """The stages of one layer."""

    saes: Stage
    smatrix: Stage
    statistics: Stage
    coherence: Stage
    labels: Stage
    selection: Stage
    truth: Stage
    overlays: Stage
    sheets: Stage
    steering: Stage
    decoder: Stage
    demos: Stage
    grids: Stage


def layer(name: str) -> LayerStages:
    """Declare the stages of a layer; all but the autoencoders have the same parameters at every layer."""
    trained = stage(
        f"flux-sae-{name}", train_sae, section="flux.sae",
        params={"collection": "/flux.activations", "saes": f"/flux.sae.{name}"},
        model=model, prompts=asked, activations=activations.out("rows"), tags=("gpu",), retries=1,
    )  # fmt: skip
    saes = trained.out("trained")
    smatrix = stage(
        f"flux-smatrix-{name}", s_matrix, section="flux.smatrix", images=table, rows=images.out("rows"), saes=saes,
        tags=("gpu",),
    )  # fmt: skip
    matrix, maps, facts = smatrix.out("matrix"), smatrix.out("maps"), smatrix.out("facts")
    statistics = stage(f"flux-statistics-{name}", latent_statistics, section="flux.statistics", matrix=matrix)
    coherence = stage(
        f"flux-coherence-{name}", latent_coherence, section="flux.coherence", images=table, matrix=matrix,
        embeddings=embeddings,
    )  # fmt: skip
    labels = stage(f"flux-labels-{name}", label_latents, section="flux.labels", images=table, matrix=matrix)
    responses = stage(
        f"flux-responses-{name}", latent_responses, section="flux.responses", model=model, prompts=asked, saes=saes,
        facts=facts, coherence=coherence.out("coherence"), judges=JUDGES, tags=("gpu",), retries=1,
    )  # fmt: skip
    selection = stage(
        f"flux-selection-{name}", select_latents, section="flux.selection", images=table, matrix=matrix, saes=saes,
        coherence=coherence.out("coherence"), responses=responses.out("responses"),
    )  # fmt: skip
    selected = selection.out("selected")
    truth = stage(
        f"flux-truth-{name}", ground_truth, section="flux.truth", model=model, matrix=matrix, saes=saes,
        coherence=coherence.out("coherence"), labels=labels.out("labels"), selected=selected, tags=("gpu",),
    )  # fmt: skip
    overlays = stage(
        f"flux-overlays-{name}", overlay_latents, section="flux.overlays", images=table, pictures=pictures, maps=maps,
        selected=selected,
    )  # fmt: skip
    sheets = stage(
        f"flux-sheets-{name}", contact_sheet, images=table, pictures=pictures, selected=selected,
        labels=labels.out("labels"), overlays=overlays.out("overlays"), table=overlays.out("table"), facts=facts,
    )  # fmt: skip
    steering = stage(
        f"flux-steering-{name}", steer_latents, section="flux.steering", model=model, prompts=asked, saes=saes,
        facts=facts, selected=selected, labels=labels.out("labels"), embeddings=embeddings, judges=JUDGES,
        tags=("gpu",), retries=1,
    )  # fmt: skip
    decoder = stage(
        f"flux-decoder-{name}", describe_decoder, section="flux.decoder", matrix=matrix, saes=saes,
        statistics=statistics.out("statistics"), selected=selected,
    )  # fmt: skip
    demos = stage(
        f"flux-demos-{name}", search_demos, section="flux.demos", model=model, prompts=asked, images=table,
        matrix=matrix, saes=saes, facts=facts, selected=selected, labels=labels.out("labels"),
        embeddings=embeddings, judges=JUDGES, tags=("gpu",), retries=1,
    )  # fmt: skip
    grids = stage(
        f"flux-grids-{name}", demo_grids, section="flux.grids", model=model, prompts=asked, saes=saes, facts=facts,
        labels=labels.out("labels"), trials=demos.out("trials"), changes=demos.out("changes"), judges=JUDGES,
        tags=("gpu",), retries=1,
    )  # fmt: skip
    return LayerStages(
        trained, smatrix, statistics, coherence, labels, selection, truth, overlays, sheets, steering, decoder, demos,
        grids,
    )  # fmt: skip


layers = [layer(name) for name in LAYERS]
comparison = stage(
    "flux-comparison", compare_layers, images=table,
    matrices=[one.smatrix.out("matrix") for one in layers], maps=[one.smatrix.out("maps") for one in layers],
    saes=[one.saes.out("trained") for one in layers],
)  # fmt: skip
report = stage(
    "flux-report", write_flux_report, model=model, images=table, pictures=pictures,
    matches=comparison.out("matches"), summary=comparison.out("summary"),
    saes=[one.saes.out("trained") for one in layers],
    quality=[one.saes.out("quality") for one in layers],
    facts=[one.smatrix.out("facts") for one in layers],
    matrix=[one.smatrix.out("matrix") for one in layers],
    maps=[one.smatrix.out("maps") for one in layers],
    statistics=[one.statistics.out("statistics") for one in layers],
    top=[one.statistics.out("best") for one in layers],
    coherence=[one.coherence.out("coherence") for one in layers],
    selected=[one.selection.out("selected") for one in layers],
    labels=[one.labels.out("labels") for one in layers],
    pointing=[one.truth.out("pointing") for one in layers],
    decoder=[one.decoder.out("decoder") for one in layers],
    similarity=[one.decoder.out("similarity") for one in layers],
    overlays=[one.overlays.out("overlays") for one in layers],
    overlay_table=[one.overlays.out("table") for one in layers],
    steered=[one.steering.out("pictures") for one in layers],
    steering=[one.steering.out("table") for one in layers],
    trials=[one.demos.out("trials") for one in layers],
    grid_pictures=[one.grids.out("pictures") for one in layers],
    grids=[one.grids.out("grids") for one in layers],
    truth=[one.truth.out("truth") for one in layers],
    changes=[one.grids.out("metrics") for one in layers],
)  # fmt: skip
