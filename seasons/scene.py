"""A scene: five labels, and the nuisance values that make two scenes with the same labels differ."""

from dataclasses import dataclass

import numpy as np

from seasons.labels import COLOURS, INDOOR, LABELS, OBJECTS, PLACES, SEASONS, TIMES

# Rooms show their season through a window only, so they are kept rare: one scene in ten.
PLACE_SHARES = (0.24, 0.22, 0.22, 0.22, 0.10)
TIME_SHARES = (0.44, 0.28, 0.28)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the renderer needs; the same scene gives the same bytes.

    `x` is the object's centre and `horizon` the sky line, both as fractions of the image; `scale` is the object's
    size (1 is about 60 % of the image's height); `snow` is how much snow lies if the season is winter, in [0.5, 1].
    """

    season: str
    object: str
    colour: str
    place: str
    time: str
    snow: float
    x: float
    scale: float
    horizon: float
    seed: int

    @property
    def indoor(self) -> bool:
        return self.place == INDOOR

    def label_indices(self) -> tuple[int, ...]:
        """Index of each label's value, in the order of `LABELS`."""
        return tuple(values.index(getattr(self, name)) for name, values in LABELS.items())


def sample_scene(rng: np.random.Generator, **fixed: object) -> Scene:
    """Draw a scene; keyword arguments fix fields (`season="winter"`) without changing how the others are drawn."""
    drawn: dict[str, object] = {
        "season": SEASONS[rng.integers(len(SEASONS))],
        "object": OBJECTS[rng.integers(len(OBJECTS))],
        "colour": COLOURS[rng.integers(len(COLOURS))],
        "place": PLACES[rng.choice(len(PLACES), p=PLACE_SHARES)],
        "time": TIMES[rng.choice(len(TIMES), p=TIME_SHARES)],
        "snow": float(rng.uniform(0.5, 1.0)),
        "x": float(rng.uniform(0.38, 0.62)),
        "scale": float(rng.uniform(0.9, 1.1)),
        "horizon": float(rng.uniform(0.46, 0.56)),
        "seed": int(rng.integers(2**31)),
    }
    unknown = set(fixed) - set(drawn)
    if unknown:
        raise ValueError(f"A scene has no {sorted(unknown)}; its fields are {sorted(drawn)}.")
    return Scene(**(drawn | fixed))  # type: ignore[arg-type]


def sample_scenes(count: int, seed: int) -> list[Scene]:
    """`count` scenes; scene i depends on (seed, i) alone, so a longer list starts with the shorter one."""
    return [sample_scene(np.random.default_rng((seed, i))) for i in range(count)]
