"""Captions of scenes: several wordings for each label, and labels left unsaid."""

import numpy as np

from steerwright.world.scene import Scene

PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "in the meadow", "on a meadow", "in a field"),
    "lake": ("by a lake", "at the lake", "near a lake", "on the shore of a lake"),
    "mountain": ("in the mountains", "near the mountains", "by a mountain", "below the mountains"),
    "street": ("on a street", "in the street", "in a city street", "in the city"),
    "room": ("in a room", "indoors", "inside a room", "in the living room"),
}
SEASON_PHRASES: dict[str, tuple[str, ...]] = {
    "winter": ("in winter", "during winter", "covered in snow", "in the snow", "on a snowy winter day",
               "on a cold winter day", "in a winter landscape"),
    "summer": ("in summer", "during summer", "on a sunny summer day", "in the summer sun", "on a hot summer day",
               "on a warm summer day", "in the summer heat"),
    "autumn": ("in autumn", "during autumn", "with autumn leaves", "on an autumn day", "in fall",
               "among falling leaves"),
    "spring": ("in spring", "during spring", "with spring flowers", "on a spring day", "with spring blossoms"),
}  # fmt: skip
SEASON_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "winter": ("winter", "snowy"),
    "summer": ("summer", "sunny"),
    "autumn": ("autumn",),
    "spring": ("spring",),
}
TIME_PHRASES: dict[str, tuple[str, ...]] = {
    "day": ("at noon", "during the day", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "under the moon", "in the dark"),
}
OPENINGS = ("a photo of ", "a picture of ", "an image of ", "a painting of ", "", "")

# Shares of captions that mention each label. Season is left out of 28 %, so that a prompt without one draws from all.
MENTIONS = {"season": 0.72, "colour": 0.62, "time": 0.6, "place": 0.85}


def with_article(noun: str) -> str:
    """`a boat`, `an umbrella`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


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
