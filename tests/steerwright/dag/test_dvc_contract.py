"""The names of DVC that are not its public interface and that `steerwright.dag.dvc.project` calls, one by one."""

import inspect
import json
from importlib.metadata import version

from dvc import rwlock
from dvc.config import Config
from dvc.dvcfile import ProjectFile, load_file
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import Stage, create_stage
from dvc.stage import cache as run_cache
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_version_is_the_one_whose_inside_we_know() -> None:
    assert version("dvc").startswith("3.67.")


def test_repository_waits_for_its_lock_and_can_be_reset() -> None:
    assert "_wait_for_lock" in parameters(Repo.__init__)
    assert parameters(Repo._reset) == ["self"]


def test_rwlock_functions_take_what_we_give() -> None:
    assert parameters(rwlock._edit_rwlock) == ["lock_dir", "fs", "hardlink"]
    assert parameters(rwlock._check_blockers) == ["tmp_dir", "lock", "info", "mode", "waiters"]
    for acquire in (rwlock._acquire_read, rwlock._acquire_write):
        assert parameters(acquire) == ["lock", "info", "paths"]
    for release in (rwlock._release_read, rwlock._release_write):
        assert parameters(release) == ["lock", "info", "changes"]
    assert rwlock.RWLOCK_FILE == "rwlock"
    assert rwlock.RWLOCK_LOCK == "rwlock.lock"
    assert issubclass(rwlock.RWLockFileCorruptedError, Exception)
    assert issubclass(rwlock.RWLockFileFormatError, Exception)


def test_run_cache_is_asked_and_fed_as_we_do() -> None:
    assert parameters(run_cache._can_hash) == ["stage"]
    assert parameters(run_cache.StageCache._load) == ["self", "stage"]
    assert parameters(run_cache.StageCache.save) == ["self", "stage"]


def test_stages_are_loaded_from_a_lock_of_our_own_reading() -> None:
    assert parameters(StageLoader.__init__) == ["self", "dvcfile", "data", "lockfile_data"]
    assert parameters(StageLoader.fill_from_lock) == ["stage", "lock_data"]
    assert isinstance(inspect.getattr_static(StageLoader, "fill_from_lock"), staticmethod)
    assert {"resolver", "contents"} <= set(dir(ProjectFile))
    assert parameters(load_file)[:2] == ["repo", "path"]
    assert parameters(create_stage) == ["cls", "repo", "path", "kwargs"]


def test_stage_methods_we_call_take_no_lock_of_their_own() -> None:
    for name in ("save_deps", "save_outs", "ignore_outs", "changed_stage"):
        assert not hasattr(getattr(Stage, name), "__wrapped__"), name
    assert "allow_missing" in parameters(Stage.save_deps)


def test_lock_entries_are_written_in_two_steps() -> None:
    assert parameters(to_lockfile)[0] == "stage"
    assert dumps_yaml({"stages": {"a": {"cmd": "x"}}}) == "stages:\n  a:\n    cmd: x\n"
    assert {"lockfile", "tmp_dir", "wait"} <= set(parameters(make_lock))
    assert parameters(get_active_graph) == ["graph"]
    assert parameters(plan_repro)[:2] == ["graph", "stages"]


def test_a_folder_is_a_list_of_its_files_and_the_cache_says_how_it_links() -> None:
    tree = Tree()
    tree.add(("b", "c"), None, HashInfo("md5", "2" * 32))
    tree.add(("a",), None, HashInfo("md5", "1" * 32))
    assert [file.value for _, _, file in tree] == ["2" * 32, "1" * 32]
    # What repair writes for a folder whose list was damaged.
    assert (
        tree.as_bytes()
        == json.dumps([{"md5": "1" * 32, "relpath": "a"}, {"md5": "2" * 32, "relpath": "b/c"}], sort_keys=True).encode()
    )
    assert "self.cache_types = " in inspect.getsource(HashFileDB.__init__)
    # Why objects are held against their names here: DVC believes those of this mode.
    assert LocalHashFileDB.CACHE_MODE == 0o444
    assert parameters(Config.edit)[:2] == ["self", "level"]
