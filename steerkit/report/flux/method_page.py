"""The page of method: what each number is and what it is not, and where the report comes from."""

from steerkit.report.flux.content import FluxContent
from steerkit.report.html import Html, el, join
from steerkit.report.parts import section
from steerkit.report.tables import sources


def method_page(content: FluxContent) -> list[Html]:
    """The parts of the page below its header."""
    parts = [section("reading", "How to read this", _notes(content))]
    if content.exports:
        links = [el("li", el("a", name, href=f"data/{path.name}")) for name, path in content.exports.items()]
        parts.append(section("exports", "For other tools", el("ul", *links)))
    return [*parts, section("provenance", "Provenance", sources(content.provenance))]


def _notes(content: FluxContent) -> Html:
    found = {
        "Latent and feature": "A latent is a number of the autoencoder and keeps its index; a feature is what a latent "
        "seems to stand for. The gallery shows selected latents, so it shows the best of the dictionary and not its "
        "average.",
        "Score": "The score of a latent on a picture is the largest activation over the picture's image tokens, at the "
        "denoising step and hookpoint that the autoencoder was trained on. Density is the share of pictures whose "
        "score is above the threshold of an alive latent; it is a share of pictures, not of tokens.",
        "Heat": "Heat is a latent's activation on each token, over the picture in dim grey. It is full at a percentile "
        "of the positive activations over all examples of the latent, so heat can be compared within a card but not "
        "between cards.",
        "Coherence": f"The mean cosine between the {content.clip} embeddings of all pairs of the pictures with the "
        "highest scores, one picture of each prompt, pictures on which the latent is inactive left out. Some pictures "
        "resemble each other anyhow: z is the coherence less the mean of random sets of as many pictures from distinct "
        "prompts, in their standard deviations, and the range beside it holds 95 % of those sets.",
        "Labels and AUROC": "The AUROC of a latent and a label value is the chance that a picture that shows the value "
        "has a larger score than one that does not. Each latent gets its best value of all, chosen on the pictures on "
        "which it is measured, so AUROCs of rare values are too high by a little; the AUROC with shuffled pictures, "
        "where it stands beside, says by how much. Labels are read by a classifier, which errs too.",
        "Random choice": "Selected features are compared with drawing as many latents of the same layer at random "
        "without replacement: the count of interpretable ones is then hypergeometric. The second pool has only latents "
        "that the selection could have taken.",
        "Pointing game": "Does the most active token lie on the region that the label is about? The chance beside it "
        "is what a latent that peaks anywhere would get. A latent can know an object by its surroundings and be a "
        "good detector.",
        "Strength": "Strengths are in units of the mean norm of what the layer computes at the hookpoint, so that "
        "layers can be compared. At strength 0 nothing is edited. A change of the picture is no success by itself: "
        "label rates, or the gain of the concept, say whether the right thing changed.",
        "Matching": "Two dictionaries have no common numbering. A pair is matched by scores over the same pictures; a "
        "correlation may also come from labels that occur together in the prompts.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])
