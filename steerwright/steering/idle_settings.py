"""Settings of an edit of attention layers that would change nothing: one set of rules.

The command line, Python and params.yaml say by name what was given; nothing heavy is imported, so that a mistake is
said before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from steerwright.errors import UserError

_ACTIONS_OF = {"units": ("add",), "two_sided": ("erase",), "centred": ("erase", "replace")}
_NEEDS = {
    "gate_at": ("gate", "says where {gate} is measured; give {gate} too, such as 0.75."),
    "gate_until": (
        "gate_at",
        "holds what was found at a block; say at which block: give {gate_at} the block to look at.",
    ),
}


def misplaced(actions: Collection[str]) -> set[str]:
    """The settings that none of `actions` (add, erase, replace) uses."""
    return {name for name, users in _ACTIONS_OF.items() if not set(users) & set(actions)}


def check_given(
    given: Mapping[str, Any], actions: Collection[str], shown: Callable[[str], str] = lambda name: name
) -> None:
    """Raise UserError for a setting among `given` (by its name in AttentionRecipe) that `actions` make nothing of.

    None and False count as not given. `shown` is how a setting or an action is called where the user wrote it.
    """
    known = {name: value for name, value in given.items() if value is not None and value is not False}
    for name in sorted(misplaced(actions) & set(known)):
        means = " and ".join(shown(action) for action in _ACTIONS_OF[name])
        raise UserError(f"{shown(name)} is for {means}, which is not asked for; leave it out.")
    for name, (needed, why) in _NEEDS.items():
        if name in known and needed not in known:
            said = why.format(**{needed: shown(needed)})
            raise UserError(f"{shown(name)} {known[name]} {said}")
