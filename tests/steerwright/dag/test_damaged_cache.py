"""An object of the cache that does not hold what its name says is never believed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from steerwright.dag.dvc import cache_objects
from steerwright.dag.dvc import lockfile as dvc_lock
from steerwright.dag.dvc.repair import repair_cache
from tests.synthetic_project import Checkout

NUMBERS, PICTURES = "artifacts/demo/numbers/numbers.json", "artifacts/demo/pictures/pictures"


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def recorded_md5(checkout: Checkout, stage: str, path: str) -> str:
    entry = dvc_lock.lock_entry(checkout.root, stage)
    assert entry is not None
    return next(out["md5"] for out in entry["outs"] if out["path"] == path)


def cached(checkout: Checkout, stage: str, path: str) -> Path:
    """The object of an output; of a folder that of its first file."""
    name = recorded_md5(checkout, stage, path)
    if name.endswith(".dir"):
        name = json.loads(dvc_lock.cached_file(checkout.root, name).read_text())[0]["md5"]
    return dvc_lock.cached_file(checkout.root, name)


def spoil(path: Path, offset: int = 2) -> None:
    """As `dd conv=notrunc` does it for root: in place, the mode stays."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"ZZZ")
    path.chmod(mode)


def run(checkout: Checkout, *options: str, door: str = "run") -> str:
    done = checkout.repro("demo-report", *options) if door == "repro" else checkout.run(*options)
    return done.stdout + done.stderr


@pytest.mark.parametrize("door", ["run", "repro"])
def test_an_output_written_into_comes_back_from_a_cache_that_was_not_written_into(done: Checkout, door: str) -> None:
    good = md5(done.root / NUMBERS)
    spoil(done.root / NUMBERS)
    run(done, door=door)
    assert md5(done.root / NUMBERS) == good == recorded_md5(done, "demo-numbers", NUMBERS)
    assert done.started() == []


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize(("stage", "path"), [("demo-numbers", NUMBERS), ("demo-pictures", PICTURES)])
def test_a_damaged_object_is_not_restored_but_made_again(done: Checkout, stage: str, path: str, only: bool) -> None:
    good = done.root / ".dvc/good"
    shutil.copytree((done.root / path).parent, good)
    spoil(cached(done, stage, path))
    shutil.rmtree((done.root / path).parent)
    said = run(done, *(["--only", stage] if only else []))
    assert "was damaged" in said
    assert done.started() == [stage]
    for file in (one for one in good.rglob("*") if one.is_file()):
        assert ((done.root / path).parent / file.relative_to(good)).read_bytes() == file.read_bytes()
    assert cached(done, stage, path).name == md5(cached(done, stage, path))[2:]
    assert "nothing to mend" in done.call(done.steerwright("repair")).stdout


def test_a_damaged_list_of_a_folder_is_not_restored(done: Checkout) -> None:
    spoil(dvc_lock.cached_file(done.root, recorded_md5(done, "demo-pictures", PICTURES)), 30)
    shutil.rmtree(done.root / PICTURES)
    run(done)
    assert done.started() == ["demo-pictures"]
    assert len(list((done.root / PICTURES).iterdir())) == 8


def test_forced_work_replaces_what_the_cache_holds_even_if_its_stat_was_forged(done: Checkout) -> None:
    good, thing = md5(done.root / NUMBERS), cached(done, "demo-numbers", NUMBERS)
    before = thing.stat()
    spoil(thing)
    # The same size, inode and time of change; a mode and links that explain the time that cannot be set.
    thing.chmod(0o400)
    os.utime(thing, ns=(before.st_atime_ns, before.st_mtime_ns))
    run(done, "--only", "demo-numbers", "--force")
    assert done.started() == ["demo-numbers"]
    assert md5(thing) == good == md5(done.root / NUMBERS)


