"""Pictures as the page shows them: side by side with their captions, what changed in a table, heat over the picture."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steerwright.lab.pictures.catalogue import PictureChange
from steerwright.lab.pictures.features import LabFeature
from steerwright.report.html.overlays import SCALE, overlay
from steerwright.report.html.page import Html, data_uri, el
from steerwright.report.html.theme import decimal, percent

Pixels = NDArray[np.uint8]

PICTURE_STYLE = (
    """
.shots{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem 1.4rem;margin:.4rem 0;
max-width:46rem}
.shots.three{max-width:62rem}
.shots.many{grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));max-width:none}
.shots figure{margin:0}
.shots img,.strip img{display:block;width:100%;image-rendering:pixelated;border-radius:3px;background:var(--panel)}
.shots .blank{aspect-ratio:1;border-radius:3px;background:var(--panel);display:grid;place-items:center;
color:var(--muted);font-size:.875rem;padding:1rem;text-align:center}
.shots figcaption,.strip figcaption{font-size:.8125rem;line-height:1.45;color:var(--muted);margin-top:.35rem}
.shots figcaption b{color:var(--ink);font-weight:600}
.strip{max-width:31rem;margin:0 0 .2rem}
.scale{display:flex;flex-wrap:wrap;align-items:center;gap:.3rem .6rem;font-size:.8125rem;color:var(--muted);
margin:.2rem 0}
.scale i{display:inline-block;width:9rem;height:.7rem;border-radius:3px;background:linear-gradient(90deg,"""
    + ",".join(SCALE)
    + """)}
.verdict{max-width:46rem;margin:.3rem 0 .6rem;line-height:1.5;color:var(--ink)}
.verdict small{color:var(--muted);font-size:.8125rem}
"""
)


def picture(pixels: Pixels, says: str) -> Html:
    """An image with what a screen reader says of it."""
    return el("img", src=png_uri(pixels), alt=says, width=str(pixels.shape[1]), height=str(pixels.shape[0]))


def shot(pixels: Pixels, title: str, words: str = "") -> Html:
    """A picture with its caption."""
    said = f" · {words}" if words else ""
    return el("figure", picture(pixels, f"{title}{said}"), el("figcaption", el("b", title), said))


def blank(title: str, words: str) -> Html:
    """The place of a picture that is not there yet."""
    return el("figure", el("div", words, class_="blank"), el("figcaption", el("b", title)))


def shots(*figures: Html, kind: str = "") -> str:
    """Figures side by side, under each other where the page is narrow."""
    return str(el("div", *figures, class_=f"shots {kind}".strip()))


def said(change: PictureChange) -> str:
    """What the classifier reads off both pictures, in a sentence."""
    moved = [one for one in change.labels if one.changed]
    if change.distance == 0:
        return "Both pictures are the same."
    if moved:
        labels = "; ".join(f"{one.label} {one.before} → {one.after}" for one in moved)
        return f"Changed: {labels}. All else that the classifier reads stayed."
    return "The picture moved, but not one of the five labels changed."


def changes(change: PictureChange) -> str:
    """What the classifier reads off both pictures, and how far they are apart."""
    distance = f"LPIPS {decimal(change.distance, 2)}: 0 is the same picture, two different scenes are 2 to 3 apart."
    return str(el("p", said(change), " ", el("small", distance), class_="verdict"))


def label_rows(change: PictureChange) -> tuple[list[tuple[str, ...]], list[int]]:
    """Rows of a table (label, unsteered, how sure, steered, how sure), and which of them changed."""
    rows: list[tuple[str, ...]] = [
        (one.label, one.before, percent(one.before_probability), one.after, percent(one.after_probability))
        for one in change.labels
    ]
    return rows, [place for place, one in enumerate(change.labels) if one.changed]


def strip_caption(change: PictureChange) -> str:
    """One line under a picture of a strip."""
    moved = [one.after for one in change.labels if one.changed]
    return (f"now {', '.join(moved)} · " if moved else "") + f"LPIPS {decimal(change.distance, 2)}"


def heat_shot(pixels: Pixels, heat: NDArray[np.float32], limit: float, step: int | None, title: str) -> Html:
    """The picture with its heat at denoising `step` (None: the mean over all), and the largest value in words."""
    values = heat.mean(0) if step is None else heat[min(step, len(heat) - 1)]
    return shot(overlay(pixels, values, limit), title, f"at most {decimal(float(values.max()), 2)}")


def heat_scale(limit: float, words: str) -> str:
    """The colours and what they stand for."""
    return str(el("div", "0", el("i"), f"{decimal(limit, 2)} and above", el("span", words), class_="scale"))


def feature_card(feature: LabFeature, strip: Pixels, step: int) -> str:
    """What is known of a feature, under the pictures in which it is most active."""
    facts: list[str] = []
    if feature.value is not None and feature.auroc is not None:
        facts.append(
            f"Active where the {feature.label} is {feature.value} (AUROC {decimal(feature.auroc, 2)}), in "
            f"{percent(feature.frequency)} of the pictures."
        )
    else:
        facts.append(f"Active in {percent(feature.frequency)} of the pictures.")
    if feature.coherence is not None:
        facts.append(f"Its top pictures resemble each other by {decimal(feature.coherence, 2)} (mean cosine of CLIP).")
    if feature.change is not None:
        moved = "raised" if feature.change >= 0 else "lowered"
        facts.append(
            f"On other prompts, steering up instead of down {moved} the share of pictures with {feature.value} by "
            f"{abs(round(100 * feature.change))} points."
        )
    else:
        facts.append("What it does when it is steered was not measured.")
    says = f"Pictures in which feature {feature.latent} is most active: {'; '.join(feature.prompts)}"
    facts.insert(0, f"Above: its top pictures. Below: where it fires in them, at step {step + 1}.")
    caption = el("figcaption", " ".join(facts))
    return str(el("figure", picture(strip, says), caption, class_="strip"))


def plain_strength(value: float) -> str:
    """0.8, with a true minus and no needless noughts."""
    return f"{value:g}".replace("-", "\u2212")


def png_uri(pixels: Pixels) -> str:
    """A picture as an address that holds it."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return data_uri("image/png", out.getvalue())
