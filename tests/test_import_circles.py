"""No module imports itself through others; import-linter holds the order of the layers, this looks inside of them."""

from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGES = ("steerwright", "seasons", "tasks", "flows")


def test_no_import_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    found: list[str] = []
    try:
        TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
    except CycleError as error:
        found = error.args[1]
    assert found == []
