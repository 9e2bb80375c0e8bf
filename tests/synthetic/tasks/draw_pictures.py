import json
import os
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param, progress
from tasks.pause import pause


def draw_pictures(
    left: Annotated[Path, Dep()],
    right: Annotated[Path, Dep()],
    count: Annotated[int, Param()],
    strategy: Annotated[dict, Param()],
    seconds: Annotated[float, Param("/pause")],
    pictures: Annotated[Path, Out("pictures", resume=True)],
) -> None:
    """One picture after another, each of them kept if the run is killed."""
    pictures.mkdir(exist_ok=True)
    dose = json.loads(left.read_text()) + json.loads(right.read_text())
    for index in range(count):
        target = pictures / f"{index:03d}.txt"
        if not target.exists():
            pause(seconds)
            temporary = pictures / f".{target.name}.writing"
            temporary.write_text(f"picture {index} {dose} {strategy['kind']}\n" * strategy.get("size", 1))
            os.replace(temporary, target)
        progress(index + 1, count, "pictures")
