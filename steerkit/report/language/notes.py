"""How to read the page of language models: what each number is, and what it is not."""

from steerkit.report.html import Html, el, join
from steerkit.report.language.content import LanguageContent
from steerkit.report.language.words import PRESENT
from steerkit.report.theme import percent


def notes(content: LanguageContent) -> Html:
    """Headings with their paragraphs, those of the content last."""
    judge = content.judge[:1].upper() + content.judge[1:]
    ratio = f" (here {content.ratio_limit:g} times)" if content.ratio_limit is not None else ""
    varied = f" (here {percent(content.distinct_limit)})" if content.distinct_limit is not None else ""
    found = {
        "Rate": f"The share of texts that show a concept: {content.judge} gives it a probability of at least "
        f"{percent(PRESENT)}. {judge} sees the text alone, neither the prompt nor the condition, and errs too, so the "
        "rate of the unsteered texts stands beside.",
        "Perplexity": "Of the generated tokens given their prompt, to the model without any edit; means are of the "
        "negative log-likelihood by token. The ratio is to the unsteered texts of the same prompts and seeds. It says "
        "how far a text is from what the model would write by itself: a text may be coherent and unlikely, and an "
        "endless repetition can be likely, which distinct-n and repeated are there to show. Texts that were asked for "
        "a concept in words are judged under the plain prompt, as steered ones are; where a direction was removed, "
        "under the prompt that asks, and compared with the texts that were asked.",
        "Distinct-n, repeated and KL": "Distinct-1 and distinct-2 are the shares of different words and of different "
        "word pairs in all texts of a condition together, so they compare only between equally many texts. Repeated is "
        "the share of a text's word triples that stood in it before. KL is the mean divergence of the steered "
        "next-token distribution from the unsteered one, in nats, over the generated tokens.",
        "Conditions": "All use the same prompts and seeds, and sampled texts share their random numbers, so a pair "
        "differs by the edit alone. The random direction is added as strongly as the concept's, at the same layer. "
        "Asked in words names the concept in the prompt, and no edit is made. Removed asks in words too, while the "
        "direction in which those words move an answer's tokens is projected out of the activations or subtracted "
        "from them.",
        "Strength": f"{_strength(content)} At strength 0 nothing is edited.",
        "Layers and strengths": "Each layer is steered with the vector of that layer. The point of each concept was "
        "chosen on tuning prompts: the highest rate among the safe points, of equals the lowest perplexity. A point is "
        f"safe while the perplexity ratio stays within its limit{ratio} and distinct-2 above a share of the unsteered "
        f"one{varied}. Safe to is the strength up to which every one that was tried at that layer was safe. Nothing "
        "was chosen on the test prompts that are scored here.",
        "Separability": "The AUROC with which the projection onto a layer's direction tells held-out texts with the "
        "concept from their counterparts: 0.5 is chance, 1 is perfect. A layer may separate perfectly and steer badly.",
        "Intervals": "95 % percentile bootstrap over prompts: all texts of a prompt are drawn together. Where every "
        "prompt agrees an interval has no width, which is no certainty.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])


def _strength(content: LanguageContent) -> str:
    """What a strength counts, where all points agree."""
    units = {str(point.get("units")) for point in content.chosen.values()} or {"relative"}
    words = {
        "relative": "How far a token is moved along the direction, as a share of its own norm, so that layers and "
        "models can be compared.",
        "unit": "How far a token is moved along the direction, in the units of the activations.",
        "raw": "How far a token is moved along the direction, in lengths of the difference that it was fitted from.",
    }
    return words.get(units.pop() if len(units) == 1 else "", "How far a token is moved along the direction.")
