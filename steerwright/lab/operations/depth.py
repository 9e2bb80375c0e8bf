"""What a layer's depth tells of its work: four stages, in words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DepthStage:
    """A stretch of a model's depth: from `start` (a share of all layers) to the next stage's."""

    name: str
    start: float
    short: str
    text: str
    steering: str


STAGES = (
    DepthStage(
        "Reading",
        0.0,
        "what the tokens are",
        "The first blocks take in single tokens: which word a piece of spelling belongs to, what kind of word it is, "
        "what stands right beside it. Little of the sentence's meaning is there yet.",
        "A push here is rewritten by every block that follows. It often changes single words, or breaks spelling "
        "before it changes the manner.",
    ),
    DepthStage(
        "Gathering",
        0.25,
        "what the text is about",
        "Attention has moved things together: the topic, who does what, what was asked. Concepts such as a mood begin "
        "to lie along directions of their own.",
        "Often the best place to begin: the concept is there as one direction, and enough blocks follow to turn it "
        "into fitting words.",
    ),
    DepthStage(
        "Deciding",
        0.5,
        "what to say, and in which manner",
        "What the answer will be like is settled here: tone, style, how long it will be. Held-out examples of a "
        "concept are usually told apart best around here.",
        "Works well too, and with less strength in units of the residual norm. The later it is, the more the push acts "
        "on the next word alone.",
    ),
    DepthStage(
        "Speaking",
        0.75,
        "which token comes next",
        "The last blocks turn the decision into one token. Read with the model's own output layer, the vector now says "
        "almost what the model will say.",
        "Mostly too late: few blocks are left to make sense of a push, so it favours certain words instead of a "
        "manner.",
    ),
)


def stage_of(layer: int, layers: int) -> DepthStage:
    """The stage of `layer`, counted from 0, in a model of `layers`; a layer belongs where its middle lies."""
    depth = (layer + 0.5) / layers
    return [stage for stage in STAGES if stage.start <= depth][-1]


def layers_of(stage: DepthStage, layers: int) -> tuple[int, ...]:
    """The layers of a model of `layers` that belong to `stage`; none in a very shallow model."""
    return tuple(layer for layer in range(layers) if stage_of(layer, layers) is stage)
