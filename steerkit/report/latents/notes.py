"""How to read the page of latents: what each number is, and what it is not."""

from steerkit.report.html import Html, el, join
from steerkit.report.latents.content import LatentsContent


def notes(content: LatentsContent) -> Html:
    """Headings with their paragraphs, those of the content last."""
    found = {
        "UA, IRA, CRA": "The rates of UnlearnCanvas, read off by a classifier, which errs too. The model itself does "
        "not draw every label that it is asked for, so each rate stands beside that of the unsteered pictures of the "
        "same prompts and seeds; an unsteered UA is the share that the model misses by itself. Means count targets "
        "alike; a mean's relative rate is the ratio of two means.",
        "Intervals": "95 % percentile bootstrap over prompts, the same draws for all targets and methods, edited and "
        "unsteered pictures of a prompt together. Where every prompt agrees an interval has no width, which is no "
        "certainty. FID and times have none.",
        "Methods": "Ours is the edit at its operating point. Plain ablation sets the same latents to zero. SAeUron is "
        "the published rule, its error term with the published sign. Random latents is our edit on as many latents "
        "drawn at random among those that are active. Unsteered pictures are made once.",
        "Artifacts": "A picture counts if some part of it, or its look as a whole, is farther from all unsteered "
        "pictures of other prompts, or more like unsteered pictures that were spoilt on purpose (blobs of other "
        "scenes, bent shapes, stains), than 95 % of unsteered pictures are. So about 5 % of sound pictures count; the "
        "rate of the unsteered pictures stands beside. No steered picture was used to set this up. Small faults and "
        "blur often go unseen.",
        "Distance elsewhere and FID": f"{content.perceptual} compares a picture with the unsteered one of the same "
        "prompt and seed, where the prompt does not name the target and the unsteered picture does not show it. "
        f"{content.fid_name} compares all pictures whose prompts do not name the target with the unsteered ones of the "
        "same prompts; with few pictures it is too large, so compare its values with each other only.",
        "Latents": "Token means are over one picture's tokens and steps on the conditional branch. FVU is the "
        "fraction of variance unexplained; L0 the mean number of active latents of a row; a latent is dead if no "
        "held-out row activates it. AUROC is the chance that a picture of the concept has a larger mean "
        "activation than one without.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])
