"""Is what is called up to date up to date, and only what changed called stale? Random changes, asked of both commands.

    python -m benchmarks.cache_truth                    200 changes of a copy of the checkout, tiny parameters
    python -m benchmarks.cache_truth --flow everything --changes 40 --seed 3

The copy steers a model of its own, in a folder outside the project whose UNet is a link, and is judged by a CLIP of its
own. After each change `steerwright status` and `dvc status` must name exactly the stages that read what changed; it is
taken back before the next one. Every twentieth change is run, by a command drawn at random: every stage that reads what
changed must be computed, no stage may be that does not stand on one of these, both commands must then find nothing to
do, and once the change is taken back dvc.lock must come back byte for byte. Changes are drawn again until a run
concerns at most sixteen stages: a line in a module that all stages import would take an hour.

What should be named is worked out without the engine: files by the wiring, code by the import graph of grimp, libraries
by the same graph. `dvc status` cannot look at libraries and folders outside the project: it reports the stage
`environment` as always changed, and is asked after `steerwright status`, which brings artifacts/environment.json up to
date.
Exit code 1 if a single answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EVERY = 20
MOST_RUN = 16
# What every status imports first, none of it ours: imported once, by the process from which the commands are forked.
PRELOADED = [
    "torch", "polars", "dvc.cli", "dvc.repo", "dvc.repo.status", "dvc.commands.data_sync", "typer", "rich.table",
    "ruamel.yaml", "pydantic", "diffusers", "transformers",
]  # fmt: skip
ENGINE = re.compile(r"(steerwright\.(dag|cli)|tasks\.__main__|tasks\.\w+\.(\w+_)?pipeline)(\.|$)")
# Import name -> distribution, and what each brings along without our importing it (docs/dvc.md).
LIBRARIES = {
    "diffusers": "diffusers", "lpips": "lpips", "matplotlib": "matplotlib", "nnsight": "nnsight",
    "open_clip": "open-clip-torch", "optuna": "optuna", "polars": "polars", "pyarrow": "pyarrow",
    "safetensors": "safetensors", "scipy": "scipy", "torch": "torch", "transformers": "transformers",
}  # fmt: skip
# Keys whose values may be raised by one without making a run fail: seeds.
SAFE_KEYS = (
    "winter.scores.bootstrap_seed", "winter.images.random_direction_seed", "attention.scores.bootstrap_seed",
    "language.scores.bootstrap_seed", "latents.scores.bootstrap_seed",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--flow", default="winter", help="a pipeline, or everything (which takes an hour)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="copies in which changes are tried side by side")
    parser.add_argument("--keep", action="store_true", help="leave the copies where they are")
    parser.add_argument("--base", type=Path, help="the folder `base` of an earlier run with --keep, of the same code")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # also of the process that commands are forked from
    _processes.set_forkserver_preload(PRELOADED)
    home = Path(tempfile.mkdtemp(prefix="steerwright-cache-truth-"))
    try:
        begun = time.monotonic()
        base = make_base(home / "base", options.flow) if options.base is None else Place(options.base, options.flow)
        print(f"{options.flow} run once, tiny: {time.monotonic() - begun:.0f} s", flush=True)
        # In stretches of twenty, so that every copy has its share of what is run.
        numbers = [
            [number for number in range(options.changes) if number // EVERY % options.workers == worker]
            for worker in range(options.workers)
        ]
        places = [base.copied(home / f"worker{worker}") for worker in range(options.workers)]
        with ThreadPoolExecutor(options.workers) as pool:
            tried = [one for many in pool.map(try_changes, places, numbers, [options] * len(places)) for one in many]
    finally:
        if not options.keep:
            shutil.rmtree(home, ignore_errors=True)
    return report(tried, time.monotonic() - begun)


def report(tried: list[Tried], seconds: float) -> int:
    """Print the table, each wrong answer first."""
    for one in tried:
        for line in one.wrong:
            print(f"WRONG {one.kind}: {one.what}: {line}")
    print(f"{'change':22s} {'tried':>6s} {'run':>5s} {'right':>6s} {'stages named, mean':>19s}")
    for kind in KINDS:
        some = [one for one in tried if one.kind == kind]
        if some:
            mean = sum(one.named for one in some) / len(some)
            run, right = sum(one.run for one in some), sum(not one.wrong for one in some)
            print(f"{kind:22s} {len(some):6d} {run:5d} {right:6d} {mean:19.1f}")
    right = sum(not one.wrong for one in tried)
    print(f"\n{right} of {len(tried)} right, in {seconds / 60:.0f} min")
    return 0 if right == len(tried) else 1


_processes = multiprocessing.get_context("forkserver")


def _answer(sender: Any, root: Path, environment: dict[str, str], command: tuple[str, ...]) -> None:
    """In a process of its own: run the command's main function and send its exit code and output."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(root)
    sys.path[:] = [*environment["PYTHONPATH"].split(os.pathsep), *(path for path in sys.path if path != str(ROOT))]
    sys.argv = list(command)
    # Below Python, since libraries keep the streams that they found when they were imported.
    said, told = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # until the process ends
    os.dup2(said.fileno(), 1)
    os.dup2(told.fileno(), 2)
    try:
        if command[0] == "dvc":
            from dvc.cli import main

            code = main(list(command[1:]))
        else:
            from steerwright.cli.main import main as steerwright_main

            code = steerwright_main() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        code, _ = 1, sys.stderr.write(repr(error))
    sys.stdout.flush()
    sys.stderr.flush()
    shown = said if code == 0 else told
    shown.seek(0)
    sender.send((code, shown.read().decode()))
    sender.close()
    os._exit(0)


