import json
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param
from tasks.estimators.mean import estimate
from tasks.pause import pause


def left(
    shards: Annotated[Path, Dep()],
    offset: Annotated[float, Param()],
    seconds: Annotated[float, Param("/pause")],
    result: Annotated[Path, Out("result.json")],
) -> None:
    """The mean of the shards."""
    pause(10 * seconds)
    values = [json.loads(path.read_text())["value"] for path in sorted(shards.iterdir())]
    result.write_text(json.dumps(estimate(values) + offset))
