"""What the gallery says first is of enough pictures."""

from typing import Any

from steerwright.report.flux.statistics import Ends
from steerwright.report.flux.words import steered_words


class _Feature:
    def __init__(self, latent: int, value: str) -> None:
        self.latent, self.label = latent, {"label": "season", "value": value}
        self.layer = type("Layer", (), {"name": "late"})()


def ends(latent: int, difference: float, pairs: int) -> Ends:
    feature: Any = _Feature(latent, f"value{latent}")
    return Ends(feature, -0.8, 0.8, 0.0, difference, 0.0, difference, difference / 2, difference, pairs)


def test_a_strip_of_three_pictures_does_not_beat_a_grid_of_twelve() -> None:
    told = steered_words([ends(1, 1.0, 3), ends(2, 0.6, 12), ends(3, 0.2, 12)])
    assert told is not None and "value2" in told.sentence and "of 12 pictures" in told.sentence


def test_strips_count_where_there_is_nothing_else() -> None:
    told = steered_words([ends(1, 1.0, 3)])
    assert told is not None and "value1" in told.sentence and "of 3 pictures" in told.sentence