@dataclass
class Tried:
    """One change, and every wrong answer that it drew."""

    kind: str
    what: str
    named: int
    run: bool
    wrong: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A copy of the checkout in ``home``/project, beside the folders that its parameters name."""

    home: Path
    flow: str

    @property
    def root(self) -> Path:
        return self.home / "project"

    @property
    def journal(self) -> Path:
        return self.home / "journal"

    def copied(self, home: Path) -> Place:
        """Everything in another place, hard links and links kept."""
        subprocess.run(["cp", "-a", str(self.home), str(home)], check=True)
        return Place(home, self.flow)

    def environment(self) -> dict[str, str]:
        """The environment of the project's commands."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.home / 'site'}{os.pathsep}{self.root}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.home / "dvc-site-cache"),
            "STEERWRIGHT_JOURNAL": str(self.journal),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "1000",
        }

    def answer(self, *command: str) -> str:
        """What `steerwright` or `dvc` prints with these arguments, forked from a process with the libraries."""
        receiver, sender = _processes.Pipe(duplex=False)
        process = _processes.Process(target=_answer, args=(sender, self.root, self.environment(), command))
        process.start()
        sender.close()
        code, said = receiver.recv()
        process.join()
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {code}\n{said}")
        return str(said)

    def call(self, *command: str) -> str:
        """Run a command in the project; its failure is an error that shows what it said."""
        environment = self.environment()
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def steerwright(self, *arguments: str) -> str:
        return self.call(sys.executable, "-m", "steerwright.cli.main", *arguments)

    def named_by_steerwright(self) -> set[str]:
        """Stages that `steerwright status` says would run by what they read themselves."""
        said = self.answer("steerwright", "status", self.flow)
        return {line.split()[0] for line in said.splitlines() if re.search(r"\s{2}would run\s", line)}

    def named_by_dvc(self) -> set[str]:
        """Stages that `dvc status` reports, without `environment`, which it always does."""
        targets = [] if self.flow == "everything" else ["--with-deps", f"{self.flow}-report"]
        said = self.answer("dvc", "status", "--json", *targets)
        return set(json.loads(said[said.index("{") :])) - {"environment"}

    def run(self, door: str) -> list[str]:
        """Bring the flow up to date; the stages that were computed."""
        self.journal.unlink(missing_ok=True)
        if door == "dvc repro":
            self.call("dvc", "repro", *([] if self.flow == "everything" else [f"{self.flow}-report"]))
        else:
            self.steerwright("run", self.flow, "--no-prefect")
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [line.split()[2] for line in lines if line.split()[1] == "started"]

    def lock(self) -> str:
        """dvc.lock without the entry of the stage `environment`."""
        text = (self.root / "dvc.lock").read_text()
        return re.sub(r"^  environment:\n(    .*\n)*", "", text, flags=re.MULTILINE)

    @cached_property
    def truth(self) -> Truth:
        return Truth(self)


