"""kill -9 at random moments: does the next run finish by itself, with the same hashes, without doing anything twice?

    python -m benchmarks.crash --runs 20 --seed 1            the winter pipeline, parameters of params/tiny.yaml
    python -m benchmarks.crash --runs 20 --synthetic         a small pipeline that only sleeps, in a few minutes

Half of the runs are killed while `steerwright run` is at work and half while `dvc repro` is, the whole process group at
once. The next run is by the same command; before `dvc repro` comes `steerwright repair`, and the table says if it
mended anything. Work counts as done twice when a stage that had returned is started again, or when a finished unit (an
image, a shard: see --units) that lay in the temporary folder at the kill is another file (inode, time) in the final
output. Everything happens in copies of the checkout in a temporary folder. Exit code 1 if any run fails in any of this.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.synthetic_project import GIT, Checkout, copy_checkout, make_checkout

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = ("engine", "dvc")
Units = dict[str, tuple[int, int]]


@dataclass
class Trial:
    """One kill and what came of it."""

    number: int
    door: str
    after: float
    during: str = ""
    finished: int = 0
    units: int = 0
    mended: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class Pipeline:
    """What is run, and what counts as a unit of work in it."""

    flow: str
    units: list[str]

    def command(self, checkout: Checkout, door: str) -> list[str]:
        if door == "engine":
            return checkout.steerwright("run", self.flow, "--no-prefect")
        stages = [name for name in lock_or_yaml_stages(checkout.root / "dvc.yaml") if name.startswith(f"{self.flow}-")]
        return ["dvc", "repro", *stages]


def main() -> int:
    options = parse()
    home = Path(tempfile.mkdtemp(prefix="steerwright-crash-", dir=options.folder))
    print(f"in {home}")
    try:
        if options.synthetic:
            pipeline = Pipeline("demo", options.units or ["*.json", "*.txt"])
            pristine = make_checkout(home / "pristine")
            pristine.environment["SYNTHETIC_PAUSE"] = "0.5"
        else:
            pipeline = Pipeline(options.flow, options.units or ["*.png", "*.arrow"])
            pristine = copy_of_repository(home / "pristine", options.params)
        return benchmark(pipeline, pristine, home, options.runs, options.seed)
    finally:
        if not options.keep:
            shutil.rmtree(home, ignore_errors=True)


def benchmark(pipeline: Pipeline, pristine: Checkout, home: Path, runs: int, seed: int) -> int:
    chance = random.Random(seed)
    seconds: dict[str, float] = {}
    expected: dict[str, str] = {}
    for door in COMMANDS:
        checkout = copy_checkout(pristine, home / f"undisturbed-{door}")
        start = time.monotonic()
        checkout.call(pipeline.command(checkout, door))
        seconds[door] = time.monotonic() - start
        found = checkout.hashes()
        print(f"undisturbed by {door}: {seconds[door]:.1f} s, {len(checkout.started())} stages computed", flush=True)
        if expected and found != expected:
            print("FAILED: the two commands made different results:", *differences(expected, found), sep="\n  ")
            return 1
        expected = found
        shutil.rmtree(checkout.root)
    trials = []
    for number in range(1, runs + 1):
        door = COMMANDS[number % 2]
        after = chance.uniform(0.05, 0.98) * seconds[door]
        trial = Trial(number, door, after)
        checkout = copy_checkout(pristine, home / f"run-{number}")
        kill_and_recover(trial, checkout, pipeline, expected)
        trials.append(trial)
        print(row(trial), flush=True)
        if not trial.problems:
            shutil.rmtree(checkout.root)
    failed = [trial for trial in trials if trial.problems]
    print(f"\n{len(trials) - len(failed)} of {len(trials)} recovered without loss")
    for trial in failed:
        print(f"run {trial.number}:", *trial.problems, sep="\n  ")
    return 1 if failed else 0


def kill_and_recover(trial: Trial, checkout: Checkout, pipeline: Pipeline, expected: dict[str, str]) -> None:
    process = checkout.start(pipeline.command(checkout, trial.door))
    try:
        process.wait(timeout=trial.after)
        trial.during = "(had ended)"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = journal(checkout)
    finished = {stage for what, stage in before if what == "finished"}
    open_stages = [stage for what, stage in before if what == "started" and stage not in finished]
    trial.during = trial.during or ", ".join(open_stages) or "(between stages)"
    trial.finished = len(finished)
    made = units_in_progress(checkout.root, pipeline.units)
    trial.units = len(made)
    if trial.door == "dvc":
        said = checkout.call(checkout.steerwright("repair"), check=False).stdout.strip()
        trial.mended = "" if said == "nothing to mend" else said
    again = checkout.call(pipeline.command(checkout, trial.door), check=False)
    if again.returncode != 0:
        trial.problems.append(f"the next run ended with {again.returncode}: {again.stderr.strip()[-600:]}")
        return
    for what, stage in journal(checkout)[len(before) :]:
        if what == "started" and stage in finished:
            trial.problems.append(f"{stage} had finished and was computed again")
    trial.problems += [f"{path} was made again" for path in made_again(checkout.root, made)]
    found = checkout.hashes()
    if found != expected:
        trial.problems += differences(expected, found)


def units_in_progress(root: Path, patterns: list[str]) -> Units:
    """Finished units in temporary folders: "stage/argument/relative path" -> (inode, time of change)."""
    found: Units = {}
    for folder in (root / "artifacts" / ".tmp").glob("*"):
        stage = folder.name.rpartition(".")[0]
        for path in folder.glob("*/*/**/*"):
            relative = path.relative_to(folder)
            wanted = any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
            if wanted and not path.name.startswith(".") and path.is_file() and not relative.parts[0].endswith(".link"):
                stat = path.stat()
                found[f"{stage}/{relative.as_posix()}"] = (stat.st_ino, stat.st_mtime_ns)
    return found


def made_again(root: Path, units: Units) -> list[str]:
    """Units that are in a final output as a file that was not there at the kill."""
    again = []
    # Equal pictures (a dose of 1 is the fixed strength) are one file in DVC's cache, so either's file will do.
    there = set(units.values())
    for name in units:
        stage, _, relative = name.partition("/")
        pipeline, _, rest = stage.partition("-")
        # <argument>/<name of the output>/...: the argument is not part of the place.
        place = root / "artifacts" / pipeline / rest / relative.partition("/")[2]
        if place.exists():
            stat = place.stat()
            if (stat.st_ino, stat.st_mtime_ns) not in there:
                again.append(name)
    return again


def journal(checkout: Checkout) -> list[tuple[str, str]]:
    """(started | finished | placed, stage), in order."""
    if not checkout.journal.exists():
        return []
    lines = [line.split() for line in checkout.journal.read_text().splitlines()]
    return [(line[1], line[2]) for line in lines if len(line) == 4]


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    names = sorted({*expected, *found})
    return [f"{n}: {found.get(n)} instead of {expected.get(n)}" for n in names if found.get(n) != expected.get(n)]


def lock_or_yaml_stages(path: Path) -> list[str]:
    from ruamel.yaml import YAML

    return list(YAML(typ="safe").load(path.read_text())["stages"])


def copy_of_repository(root: Path, params: Path) -> Checkout:
    """What git tracks or would track, with the values of ``params``, as a repository of its own and an empty cache."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    checkout = Checkout(root, {"PYTHONPATH": str(root)})
    merge = (
        "import sys; from pathlib import Path; from steerwright.dag import params, registry; root = Path.cwd();"
        "free = {key for stage in registry.all_stages(root).values() for key in stage.params.values()};"
        "params.merge_file(root, Path(sys.argv[1]), free)"
    )
    checkout.call([sys.executable, "-c", merge, str(params.resolve())])
    checkout.call(checkout.steerwright("dag", "--write"))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        checkout.call([*GIT, *command])
    return checkout


def row(trial: Trial) -> str:
    verdict = "FAILED" if trial.problems else "ok"
    mended = f"  repaired: {trial.mended}" if trial.mended else ""
    return (
        f"{trial.number:3d}  {trial.door:6s}  killed after {trial.after:6.2f} s  {trial.finished:2d} stages and "
        f"{trial.units:4d} units kept  {verdict:6s}  during {trial.during}{mended}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flow", default="winter")
    parser.add_argument("--params", type=Path, default=REPOSITORY / "params" / "tiny.yaml", help="small parameters")
    parser.add_argument("--synthetic", action="store_true", help="a small pipeline that only sleeps")
    parser.add_argument("--units", nargs="*", help="file names of units of work (default: *.png *.arrow)")
    parser.add_argument("--folder", type=Path, help="where to put the copies (default: the system's temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the copies")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
