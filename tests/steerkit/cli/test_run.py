"""What `steerkit run` refuses before it begins."""

import pytest

from steerkit.cli.run import _through_prefect
from steerkit.errors import UserError


def test_one_stage_alone_is_not_asked_of_prefect() -> None:
    assert _through_prefect("winter-vectors", None) is False
    with pytest.raises(UserError, match="leave out --prefect, or --only"):
        _through_prefect("winter-vectors", True)