def make_base(home: Path, flow: str) -> Place:
    """The checkout with tiny parameters, a model and a CLIP of its own beside it, and the flow run."""
    place = Place(home, flow)
    place.root.mkdir(parents=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in files.decode().split("\0"):
        if name and not name.startswith(("tests/", "docs/", "benchmarks/")) and (ROOT / name).is_file():
            (place.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place.root / name)
    (home / "site").mkdir()
    shutil.copytree(ROOT / "models/seasons-clip", home / "own-clip")
    shutil.copytree(ROOT / "models/seasons-sd", home / "own-model", ignore=shutil.ignore_patterns("unet"))
    for name in ("own-unet", "own-unet-b"):
        shutil.copytree(ROOT / "models/seasons-sd/unet", home / name)
    flip(next((home / "own-unet-b").glob("*.safetensors")), random.Random(0))
    (home / "own-model/unet").symlink_to("../own-unet")
    own = home / "own.yaml"
    own.write_text(
        "model: own\n"
        "models:\n  own: {family: sd, source: ../own-model, revision: null, dtype: float32, steps: 4, guidance: 4.0}\n"
        "scorers: {clip: ../own-clip}\n"
    )
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        place.call(*git, *arguments)
    place.steerwright("run", "winter", "--only", "winter-prompts", "--no-prefect", "--params", "params/tiny.yaml")
    place.steerwright("run", flow, "--no-prefect", "--params", str(own))
    return place


class Truth:
    """Which stages read what, worked out from the wiring and from grimp's import graph; the engine is not asked."""

    def __init__(self, place: Place) -> None:
        import grimp

        self.place = place
        code = (
            "import json; from pathlib import Path; from steerwright.dag import registry\n"
            "print(json.dumps({s.name: [s.function.__module__, s.dep_paths(), sorted(set(s.params.values())), s.frozen]"
            " for s in registry.all_stages(Path.cwd()).values()}))"
        )
        wired = json.loads(place.call(sys.executable, "-c", code))
        in_flow = set(re.findall(r"[\w-]+", place.steerwright("dag", "--show"))) & set(wired)
        if place.flow != "everything":
            in_flow = {name for name in in_flow if name.startswith((f"{place.flow}-", "model-"))}
        self.stages = {name: wired[name] for name in sorted(in_flow) if not wired[name][3]}
        self.params = self._load_params()
        before = list(sys.path)
        sys.path.insert(0, str(place.root))
        try:
            graph = grimp.build_graph(
                "steerwright",
                "tasks",
                include_external_packages=True,
                exclude_type_checking_imports=True,
                cache_dir=None,
            )
        finally:
            sys.path[:] = before
        self.reached = {name: self._reached(graph, found[0]) for name, found in self.stages.items()}

    def _load_params(self) -> dict[str, Any]:
        from ruamel.yaml import YAML

        found: dict[str, Any] = YAML(typ="safe").load((self.place.root / "params.yaml").read_text())
        return found

    @staticmethod
    def _reached(graph: Any, module: str) -> set[str]:
        seen: set[str] = set()
        pending = [module]
        while pending:
            name = pending.pop()
            if name in seen or ENGINE.match(name):
                continue
            seen.add(name)
            if name in graph.modules:
                pending += graph.find_modules_directly_imported_by(name)
            if "." in name:
                pending.append(name.rpartition(".")[0])
        return seen

    def of_file(self, path: str) -> set[str]:
        """Stages that are wired to a file, or to a folder above it."""
        return {
            name
            for name, (_, deps, _, _) in self.stages.items()
            if any(path == dep or path.startswith(f"{dep}/") for dep in deps)
        }

    def of_module(self, module: str) -> set[str]:
        return {name for name, reached in self.reached.items() if module in reached}

    def of_key(self, leaf: str) -> set[str]:
        return {
            name
            for name, (_, _, keys, _) in self.stages.items()
            if any(leaf == key or leaf.startswith(f"{key}.") for key in keys)
        }

    def of_own_model(self) -> set[str]:
        """Stages that read `models` and, by `model`, the entry of our own; those of other models read other entries."""
        return self.of_key("models.own.source") & self.of_key("model")

    @cached_property
    def edges(self) -> list[tuple[str, str]]:
        """From a stage to one that reads what it writes, by DVC's own graph."""
        return re.findall(r'"([\w-]+)" -> "([\w-]+)"', self.place.call("dvc", "dag", "--dot"))

    def after(self, names: set[str]) -> set[str]:
        """These stages, and all that stand on them."""
        edges = self.edges
        found, pending = set(names), list(names)
        while pending:
            here = pending.pop()
            more = {two for one, two in edges if one == here} - found
            found |= more
            pending += more
        return found


@dataclass
class Change:
    """What was done, which stages read it, and how it is taken back (by the context manager that made it)."""

    what: str
    affected: set[str]
    computed: set[str] | None = None
    """Those of them that a run must compute; None: all."""


def flip(path: Path, chance: random.Random) -> int:
    """Change one byte of a file, in its last quarter (past the header of safetensors); returns where."""
    content = bytearray(path.read_bytes())
    # Even offsets: the low byte of a half-precision number, which stays a number.
    at = chance.randrange(3 * len(content) // 4, len(content)) & ~1
    content[at] ^= 1
    path.write_bytes(bytes(content))
    return at


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Give a file its content and its times back."""
    content, stamp = path.read_bytes(), path.stat()
    try:
        yield
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@contextmanager
def input_file(place: Place, chance: random.Random, _run: bool) -> Iterator[Change]:
    """A file below data/: one more line, so that what is read stays readable."""
    files = [path for path in sorted((place.root / "data").rglob("*")) if path.is_file()]
    names = [path.relative_to(place.root).as_posix() for path in files]
    # One in four from anywhere: what another pipeline reads must name nothing.
    name = chance.choice(names if chance.random() < 0.25 else [one for one in names if place.truth.of_file(one)])
    path = place.root / name
    with restored(path):
        path.write_bytes(path.read_bytes() + b"\n")
        yield Change(name, place.truth.of_file(name))


@contextmanager
def model_folder(place: Place, chance: random.Random, _run: bool) -> Iterator[Change]:
    """A byte of weights outside the project, behind a link or not: the model's or the judge's."""
    folder = place.home / chance.choice(["own-model", "own-unet", "own-clip"])
    path = chance.choice(sorted(folder.rglob("*.safetensors")))
    readers = place.truth.of_key("scorers.clip") if folder.name == "own-clip" else place.truth.of_own_model()
    with restored(path):
        at = flip(path, chance)
        yield Change(f"{path.relative_to(place.home)} at {at}", readers)


@contextmanager
def line_of_code(place: Place, chance: random.Random, _run: bool) -> Iterator[Change]:
    """One more statement in a module that some stage reaches."""
    truth = place.truth
    modules = sorted({one for reached in truth.reached.values() for one in reached if has_code(place.root, one)})
    module = chance.choice(modules)
    path = module_file(place.root, module)
    with restored(path):
        path.write_text(path.read_text() + "\n_CHANGED_BY_CACHE_TRUTH = 1\n")
        yield Change(module, truth.of_module(module))


@contextmanager
def key_of_params(place: Place, chance: random.Random, run: bool) -> Iterator[Change]:
    """A number, word or switch in params.yaml that some stage reads."""
    from ruamel.yaml import YAML

    truth = place.truth
    keys = sorted({key for _, _, keys, _ in truth.stages.values() for key in keys})
    leaves = sorted(leaf for key in keys for leaf in scalar_leaves(truth.params, key))
    safe = [leaf for leaf in leaves if leaf in SAFE_KEYS]
    leaf = chance.choice(safe if run and safe else [one for one in leaves if not one.startswith(("models.", "model"))])
    path = place.root / "params.yaml"
    with restored(path):
        values = YAML(typ="safe").load(path.read_text())
        inner, parts = values, leaf.split(".")
        for part in parts[:-1]:
            inner = inner[int(part) if isinstance(inner, list) else part]
        last: Any = int(parts[-1]) if isinstance(inner, list) else parts[-1]
        before = inner[last]
        inner[last] = (
            not before if isinstance(before, bool) else before + (1 if isinstance(before, int | float) else "x")
        )
        path.write_text(json.dumps(values, indent=1))  # which is YAML too
        yield Change(f"{leaf}: {before} -> {inner[last]}", truth.of_key(leaf))


@contextmanager
def library(place: Place, chance: random.Random, _run: bool) -> Iterator[Change]:
    """Another version of a library, by a fake that is found before the installed one."""
    name, distribution = chance.choice(sorted(LIBRARIES.items()))
    version = f"{metadata.version(distribution).partition('+')[0]}.post7"
    folder = place.home / "site" / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    try:
        yield Change(f"{distribution} {version}", place.truth.of_module(name))
    finally:
        shutil.rmtree(folder)


@contextmanager
def linked_folder(place: Place, _chance: random.Random, _run: bool) -> Iterator[Change]:
    """The link to the UNet leads to another one."""
    link = place.home / "own-model/unet"

    def lead_to(target: str) -> None:
        link.unlink()
        link.symlink_to(f"../{target}")

    lead_to("own-unet-b")
    try:
        yield Change("own-model/unet -> own-unet-b", place.truth.of_own_model())
    finally:
        lead_to("own-unet")


@contextmanager
def cache_object(place: Place, chance: random.Random, run: bool) -> Iterator[Change]:
    """A damaged object of the cache, with or without the output that was made of it."""
    from ruamel.yaml import YAML

    entries = YAML(typ="safe").load((place.root / "dvc.lock").read_text())["stages"]
    files = [
        (name, out)
        for name, entry in entries.items()
        if name in place.truth.stages
        for out in entry["outs"]
        if "nfiles" not in out and cached(place.root, out["md5"]).is_file()
    ]
    name, out = chance.choice(files)
    object_, output = cached(place.root, out["md5"]), place.root / out["path"]
    lost = run or chance.random() < 0.5
    good, stamp = object_.read_bytes(), object_.stat()
    damaged = bytearray(good)
    damaged[len(damaged) // 2] ^= 1
    os.chmod(object_, 0o644)
    object_.write_bytes(bytes(damaged))
    os.chmod(object_, 0o444)
    if lost:
        output.unlink()
    try:
        # Without the output, what reads it is named too; made again, it is what it was.
        affected = {name} | place.truth.of_file(out["path"]) if lost else set()
        yield Change(f"object of {out['path']}{', output lost' if lost else ''}", affected, {name} if lost else set())
    finally:
        if not object_.exists() or object_.read_bytes() != good:
            object_.parent.mkdir(exist_ok=True)
            object_.unlink(missing_ok=True)
            object_.write_bytes(good)
            os.chmod(object_, stamp.st_mode & 0o777)
        if not output.exists():
            output.write_bytes(good)


KINDS: dict[str, Callable[[Place, random.Random, bool], Any]] = {
    "input file": input_file,
    "weights outside": model_folder,
    "line of code": line_of_code,
    "key of params": key_of_params,
    "library version": library,
    "linked folder": linked_folder,
    "cache object": cache_object,
}


def try_changes(place: Place, numbers: list[int], options: argparse.Namespace) -> list[Tried]:
    """The changes of these numbers; each has a random stream of its own."""
    found = []
    kinds = list(KINDS)
    for number in numbers:
        run = number % EVERY == EVERY - 1
        for again in range(100):
            chance = random.Random(f"{options.seed}:{number}:{again}")
            # Runs take all kinds in turn, where one of the kind is small enough; what is only asked for is drawn.
            kind = kinds[number // EVERY % len(kinds)] if run and again < 20 else chance.choice(kinds)
            one = try_change(place, kind, chance, run)
            if one is not None:
                found.append(one)
                break
        one = found[-1]
        mark = "ran, " * run + ("right" if not one.wrong else f"WRONG {one.wrong}")
        print(f"{number:4d} {kind:16s} {one.what}: {one.named} stages, {mark}", flush=True)
    return found


def try_change(place: Place, kind: str, chance: random.Random, run: bool) -> Tried | None:
    """Make a change, ask both commands, perhaps run one, and revert it; None for one that concerns too much to run."""
    lock = place.lock()
    wrong: list[str] = []
    door, other = chance.sample(["steerwright run", "dvc repro"], 2)
    with KINDS[kind](place, chance, run) as change:
        if run and len(place.truth.after(change.affected) & set(place.truth.stages)) > MOST_RUN:
            return None
        for asked, named in (("steerwright status", place.named_by_steerwright), ("dvc status", place.named_by_dvc)):
            wrong += difference(asked, named(), change.affected)
        if run:
            ran = set(place.run(door))
            wanted = change.affected if change.computed is None else change.computed
            wrong += [f"{door} did not run {name}" for name in sorted(wanted - ran)]
            wrong += [f"{door} ran {name} for nothing" for name in sorted(ran - place.truth.after(change.affected))]
            wrong += difference(f"steerwright status after {door}", place.named_by_steerwright(), set())
            wrong += difference(f"dvc status after {door}", place.named_by_dvc(), set())
    if run:
        place.run(other)
        if place.lock() != lock:
            wrong.append(f"dvc.lock is another one after the change was taken back and {other}")
        wrong += difference("steerwright status, taken back", place.named_by_steerwright(), set())
    return Tried(kind, change.what, len(change.affected), run, wrong)


def difference(asked: str, named: set[str], affected: set[str]) -> list[str]:
    """What is wrong with an answer, in words."""
    return [f"{asked} calls {name} up to date" for name in sorted(affected - named)] + [
        f"{asked} names {name} for nothing" for name in sorted(named - affected)
    ]


def scalar_leaves(values: Any, key: str) -> Iterator[str]:
    """Dotted keys of the numbers, words and switches at or below a key; none for a key that is not there."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return
        values = values[part]
    yield from _leaves(values, key)


def _leaves(value: Any, key: str) -> Iterator[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        if isinstance(value, bool | int | float | str) and not (isinstance(value, str) and "/" in value):
            yield key
        return
    for name, one in inner:
        if "." not in str(name):
            yield from _leaves(one, f"{key}.{name}")


def has_code(root: Path, module: str) -> bool:
    """Whether a module of the project holds more than a docstring."""
    import ast

    path = module_file(root, module)
    if not path.is_file():
        return False
    body = ast.parse(path.read_text()).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def module_file(root: Path, module: str) -> Path:
    place = root.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


if __name__ == "__main__":
    sys.exit(main())
