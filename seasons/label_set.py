"""The seasons world's labels as judges take them: with the words by which prompts and CLIP know their values."""

from seasons.labels import (
    COLOURS,
    INDOOR,
    LABELS,
    OBJECTS,
    PLACE_PHRASES,
    PLACES,
    SEASON_ADJECTIVES,
    SEASON_PHRASES,
    SEASONS,
    TIME_PHRASES,
    TIMES,
)
from steerwright.prompts.label_set import LabelSet, with_article

# How CLIP is asked for the values, as ensembles of phrases.
CLIP_SEASON_PHRASES: dict[str, tuple[str, ...]] = {
    "spring": ("a photo of a spring landscape", "a scene in spring", "a view with spring flowers", "on a spring day"),
    "summer": ("a photo of a summer landscape", "a scene in summer", "a view in the summer sun", "on a hot summer day"),
    "autumn": ("a photo of an autumn landscape", "a scene in autumn", "a view with autumn leaves", "on an autumn day"),
    "winter": ("a photo of a winter landscape", "a scene in winter", "a view covered in snow", "on a snowy winter day"),
}
CLIP_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "season": CLIP_SEASON_PHRASES,
    "object": {name: (f"a photo of {with_article(name)}", f"a picture of {with_article(name)}") for name in OBJECTS},
    "colour": {name: tuple(f"a photo of {with_article(f'{name} {thing}')}" for thing in OBJECTS) for name in COLOURS},
    "place": {name: tuple(f"a photo of a scene {phrase}" for phrase in PLACE_PHRASES[name]) for name in PLACES},
    "time": {name: tuple(f"a photo of a scene {phrase}" for phrase in TIME_PHRASES[name]) for name in TIMES},
}

SEASONS_WORLD = LabelSet(
    name="the seasons world",
    values=LABELS,
    named_by={
        "season": {name: (name, *SEASON_PHRASES[name], *SEASON_ADJECTIVES[name]) for name in SEASONS},
        "object": {name: (name,) for name in OBJECTS},
        "colour": {name: (name,) for name in COLOURS},
        # `at a lake` means the lake in other words too.
        "place": {name: (name, *PLACE_PHRASES[name]) for name in PLACES},
        # `on a hot summer day` is said of nights too, so the bare word names no time.
        "time": {name: (*({name} - {"day"}), *TIME_PHRASES[name]) for name in TIMES},
    },
    phrases=CLIP_PHRASES,
    asked_by={
        "season": {name: SEASON_PHRASES[name][0] for name in SEASONS},
        "object": {name: f"with {with_article(name)}" for name in OBJECTS},
        "colour": {name: f"in {name}" for name in COLOURS},
        "place": {name: PLACE_PHRASES[name][0] for name in PLACES},
        "time": {name: TIME_PHRASES[name][0] for name in TIMES},
    },
    with_each={"colour": "object"},
    indoor=("place", INDOOR),
    outdoors_only=frozenset({"season"}),
    unbarred=frozenset({"colour"}),
)
