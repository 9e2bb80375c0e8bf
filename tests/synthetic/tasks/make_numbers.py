import json
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param


def make_numbers(
    weights: Annotated[Path, Dep()],
    count: Annotated[int, Param()],
    numbers: Annotated[Path, Out("numbers.json")],
) -> None:
    """Make the numbers."""
    first = len(weights.read_text().split())
    numbers.write_text(json.dumps(list(range(first, first + count))))
