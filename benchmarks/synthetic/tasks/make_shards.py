import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Dep, Out, Param, code_digest, previous_output, progress
from tasks.pause import pause


def make_shards(
    numbers: Annotated[Path, Dep()],
    scale: Annotated[int, Param()],
    seconds: Annotated[float, Param("/pause")],
    shards: Annotated[Path, Out("shards", resume=True)],
    index: Annotated[Path, Out("index.json")],
) -> None:
    """Multiply every number, one shard each; a shard that an earlier run made is taken over."""
    shards.mkdir(exist_ok=True)
    before = previous_output("shards")
    values = json.loads(numbers.read_text())
    wanted = []
    for done, value in enumerate(values):
        key = hashlib.sha256(f"{value} {scale} {code_digest()}".encode()).hexdigest()[:12]
        name = f"{value}-{key}.json"
        wanted.append(name)
        target = shards / name
        temporary = shards / f".{name}.writing"
        if not target.exists():
            if name in before:
                shutil.copyfile(before[name], temporary)
            else:
                pause(seconds)
                temporary.write_text(json.dumps({"value": value * scale, "made_by": os.environ.get("RUN_LABEL")}))
            os.replace(temporary, target)
        progress(done + 1, len(values), "shards")
    for left in set(os.listdir(shards)) - set(wanted):
        (shards / left).unlink()
    index.write_text(json.dumps(wanted))
