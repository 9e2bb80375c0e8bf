import hashlib
import json
import logging
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from steerwright.dag import KEPT, Dep, Out, Param, code_digest, map_shards, previous_output
from steerwright.errors import UserError
from tasks.pause import pause

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardJob:
    value: int
    scale: int
    seconds: float
    target: Path
    before: Path | None


def make_shard(job: ShardJob) -> str:
    if job.target.exists():
        return KEPT
    temporary = job.target.with_name(f".{job.target.name}.{os.getpid()}")
    if job.before is not None:
        shutil.copyfile(job.before, temporary)
    else:
        _note(f"began {job.value} {os.getpid()}")
        log.info("shard %d begins", job.value)
        pause(job.seconds)
        _fail(job.value)
        temporary.write_text(json.dumps({"value": job.value * job.scale, "made_by": os.environ.get("RUN_LABEL")}))
    os.replace(temporary, job.target)
    _note(f"made {job.value} {os.getpid()}")
    return "made" if job.before is None else KEPT


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
    jobs = []
    for value in json.loads(numbers.read_text()):
        key = hashlib.sha256(f"{value} {scale} {code_digest()}".encode()).hexdigest()[:12]
        name = f"{value}-{key}.json"
        jobs.append(ShardJob(value, scale, seconds, shards / name, before.get(name)))
    map_shards(make_shard, jobs, "shards")
    wanted = [job.target.name for job in jobs]
    for left in set(os.listdir(shards)) - set(wanted):
        (shards / left).unlink()
    index.write_text(json.dumps(wanted))


def _note(line: str) -> None:
    """One line for whoever wants to know which process did what."""
    if "SYNTHETIC_SHARD_LOG" in os.environ:
        with open(os.environ["SYNTHETIC_SHARD_LOG"], "a") as log:
            log.write(f"{line}\n")


def _fail(value: int) -> None:
    """What the environment asks for: SYNTHETIC_FAIL="3 ConnectionResetError" fails shard 3 once, others always."""
    asked, _, kind = os.environ.get("SYNTHETIC_FAIL", "").partition(" ")
    if asked != str(value):
        return
    if kind == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    mark = Path(os.environ["SYNTHETIC_SHARD_LOG"] + ".failed")
    if kind == "UserError":
        raise UserError(f"shard {value} cannot be; choose another")
    if not mark.exists():
        mark.touch()
        raise ConnectionResetError("the line is down")
