"""Captions of scenes: several wordings for each label, and labels left unsaid."""

import numpy as np

from seasons.labels import PLACE_PHRASES, SEASON_ADJECTIVES, SEASON_PHRASES, TIME_PHRASES
from seasons.scene import Scene
from steerwright.prompts.label_set import with_article

OPENINGS = ("a photo of ", "a picture of ", "an image of ", "a painting of ", "", "")

# Shares of captions that mention each label. Season is left out of 28 %, so that a prompt without one draws from all.
MENTIONS = {"season": 0.72, "colour": 0.62, "time": 0.6, "place": 0.85}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence that is true of the scene; draws the wording, the order and what is left unsaid."""

    def pick(choices: tuple[str, ...]) -> str:
        return choices[rng.integers(len(choices))]

    said = {label: rng.random() < share for label, share in MENTIONS.items()}
    if rng.random() < 0.04:  # some captions name no object, so that "a winter landscape" means something
        adjective = pick(SEASON_ADJECTIVES[scene.season]) + " " if said["season"] else ""
        kind = pick(("scene", "landscape", "view"))
        place = f" {pick(PLACE_PHRASES[scene.place])}" if said["place"] else ""
        return f"{with_article(adjective + kind)}{place}"

    noun = with_article(f"{scene.colour} {scene.object}" if said["colour"] else scene.object)
    opening = pick(OPENINGS)
    parts = [pick(PLACE_PHRASES[scene.place])] if said["place"] else []
    if said["season"]:
        if rng.random() < 0.12:
            opening = f"{with_article(pick(SEASON_ADJECTIVES[scene.season]))} scene of "
        else:
            parts.append(pick(SEASON_PHRASES[scene.season]))
    if said["time"]:
        parts.append(pick(TIME_PHRASES[scene.time]))
    if rng.random() < 0.3:
        rng.shuffle(parts)
    if parts and rng.random() < 0.1:
        return " ".join([f"{parts[0]},", noun, *parts[1:]])
    return " ".join([opening + noun, *parts])


def full_caption(scene: Scene) -> str:
    """The one caption that names all five labels, in the plainest words."""
    return " ".join(
        [
            f"a photo of {with_article(f'{scene.colour} {scene.object}')}",
            PLACE_PHRASES[scene.place][0],
            SEASON_PHRASES[scene.season][0],
            TIME_PHRASES[scene.time][0],
        ]
    )
