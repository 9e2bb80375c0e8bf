"""Objects of the DVC cache, held against their names: an object's name is the md5 of its content.

DVC believes every object of mode 0444 without a look. Here one is read whole before it is used, and is then believed as
long as its stat stands still, so that a large cache is not read again at each run. Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steerwright.dag.dvc import lockfile as dvc_lock
from steerwright.dag.project import state_folder
from steerwright.errors import UserError

log = logging.getLogger(__name__)

# A larger object that nobody is about to use is read by `steerwright repair`, or when it is used.
READ_AT_FIRST_SIGHT = 16 << 20
SECONDS_BETWEEN_LINES = 2.0
SHOWN = 5
TRIES, SECONDS_BETWEEN_TRIES = 3, 0.1
NAME = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")

Seen = tuple[int, int, int, int, int, int]
"""inode, size, time of change, time of change of the inode, links, mode"""


def check(
    root: Path,
    names: Iterable[str],
    *,
    about_to_use: bool = False,
    again: bool = False,
    tell: Callable[[str], None] | None = None,
) -> list[str]:
    """Names of objects that are in the cache and do not hold what their name says.

    Reads those that were never read or have moved since; with ``about_to_use`` the large ones as well, which are
    otherwise only noted at first sight; with ``again`` every one.
    """
    folder = _objects(root)
    damaged: list[str] = []
    wanted: list[tuple[str, Seen]] = []
    with _memory(root) as memory:
        known = {
            name: (bool(read), tuple(json.loads(seen))) for name, read, seen in memory.execute("SELECT * FROM seen")
        }
        learned: list[tuple[str, bool, Seen]] = []
        for name in dict.fromkeys(names):
            try:
                now = _seen(folder / name[:2] / name[2:])
            except OSError:
                continue
            read, then = known.get(name, (False, None))
            moved = then is not None and not _unmoved(then, now)
            if again or moved or (not read and (about_to_use or now[1] <= READ_AT_FIRST_SIGHT)):
                wanted.append((name, now))
            elif then != now:
                learned.append((name, read, now))
        total, done, last = sum(seen[1] for _, seen in wanted), 0, time.monotonic()
        for name, seen in wanted:
            holds = _holds(folder / name[:2] / name[2:], name)
            if holds:
                learned.append((name, True, seen))
            elif holds is not None:
                damaged.append(name)
            done += seen[1]
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                # What was read so far stays known if somebody stops this here.
                _learn(memory, learned)
                learned, last = [], time.monotonic()
                if tell is not None:
                    tell(f"reading the cache: {done / 1e9:.1f} of {total / 1e9:.1f} GB")
        _learn(memory, learned)
    return damaged


def remember(root: Path, names: Iterable[str]) -> None:
    """Take these objects for read: they were made from what has just been hashed."""
    folder = _objects(root)
    learned = []
    for name in names:
        with contextlib.suppress(OSError):
            learned.append((name, True, _seen(folder / name[:2] / name[2:])))
    with _memory(root) as memory:
        _learn(memory, learned)


def drop(root: Path, names: Iterable[str]) -> None:
    """Remove objects from the cache."""
    folder = _objects(root)
    for name in names:
        (folder / name[:2] / name[2:]).unlink(missing_ok=True)


@dataclass(frozen=True)
class Damage:
    """What was done about an object that did not hold what its name says."""

    name: str
    places: tuple[str, ...]
    lost: bool
    """Nothing had its content, so that it was removed; else it was brought back."""


def mend(root: Path, damaged: list[str]) -> list[Damage]:
    """Bring damaged objects back from outputs that still hold what was recorded; drop the others.

    An output of a dropped object is touched, so that DVC, which may have taken it from there and believes it, looks at
    it again.
    """
    done: list[Damage] = []
    places = _places(root) if damaged else {}
    for name in damaged:
        paths = places.get(name, [])
        held = [path for path in paths if path.exists()]
        lost = not any(_bring_back(root, name, path) for path in held)
        if lost:
            drop(root, [name])
            for path in held:
                for file in [path] if path.is_file() else (one for one in path.rglob("*") if one.is_file()):
                    os.utime(file)
        done.append(Damage(name, tuple(path.relative_to(root).as_posix() for path in paths), lost))
    return done


def in_words(damages: list[Damage]) -> list[str]:
    """A line for each, but for no more than a few."""
    lines = [
        f"the cache's object {one.name[:8]} ({', '.join(one.places) or 'of no current output'}) was damaged: "
        + ("removed it; a run makes it again" if one.lost else "brought it back from its place")
        for one in damages
    ]
    more = len(lines) - SHOWN
    return (
        lines
        if more <= 1
        else [*lines[:SHOWN], f"{more} more objects of the cache were damaged: {_counted(damages[SHOWN:])}"]
    )


def _counted(damages: list[Damage]) -> str:
    lost = sum(one.lost for one in damages)
    return f"{lost} removed, {len(damages) - lost} brought back"


def whole(root: Path, outputs: Iterable[str]) -> bool:
    """Whether these outputs can be taken from the cache; reads what was not read, mends or drops what is damaged."""
    outputs = list(outputs)
    for names in (outputs, [name for output in outputs for name in listing(root, output).values()]):
        for line in in_words(mend(root, check(root, names, about_to_use=True, tell=log.warning))):
            log.warning("%s", line)
    folder = _objects(root)
    return all((folder / name[:2] / name[2:]).is_file() for name in names_of(root, outputs))


def names_of(root: Path, outputs: Iterable[str]) -> list[str]:
    """The objects of these outputs: of a folder its list, and the files that it names."""
    return [name for output in outputs for name in (output, *listing(root, output).values())]


def listing(root: Path, output: str) -> dict[str, str]:
    """The files of a folder's object: relative name -> object; empty for a file, and if the list cannot be read."""
    if not output.endswith(".dir"):
        return {}
    try:
        listed = json.loads((_objects(root) / output[:2] / output[2:]).read_text(encoding="utf-8"))
        return {str(one["relpath"]): one["md5"] for one in listed if NAME.fullmatch(one["md5"])}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def previous_files(root: Path, stage: str, command: str, path: str) -> dict[str, Path]:
    """Files of the last committed output at ``path``: relative name -> file in the cache, those that are there.

    They are held against their hashes first; a damaged one is left out.
    """
    entry = dvc_lock.lock_entry(root, stage) or dvc_lock.newest_run(root, command)
    for item in (entry or {}).get("outs") or ():
        md5 = item.get("md5")
        if item["path"] != path or not isinstance(md5, str):
            continue
        if md5 in check(root, [md5], about_to_use=True):
            return {}
        found = listing(root, md5) if md5.endswith(".dir") else {Path(path).name: md5}
        damaged = set(check(root, found.values(), about_to_use=True))
        files = {name: dvc_lock.cached_file(root, one) for name, one in found.items() if one not in damaged}
        return {name: file for name, file in files.items() if file.is_file()}
    return {}