def test_heal_brings_an_object_back_from_the_output_that_still_holds_it(done: Checkout) -> None:
    files = [cached(done, "demo-numbers", NUMBERS), cached(done, "demo-pictures", PICTURES)]
    files.append(dvc_lock.cached_file(done.root, recorded_md5(done, "demo-pictures", PICTURES)))
    good = [file.read_bytes() for file in files]
    for file in files:
        spoil(file)
    said = done.call(done.steerwright("repair")).stdout
    assert said.count("brought it back") == 3
    assert NUMBERS in said
    assert [file.read_bytes() for file in files] == good
    assert done.repro().stdout.count("didn't change, skipping") == 7


def test_heal_drops_what_nothing_holds_and_both_doors_then_see_it(done: Checkout) -> None:
    thing = cached(done, "demo-numbers", NUMBERS)
    spoil(thing)
    # DVC believes the object and takes its bytes for what dvc.lock says.
    (done.root / NUMBERS).unlink()
    done.call(["dvc", "checkout", NUMBERS])
    assert b"ZZZ" in (done.root / NUMBERS).read_bytes()
    said = done.call(done.steerwright("repair")).stdout
    assert f"({NUMBERS}) was damaged: removed it" in said
    assert not thing.exists()
    assert NUMBERS in done.call(["dvc", "status"]).stdout
    done.repro()
    assert done.started() == ["demo-numbers"]
    assert b"ZZZ" not in (done.root / NUMBERS).read_bytes()


def test_what_dvc_took_from_a_damaged_object_is_not_up_to_date(done: Checkout) -> None:
    good = md5(done.root / NUMBERS)
    spoil(cached(done, "demo-numbers", NUMBERS))
    (done.root / NUMBERS).unlink()
    done.call(["dvc", "checkout", NUMBERS])
    assert "would run" in done.call(done.steerwright("status", "demo")).stdout
    run(done)
    assert md5(done.root / NUMBERS) == good


def test_a_stage_that_dvc_starts_refuses_an_input_from_a_damaged_object(done: Checkout) -> None:
    spoil(cached(done, "demo-numbers", NUMBERS), 1)
    (done.root / NUMBERS).unlink()
    done.call(["dvc", "checkout", NUMBERS])
    # Alone: else the stage `environment` looks first, and the damaged one is made again.
    failed = done.repro("--single-item", "--force", "demo-shards", check=False)
    assert failed.returncode != 0
    assert f"{NUMBERS} came from a damaged object of the cache" in failed.stderr
    assert "Traceback" not in failed.stderr
    done.forget()
    done.repro("demo-left")
    assert done.started() == ["demo-numbers"]
    assert b"ZZZ" not in (done.root / NUMBERS).read_bytes()


def test_a_damaged_earlier_shard_is_computed_again(done: Checkout) -> None:
    shards = "artifacts/demo/shards/shards"
    spoil(cached(done, "demo-shards", shards))
    (done.root / ".dvc/tmp/steerwright/cache-objects.sqlite").unlink()
    # No output holds it either.
    shutil.rmtree(done.root / shards)
    done.edit("params.yaml", "count: 6", "count: 7")
    run(done, "--only", "demo-numbers")
    run(done)
    assert len(list((done.root / shards).iterdir())) == 7
    assert all("ZZZ" not in path.read_text() for path in (done.root / shards).iterdir())


