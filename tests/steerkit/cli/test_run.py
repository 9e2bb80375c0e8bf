"""What `steerkit run` refuses before it begins."""

import pytest

from steerkit.cli.run import _through_prefect, run
from steerkit.errors import UserError


def test_one_stage_alone_is_not_asked_of_prefect() -> None:
    assert _through_prefect("winter-vectors", None) is False
    with pytest.raises(UserError, match="leave out --prefect, or --only"):
        _through_prefect("winter-vectors", True)


def test_layers_and_single_stages_are_not_asked_for_at_once() -> None:
    with pytest.raises(UserError, match="leave one of them out"):
        run("flux", only="flux-clip", layers="early")


def test_a_layer_that_the_pipeline_has_not_is_named() -> None:
    with pytest.raises(UserError, match=r"no layer 'middle'; its layers are early, late"):
        run("flux", layers="early,middle")
