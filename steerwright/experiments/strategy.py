"""The closed set of adaptive strategies, and one way to ask any of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, assert_never

from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from steerwright.errors import UserErrors, problems_at
from steerwright.experiments.closed_loop import Attempt, ClosedLoop, Generate, Score, closed_loop_doses
from steerwright.experiments.dose import Dose, Keywords, keyword_doses
from steerwright.experiments.projection import Calibration, Projection, projection_doses

Strategy = Annotated[Keywords | Projection | ClosedLoop, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Keywords | Projection | ClosedLoop] = TypeAdapter(Strategy)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What strategies may ask about the prompts; each is called only by the strategy that needs it.

    `projections`: the calibration and the prompts' projections [n, slots]. `seeds`: the seeds of each prompt on which
    the closed loop searches, with `generate` and `score`.
    """

    projections: Callable[[], tuple[Calibration, Tensor]]
    seeds: Sequence[Sequence[int]]
    generate: Generate
    score: Score


def parse_strategy(params: Mapping[str, Any], where: str = "strategy") -> Keywords | Projection | ClosedLoop:
    """The strategy that params describe. Raises UserErrors with every problem as `key.path: message`."""
    try:
        return _ADAPTER.validate_python(dict(params))
    except ValidationError as error:
        problems = problems_at(error, where, skip=1)
        raise UserErrors("The adaptive strategy in params.yaml is not valid:", problems) from None


def doses(
    strategy: Keywords | Projection | ClosedLoop, prompts: Sequence[str], evidence: Evidence
) -> tuple[list[Dose], list[Attempt]]:
    """One dose per prompt, and the closed loop's attempts (empty for strategies that do not search)."""
    match strategy:
        case Keywords():
            return keyword_doses(strategy, prompts), []
        case Projection():
            calibration, projected = evidence.projections()
            return projection_doses(strategy, calibration, projected), []
        case ClosedLoop():
            return closed_loop_doses(strategy, prompts, evidence.seeds, evidence.generate, evidence.score)
        case _:
            assert_never(strategy)


def strategy_with_words(
    params: Mapping[str, Any], words: Mapping[str, Any], where: str = "strategy"
) -> Keywords | Projection | ClosedLoop:
    """The strategy that params describe; the keyword strategy takes its lists from `words`.

    Raises UserErrors with every problem as `key.path: message`.
    """
    whole = {**params, **words} if params.get("kind") == "keywords" else params
    return parse_strategy(whole, where)
