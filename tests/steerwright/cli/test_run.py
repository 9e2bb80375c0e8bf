"""What `steerwright run` refuses before it begins."""

from pathlib import Path
from typing import Any

import pytest

from steerwright.cli.run import run, through_prefect
from steerwright.dag.registry import all_stages
from steerwright.dag.shards.runners import check_useful
from steerwright.errors import UserError


def test_one_stage_alone_is_not_asked_of_prefect() -> None:
    assert through_prefect("winter-vectors", None) is False
    with pytest.raises(UserError, match="leave out --prefect, or --only"):
        through_prefect("winter-vectors", True)


def test_layers_and_single_stages_are_not_asked_for_at_once() -> None:
    with pytest.raises(UserError, match="leave one of them out"):
        run("flux", only="flux-clip", layers="early")


def test_a_layer_that_the_pipeline_has_not_is_named() -> None:
    with pytest.raises(UserError, match=r"no layer 'middle'; its layers are early, late"):
        run("flux", layers="early,middle")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flow": "world", "runner": "processes"}, r"world has none; leave it out \(.*latents"),
        ({"only": "winter-vectors", "runner": "threads"}, "winter-vectors has none"),
        ({"flow": "latents", "runner": "dask", "runner_address": "tcp://x:1", "runner_workers": 2}, "is for a cluster"),
        ({"runner_workers": 0}, "give --runner dask or ray too"),
        ({"only": " , "}, "--only names nothing"),
        ({"flow": "flux", "layers": ""}, "--layers names nothing"),
    ],
)
def test_what_would_change_nothing_is_refused(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STEERWRIGHT_RUNNER", "STEERWRIGHT_RUNNER_ADDRESS", "STEERWRIGHT_RUNNER_WORKERS"):
        # Set, so that what a call writes there is taken back.
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(Path(__file__).parents[3])
    with pytest.raises(UserError, match=message):
        run(**given)


def test_a_runner_is_taken_where_a_stage_has_shards() -> None:
    stages = all_stages(Path(__file__).parents[3])
    for targets in (["winter"], ["attention"], ["everything"], ["latents-images"], ["world", "language-texts"]):
        check_useful("threads", targets, stages)
