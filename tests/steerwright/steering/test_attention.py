"""From vectors to edits: which block is edited at which step of a run, on which half, along which direction."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from steerwright.errors import UserError, UserErrors
from steerwright.models.attention_blocks import AttentionBlock
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Cap, Edit, KeepNorm, Unbounded, edited
from steerwright.steering.attention import AttentionRecipe, attention_edits, parse_edits
from steerwright.steering.gates import WherePresent
from steerwright.steering.operators import Add, ProjectOut, Switch
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="s", revision=None, digest="0" * 64, libraries={})
BLOCKS = [
    AttentionBlock(Hookpoint(f"unet.{place}.{number}.attn2"), place, number, "cross", 4)
    for place, number in (("down", 0), ("down", 1), ("mid", 0), ("up", 0))
]
COLLECTED = (900.0, 600.0, 300.0, 100.0)


def vectors(axis: int = 0, branches: tuple[str, ...] = ("cond",), noise: tuple[int, ...] = (), **changed: Any) -> Any:
    """One vector per block and step, of length step + 1 along `axis`, origin 2; steps in `noise` are noise."""
    directions, controls = {}, {}
    for block in BLOCKS:
        for step in range(4):
            for branch in branches:
                slot = VectorKey(block.hookpoint, steps=(step, step), branch=branch)
                unit = torch.eye(4)[axis]
                directions[slot] = Direction(unit, torch.tensor(step + 1.0), torch.tensor(2.0))
                controls[slot] = 99.0 if step in noise else 0.0
    return SteeringVectors(
        "c", MODEL, "mean_difference", "mean", directions, changed.get("timesteps", COLLECTED), controls
    )


def made(
    action: Any = "add", strength: float = 1.0, timesteps: tuple[float, ...] = COLLECTED, **changed: Any
) -> list[Edit]:
    others = {key: changed.pop(key) for key in ("target", "along") if key in changed}
    found = changed.pop("vectors", vectors())
    return attention_edits(
        action, found, strength, blocks=BLOCKS, timesteps=timesteps, recipe=AttentionRecipe(**changed), **others
    )


def at(edits: list[Edit], block: AttentionBlock) -> dict[tuple[int, int] | None, float]:
    """Norm of the vector by its window of steps, at one block."""
    return {
        edit.steps: float(edit.operator.direction.norm)  # type: ignore[union-attr]
        for edit in edits
        if edit.hookpoint == block.hookpoint
    }


def test_a_run_on_the_collected_schedule_uses_each_step_once() -> None:
    edits = made()
    assert len(edits) == 16
    assert at(edits, BLOCKS[2]) == {(0, 0): 1.0, (1, 1): 2.0, (2, 2): 3.0, (3, 3): 4.0}


def test_a_longer_run_takes_the_nearest_collected_timestep() -> None:
    run = (950.0, 800.0, 700.0, 500.0, 300.0, 210.0, 100.0, 0.0)
    # By hand: 950 and 800 lie nearest to 900; 700 and 500 to 600; 300 and 210 to 300; 100 and 0 to 100.
    assert at(made(timesteps=run), BLOCKS[0]) == {(0, 1): 1.0, (2, 3): 2.0, (4, 5): 3.0, (6, 7): 4.0}
    assert at(made(timesteps=(999.0,)), BLOCKS[0]) == {(0, 0): 1.0}


def test_a_single_collected_step_serves_for_all() -> None:
    one = {VectorKey(BLOCKS[0].hookpoint, steps=(0, 0), branch="cond"): Direction(torch.eye(4)[0], torch.tensor(1.0))}
    turbo = SteeringVectors("c", MODEL, "m", "mean", one, (999.0,))
    assert at(made(vectors=turbo, places=("down",)), BLOCKS[0]) == {(0, 3): 1.0}


def test_places_and_windows_are_what_they_say() -> None:
    assert {edit.hookpoint for edit in made(places=("mid", "down.1"))} == {BLOCKS[1].hookpoint, BLOCKS[2].hookpoint}
    assert set(at(made(window=(1, 2)), BLOCKS[0])) == {(1, 1), (2, 2)}
    assert set(at(made(window=(1, 2), timesteps=(900.0, 880.0, 600.0)), BLOCKS[0])) == {(1, 1), (2, 2)}
    assert not any((1, 1) in at(made(vectors=vectors(noise=(1,)), noise=False), block) for block in BLOCKS)


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        ("both", ("cond",), {"both"}),
        ("uncond", ("cond",), {"uncond"}),
        ("both", ("cond", "uncond"), {"cond", "uncond"}),
        ("cond", ("cond", "uncond"), {"cond"}),
        ("uncond", ("cond", "uncond"), {"uncond"}),
        ("opposed", ("cond", "uncond"), {"opposed"}),
    ],
)
def test_vectors_of_both_halves_steer_each_its_own(asked: Any, own: tuple[str, ...], expected: set[str]) -> None:
    assert {edit.branch for edit in made(vectors=vectors(branches=own), branch=asked)} == expected


def test_each_action_has_its_operator_and_bound() -> None:
    assert isinstance(made("add", units="raw")[0].operator, Add)
    erase = made("erase", two_sided=True, bound="none", gate=0.5)[0]
    assert isinstance(erase.operator, ProjectOut) and erase.operator.two_sided
    assert isinstance(erase.bound, Unbounded)
    assert isinstance(erase.gate, WherePresent) and erase.gate.centred and erase.gate.threshold == 0.5
    assert isinstance(made()[0].bound, KeepNorm)
    assert made(bound="cap:0.25")[0].bound == Cap(0.25)
    assert isinstance(made("replace", target=vectors(1))[0].operator, Switch)


def test_a_gated_replacement_exchanges_like_for_like() -> None:
    edit = next(
        e for e in made("replace", target=vectors(1), centred=True, gate=0.5, bound="none") if e.steps == (1, 1)
    )
    tokens = torch.tensor([[[4.0, 0.0, 7.0, 0.0], [2.9, 0.0, 7.0, 0.0], [-1.0, 5.0, 0.0, 0.0]]])
    # Norm 2 and origin 2 at step 1: the first token lies at 4, wholly the concept: 2 are taken from axis 0 and given to
    # axis 1. The second lies at 0.45 of the concept, below the gate of 0.5; the third below the origin.
    expected = torch.tensor([[[2.0, 2.0, 7.0, 0.0], [2.9, 0.0, 7.0, 0.0], [-1.0, 5.0, 0.0, 0.0]]])
    assert torch.equal(edited(edit, tokens), expected)


def test_the_control_moves_the_same_tokens_as_far_elsewhere() -> None:
    tokens = torch.tensor([[[5.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    for action, others in (("erase", {}), ("replace", {"target": vectors(1)})):
        plain = next(e for e in made(action, centred=True, bound="none", **others) if e.steps == (0, 0))
        random = next(
            e for e in made(action, centred=True, bound="none", along=vectors(3), **others) if e.steps == (0, 0)
        )
        moved, control = edited(plain, tokens) - tokens, edited(random, tokens) - tokens
        torch.testing.assert_close(moved.norm(dim=-1), control.norm(dim=-1))
        assert not control[..., :3].any()
        assert control[0, 0, 3].abs() > 0 and not control[0, 1].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"places": ("middle",)}, "There is no block 'middle'; choose among down, mid, up, and down.0 to down.1"),
        ({"places": ()}, "No block is named"),
        ({"window": (2, 4)}, "The steps 2 to 4 do not exist; this run has steps 0 to 3"),
        ({"action": "remove"}, "The action 'remove' does not exist; choose one of add, erase, replace"),
        ({"action": "replace"}, "Replacing needs the vectors of what to put in place"),
        ({"branch": "uncond", "vectors": "both", "window": (0, 3), "noise": False}, "Nothing of the vectors"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    if arguments.get("vectors") == "both":
        arguments = arguments | {"vectors": vectors(noise=(0, 1, 2, 3))}
    with pytest.raises(UserError, match=message):
        made(**arguments)


def both_kinds() -> tuple[list[AttentionBlock], SteeringVectors]:
    """The blocks with self- and cross-attention, and vectors of both: self along axis 1, cross along axis 0."""
    cross = vectors()
    selves = [replace(block, hookpoint=_self(block.hookpoint), attention="self") for block in BLOCKS]
    directions = {replace(slot, hookpoint=_self(slot.hookpoint)): one for slot, one in vectors(1).directions.items()}
    return [*selves, *BLOCKS], replace(cross, directions={**directions, **cross.directions}, controls={})


def _self(hookpoint: Hookpoint) -> Hookpoint:
    return Hookpoint(hookpoint.path.replace("attn2", "attn1"))


@pytest.mark.parametrize(
    ("attention", "axes"), [("self", {(1, "attn1")}), ("cross", {(0, "attn2")}), ("both", {(0, "attn2"), (1, "attn1")})]
)
def test_self_and_cross_attention_of_one_file_are_chosen_apart(attention: Any, axes: set[tuple[int, str]]) -> None:
    blocks, found = both_kinds()
    recipe = AttentionRecipe(attention=attention, gate=0.5, gate_at="mid.0")
    # The gate looks at cross-attention where both are edited, in whatever order the blocks are given.
    gated = "attn1" if attention == "self" else "attn2"
    for order in (blocks, blocks[::-1]):
        edits = attention_edits("add", found, 1.0, blocks=order, timesteps=COLLECTED, recipe=recipe)
        told = {(int(edit.operator.direction.unit.argmax()), edit.hookpoint.path[-5:]) for edit in edits}  # type: ignore[union-attr]
        assert told == axes
        assert len(edits) == len(axes) * 4 * 4
        assert {edit.gate.hookpoint.path for edit in edits} == {f"unet.mid.0.{gated}"}  # type: ignore[union-attr]


def test_a_kind_without_vectors_or_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="hold nothing at down, mid, up in self-attention"):
        made(attention="self")
    with pytest.raises(UserError, match="Attention 'crossed' does not exist; choose one of self, cross, both"):
        made(attention="crossed")
    values = {"action": "add", "concept": "c", "suite": "s", "strengths": [1.0], "goal": 0.5}
    known: Any = {"concepts": {"c"}, "suites": {"s"}, "where": "edits"}
    assert parse_edits({"e": {**values, "attention": "self"}}, **known)["e"].recipe(("up",)).attention == "self"
    with pytest.raises(UserErrors, match=r"edits\.e\.attention"):
        parse_edits({"e": {**values, "attention": "crossed"}}, **known)


def test_leaving_noise_out_needs_vectors_of_which_it_is_known() -> None:
    unmarked = replace(vectors(), controls={})
    assert made(vectors=unmarked)
    with pytest.raises(UserError, match=r"`noise: false`.*too few pairs"):
        made(vectors=unmarked, noise=False)


def test_centred_edits_need_vectors_that_know_their_origin() -> None:
    slot = VectorKey(BLOCKS[0].hookpoint, steps=(0, 3), branch="cond")
    imported = SteeringVectors(
        "c", MODEL, "m", "mean", {slot: Direction(torch.eye(4)[0], torch.tensor(1.0))}, COLLECTED
    )
    assert made("erase", vectors=imported, places=("down",))
    for changed in ({"centred": True}, {"gate": 0.5}):
        with pytest.raises(UserError, match="do not record"):
            made("erase", vectors=imported, places=("down",), **changed)
