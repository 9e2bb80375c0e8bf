"""`--vectors FILE` and the action that follows it, as `steerkit generate` reads them in the order they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from steerkit.errors import UserError

_ORDER = "steerkit.generate.order"
ACTIONS = {"add": "--add", "erase": "--erase", "replace_by": "--replace-by"}
_IN_ORDER = ("vectors", *ACTIONS, "strength")


class InOrder(TyperCommand):
    """A command that knows in which order options were written: an action belongs to the `--vectors` before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [str(option.name) for option in order if option.name in _IN_ORDER]
        return super().parse_args(ctx, args)


def written_order(context: Any) -> list[str]:
    """The names of `--vectors` and of actions in the order in which they were written, with repetitions."""
    return list(context.meta.get(_ORDER, []))


@dataclass(frozen=True, slots=True)
class Asked:
    """One `--vectors FILE` with its action (a name of `ACTIONS`); `target` is the file of --replace-by."""

    file: Path
    action: str
    strength: float
    target: Path | None


def read_actions(order: Sequence[str], asked: Mapping[str, Any]) -> list[Asked]:
    """Pair each file with the action that was written after it; `asked` are the options by name."""
    left = {name: iter(asked[name] or []) for name in _IN_ORDER}
    groups: list[dict[str, Any]] = []
    for name in order:
        option = "--" + name.replace("_", "-")
        if name == "vectors":
            groups.append({})
        elif not groups:
            raise UserError(f"{option} stands before any --vectors; write --vectors FILE {option} ...")
        elif name in groups[-1]:
            raise UserError(
                f"{option} is given twice for {groups[-1]['vectors']}; give --vectors again for a second edit."
            )
        groups[-1][name] = next(left[name])
    return [_paired(group) for group in groups]


def _paired(group: dict[str, Any]) -> Asked:
    file = group["vectors"]
    actions = [name for name in ACTIONS if name in group]
    if not actions:
        raise UserError(f"--vectors {file} has no action; let --add 10, --erase 1 or --replace-by FILE follow it.")
    if len(actions) > 1:
        both = " and ".join(ACTIONS[name] for name in actions)
        raise UserError(f"--vectors {file} has {both}; for two edits, give --vectors again before the second.")
    (action,) = actions
    if action != "replace_by" and "strength" in group:
        raise UserError(f"--strength is for --replace-by; write the strength after {ACTIONS[action]} itself.")
    strength = group.get("strength", 1.0) if action == "replace_by" else group[action]
    if not math.isfinite(strength):
        raise UserError(f"The strength {strength} of {file} is not a finite number.")
    return Asked(file, action, strength, group.get("replace_by"))


def read_seeds(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    """The seeds that --seed and --count mean; 42 without them."""
    seeds = list(seeds or [42])
    if count is not None:
        if count < 1 or len(seeds) > 1:
            raise UserError("--count is at least 1, and goes with a single --seed; or give every --seed yourself.")
        seeds = list(range(seeds[0], seeds[0] + count))
    wrong = [seed for seed in seeds if not 0 <= seed < 2**63]
    if wrong:
        raise UserError(f"--seed {wrong[0]}: a seed is a whole number from 0 to 2^63 - 1.")
    return seeds


def one_of(option: str, given: str, choices: Sequence[str]) -> str:
    """`given`, if it is one of `choices`."""
    if given not in choices:
        raise UserError(f"{option} {given} does not exist; choose one of {', '.join(choices)}.")
    return given


def bound_share(bound: str) -> float:
    """The share of its norm by which a token may change, as --bound gives it."""
    try:
        share = float(bound)
    except ValueError:
        share = math.nan
    if not (math.isfinite(share) and share > 0):
        raise UserError(f"--bound {bound}: give norm, none, or a share of the token's norm above 0, such as 0.3.")
    return share


def read_layers(layers: str | None) -> tuple[int, ...] | None:
    """The numbers of --layers, in their order: 0,6 or 0-7, or both with commas."""
    return read_numbers("--layers", layers, "numbers of layers")


def read_numbers(option: str, text: str | None, what: str) -> tuple[int, ...] | None:
    """The numbers that `option` was given, in their order; None without it. UserError says what is to be written."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        written = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        ends = [int(end or written[1]) for end in written.groups()] if written else [1, 0]
        if ends[0] > ends[1]:
            raise UserError(f"{option} {text}: write {what} with commas between them, as 0,6 or 0-7.")
        found += range(ends[0], ends[1] + 1)
    return tuple(found)