def recorded_names(root: Path) -> list[str]:
    """Every object that dvc.lock and the run-cache can ask for."""
    names: dict[str, None] = {}
    for path in (root / "dvc.lock", *dvc_lock.run_cache_folder(root).glob("??/*/*")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            names.update(dict.fromkeys(NAME.findall(path.read_text(encoding="utf-8"))))
    folder = _objects(root)
    return [one for name in names if (folder / name[:2] / name[2:]).exists() for one in names_of(root, [name])]


def all_names(root: Path) -> Iterator[str]:
    """Every object of the cache."""
    for path in sorted(_objects(root).glob("??/*")):
        name = path.parent.name + path.name
        if NAME.fullmatch(name):
            yield name


def _objects(root: Path) -> Path:
    return dvc_lock.cache_folder(root) / "files" / "md5"


def _seen(path: Path) -> Seen:
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_nlink, stat.st_mode


def _unmoved(then: tuple[int, ...], now: Seen) -> bool:
    # A new link or another mode moves the inode's own time as a hidden write would: either explains it.
    return then[:3] == now[:3] and (then[3] == now[3] or then[4:] != now[4:])


def _holds(path: Path, name: str) -> bool | None:
    """Whether the content is what the name says; None if the object has gone."""
    try:
        for _ in range(TRIES):
            if _md5(path) == name.partition(".")[0]:
                return True
            if path.stat().st_mode & 0o222 == 0:
                return False
            # DVC takes the right to write away when an object is whole: somebody may be making it now.
            time.sleep(SECONDS_BETWEEN_TRIES)
    except FileNotFoundError:
        return None
    return False


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _places(root: Path) -> dict[str, list[Path]]:
    """For each object the outputs of dvc.lock that hold it."""
    places: dict[str, list[Path]] = {}
    try:
        entries = dvc_lock.lock_entries((root / "dvc.lock").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return places
    for block in entries.values():
        for item in (dvc_lock.parse_entry(block) or {}).get("outs") or ():
            name, path = str(item.get("md5")), root / item["path"]
            places.setdefault(name, []).append(path)
            for relative, file in listing(root, name).items():
                places.setdefault(file, []).append(path / relative)
    return places


def _bring_back(root: Path, name: str, path: Path) -> bool:
    if name.endswith(".dir") != path.is_dir():
        return False
    target = _objects(root) / name[:2] / name[2:]
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
            listed = [{"md5": _md5(file), "relpath": relative} for relative, file in files]
            temporary.write_bytes(json.dumps(listed, sort_keys=True).encode())
        else:
            # By hard or symbolic link it is the damaged object itself.
            if target.exists() and path.samefile(target):
                return False
            shutil.copyfile(path, temporary)
        if _md5(temporary) != name.partition(".")[0]:
            return False
        temporary.chmod(0o444)
        os.replace(temporary, target)
    except OSError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _learn(memory: sqlite3.Connection, learned: list[tuple[str, bool, Seen]]) -> None:
    # Written at once, not while objects are read: nobody else could write meanwhile.
    with memory:
        rows = [(name, read, json.dumps(seen)) for name, read, seen in learned]
        memory.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", rows)


@contextmanager
def _memory(root: Path) -> Iterator[sqlite3.Connection]:
    """What was read when it had which stat; made again if it cannot be opened."""
    path = state_folder(root) / "cache-objects.sqlite"
    for attempt in range(2):
        try:
            memory = sqlite3.connect(path, timeout=60)
            memory.execute("CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY, read, stat TEXT)")
            break
        except sqlite3.DatabaseError:
            if attempt:
                raise
            path.unlink(missing_ok=True)
    with contextlib.closing(memory):
        yield memory


# Conflict markers that a merge left in a file.

BEGIN, BASE, MIDDLE, END = "<<<<<<<", "|||||||", "=======", ">>>>>>>"


def line(text: str) -> int | None:
    """The number of the first line that is a marker, counted from 1; None if there is none."""
    for number, one in enumerate(text.split("\n"), start=1):
        if _marker(one):
            return number
    return None


def refuse(text: str, file: str, then: str) -> None:
    """Raise if there is a marker; ``then`` says what to do.

    Raises:
        UserError: it names the file and the first line.
    """
    number = line(text)
    if number is not None:
        raise UserError(f"{file}, line {number}: conflict markers of a merge; {then}")


def sides(text: str) -> tuple[str, str] | None:
    """The text as either side of the merge has it, this one's first; None if the markers do not fit together."""
    here: list[str] = []
    there: list[str] = []
    taking = {"": (here, there), BEGIN: (here,), BASE: (), MIDDLE: (there,)}
    after = {"": (BEGIN,), BEGIN: (BASE, MIDDLE), BASE: (MIDDLE,), MIDDLE: (END,)}
    within = ""
    for one in text.splitlines(keepends=True):
        marker = _marker(one)
        if not marker:
            for side in taking[within]:
                side.append(one)
        elif marker not in after[within]:
            return None
        else:
            within = "" if marker == END else marker
    return None if within or line(text) is None else ("".join(here), "".join(there))


def _marker(one: str) -> str:
    mark, rest = one[:7], one[7:].rstrip()
    # Git writes a name after all but the middle one.
    return mark if mark in (BEGIN, BASE, MIDDLE, END) and (not rest or (mark != MIDDLE and rest[0] == " ")) else ""
