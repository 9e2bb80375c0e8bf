"""The learning rate over a training, in rows and not in steps, so that another batch size keeps its shape."""

from steerkit.sae.config import SaeConfig

DECAY_SHARE = 0.2
"""The last fifth of the rows is trained with a rate that falls to 0, as SAELens and dictionary_learning do."""


def learning_rate(config: SaeConfig, seen: int, batch: int, rows: int) -> float:
    """The rate for a batch that comes after `seen` of `rows` rows.

    A linear rise over `warm_up_rows`, the peak, a linear fall to 0; the first batch moves, and so does the last one.
    """
    rise = min(1.0, (seen + batch) / config.warm_up_rows) if config.warm_up_rows else 1.0
    fall = min(1.0, (rows - seen) / (DECAY_SHARE * rows))
    return config.rate * rise * fall
