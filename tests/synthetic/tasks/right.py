import json
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param
from tasks.estimators.largest import estimate
from tasks.pause import pause


def right(
    shards: Annotated[Path, Dep()],
    offset: Annotated[float, Param()],
    seconds: Annotated[float, Param("/pause")],
    result: Annotated[Path, Out("result.json")],
) -> None:
    """The largest of the shards."""
    pause(10 * seconds)
    values = [json.loads(path.read_text())["value"] for path in sorted(shards.iterdir())]
    result.write_text(json.dumps(estimate(values) + offset))