def test_an_object_pulled_from_a_damaged_remote_is_found(done: Checkout, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    done.call(["dvc", "remote", "add", "-d", "store", str(remote)])
    done.call(["dvc", "push", "-q"])
    done.git("commit", "-q", "-am", "remote")
    spoil(remote / cached(done, "demo-numbers", NUMBERS).relative_to(done.root / ".dvc/cache"))
    done.call(["git", "clone", "-q", ".", str(tmp_path / "clone")])
    clone = Checkout(tmp_path / "clone")
    clone.call(["dvc", "pull", "-q"])
    assert "ZZZ" in (clone.root / NUMBERS).read_text()
    run(clone)
    assert md5(clone.root / NUMBERS) == md5(done.root / NUMBERS)


def test_links_of_the_users_own_choice_stay_links_and_are_held_against_their_names(done: Checkout) -> None:
    done.call(["dvc", "config", "--local", "cache.type", "hardlink,copy"])
    run(done, "--force")
    good = md5(done.root / NUMBERS)
    assert (done.root / NUMBERS).samefile(cached(done, "demo-numbers", NUMBERS))
    spoil(done.root / NUMBERS)
    done.forget()
    said = run(done, "--only", "demo-numbers")
    assert "removed it" in said
    assert done.started() == ["demo-numbers"]
    assert md5(done.root / NUMBERS) == md5(cached(done, "demo-numbers", NUMBERS)) == good


def test_symbolic_links_work_and_what_is_written_through_one_is_noticed(done: Checkout) -> None:
    done.call(["dvc", "config", "--local", "cache.type", "symlink"])
    for _ in range(2):
        run(done, "--force")
    assert (done.root / NUMBERS).is_symlink()
    assert "nothing to mend" in done.call(done.steerwright("repair")).stdout
    good = md5(done.root / NUMBERS)
    spoil(done.root / NUMBERS)
    run(done)
    assert md5(done.root / NUMBERS) == good


def test_large_outputs_are_links_and_small_ones_copies(done: Checkout) -> None:
    code = (
        "from steerwright.dag import engine; from steerwright.dag.dvc import project; project.LINKED_FROM = 100;"
        "session = engine.open_session();"
        "session.run('demo-pictures', force=True); session.run('demo-numbers', force=True); session.close()"
    )
    done.call([done.steerwright()[0], "-c", code])
    picture = next((done.root / PICTURES).iterdir())
    assert picture.stat().st_nlink > 1
    assert (done.root / NUMBERS).stat().st_nlink == 1
    assert done.dvc_status() == {}


def test_what_was_read_is_not_read_again_until_it_moves(done: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    root, reads = done.root, []
    monkeypatch.setattr(cache_objects, "_md5", lambda path: reads.append(path) or md5(path))
    names = list(cache_objects.all_names(root))
    assert len(names) > 15
    assert repair_cache(root, again=False, tell=print) == []
    reads.clear()
    assert cache_objects.check(root, names, about_to_use=True) == []
    assert reads == []
    thing = cached(done, "demo-numbers", NUMBERS)
    # Another link is another name for the same bytes.
    os.link(thing, root / "linked")
    assert cache_objects.check(root, names, about_to_use=True) == []
    assert reads == []
    stamp = thing.stat()
    os.utime(thing, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert cache_objects.check(root, names, about_to_use=True) == []
    assert reads == [thing]
    reads.clear()
    # A write that sets the time back is seen by the inode's own time.
    spoil(thing)
    os.utime(thing, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert cache_objects.check(root, names) == [recorded_md5(done, "demo-numbers", NUMBERS)]
    assert cache_objects.check(root, names, again=True, tell=print) == [recorded_md5(done, "demo-numbers", NUMBERS)]


def test_a_large_object_is_read_only_when_it_is_used(done: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_objects, "READ_AT_FIRST_SIGHT", 4)
    (done.root / ".dvc/tmp/steerwright/cache-objects.sqlite").unlink()
    thing = cached(done, "demo-numbers", NUMBERS)
    name = recorded_md5(done, "demo-numbers", NUMBERS)
    spoil(thing)
    assert cache_objects.check(done.root, [name]) == []
    assert cache_objects.check(done.root, [name], about_to_use=True) == [name]


def test_a_memory_that_cannot_be_read_is_made_anew(done: Checkout) -> None:
    (done.root / ".dvc/tmp/steerwright/cache-objects.sqlite").write_text("no database" * 100)
    assert cache_objects.check(done.root, cache_objects.all_names(done.root), about_to_use=True) == []


def test_an_object_that_somebody_is_making_now_is_waited_for(done: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    thing, name = cached(done, "demo-numbers", NUMBERS), recorded_md5(done, "demo-numbers", NUMBERS)
    whole = thing.read_bytes()
    thing.chmod(0o644)
    thing.write_bytes(whole[:4])
    monkeypatch.setattr(cache_objects.time, "sleep", lambda _: thing.write_bytes(whole))
    assert cache_objects.check(done.root, [name], about_to_use=True) == []
    monkeypatch.undo()
    spoil(thing)
    assert cache_objects.check(done.root, [name], about_to_use=True) == [name]
