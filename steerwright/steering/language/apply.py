"""Apply edits to a language model while it reads and writes."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.errors import UserError
from steerwright.models.hookpoints import tensor_in, tensor_out, with_tensor_in, with_tensor_out
from steerwright.models.language.layers import module_at
from steerwright.models.language.load import LanguageModel
from steerwright.models.language.token_places import WORDS, TokenPlaces, sentences, span
from steerwright.steering.algebra import Edit, edited, on_device
from steerwright.steering.language.edits import check_vectors, text_edits

__all__ = ["check_rows", "check_vectors", "steer_text", "text_edits"]


@contextmanager
def steer_text(
    model: LanguageModel,
    edits: Sequence[Edit],
    prompt_lengths: Tensor | None = None,
    *,
    content: Tensor | None = None,
) -> Iterator[TokenPlaces | None]:
    """Run the model inside the block with `edits`; outside, also after an exception, it is as it was.

    `Edit.tokens` is `last` (the prompt's last token, then each that is written), `generated` (those that are written
    alone), `all` (every token but padding and BOS), `span:START:STOP` (of the prompt's own words, as Python slices
    count), or a bool mask over the prompt's columns. What is padding, cached or new is read off each forward: so it
    holds for left and right padding, with and without a cache. A forward that reads prompts together with their
    answers needs `prompt_lengths`, int64 [rows], and one without a cache too; `content`, bool [rows, columns], says
    which tokens are a prompt's own words.

    Edits at one hookpoint compose in the order given. Edits whose strength is zero install nothing, so the results are
    bit-identical to those of the model alone. Blocks nest; the outer block's edits come first. Gives what follows the
    forwards, None where nothing is installed. Raises UserError for an edit that does not fit the model, and while it
    runs where the tokens that are meant cannot be told.
    """
    by_module: dict[nn.Module, list[Edit]] = defaultdict(list)
    moved: dict[tuple[int, torch.device], Any] = {}
    for edit in edits:
        module = module_at(model.model, edit.hookpoint)
        _check(edit)
        if not edit.idle:
            by_module[module].append(on_device(edit, _device(module, model), moved))
    if not by_module:
        yield None
        return
    places = TokenPlaces(model.tokenizer, prompt_lengths, content)
    with ExitStack() as stack:
        _follow(model.model, places, stack)
        for module, here in by_module.items():
            on_input = [edit for edit in here if edit.hookpoint.where == "in"]
            on_output = [edit for edit in here if edit.hookpoint.where != "in"]
            if on_input:
                stack.callback(module.register_forward_pre_hook(_input_hook(on_input, places), with_kwargs=True).remove)
            if on_output:
                stack.callback(module.register_forward_hook(_output_hook(on_output, places), with_kwargs=True).remove)
        yield places


def check_rows(edits: Sequence[Edit], rows: int) -> None:
    """Raise UserError unless what `edits` give row by row, strengths and masks, is given for `rows` rows."""
    for edit in edits:
        given = {"values": edit.operator.images}
        for part, dimensions, what in ((edit.strength, 1, "strengths"), (edit.tokens, 2, "masks")):
            given[what] = len(part) if isinstance(part, Tensor) and part.ndim == dimensions else None
        for what, count in given.items():
            if count is not None and count != rows:
                raise UserError(
                    f"The edit at {edit.hookpoint} has {what} for {count} texts, but there are {rows}; give one "
                    "for each text, or one for all."
                )


def _follow(model: Any, places: TokenPlaces, stack: ExitStack) -> None:
    """Tell `places` of every forward, of the whole model or of the model without its head, whichever is called."""
    # Some models (OPT, BART) call a part of the model without its head, and so pass that by.
    whole = list(dict.fromkeys([model, model.base_model]))
    names = {module: list(inspect.signature(module.forward).parameters) for module in whole}
    running: list[nn.Module] = []

    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        running.append(module)
        if len(running) == 1:
            places.forward_begins({**dict(zip(names[module], args, strict=False)), **kwargs})

    def ends(*_: Any) -> None:
        if running:  # empty where another hook raised before `begins` was called
            running.pop()

    for module in whole:
        stack.callback(module.register_forward_pre_hook(begins, with_kwargs=True).remove)
        # Also after an exception: it may be caught inside of the block, and another forward follow.
        stack.callback(module.register_forward_hook(ends, always_call=True).remove)


def _input_hook(edits: Sequence[Edit], places: TokenPlaces) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return with_tensor_in(args, kwargs, _after(edits, tensor_in(args, kwargs), places))

    return hook


def _output_hook(edits: Sequence[Edit], places: TokenPlaces) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        acts = tensor_out(output)
        for edit in edits:
            if edit.hookpoint.where == "update":
                update = acts - tensor_in(args, kwargs)
                # Adding the change, not input plus update: a token that is not touched keeps its bits.
                acts = acts + (_after([edit], update, places) - update)
            else:
                acts = _after([edit], acts, places)
        return with_tensor_out(output, acts)

    return hook


def _after(edits: Sequence[Edit], acts: Tensor, places: TokenPlaces) -> Tensor:
    for edit in edits:
        if acts.ndim < 3 or tuple(acts.shape[:2]) != places.shape:
            raise UserError(
                f"{edit.hookpoint} gives {list(acts.shape)} for {places.shape[0]} texts of {places.shape[1]} tokens, "
                "not one row for each token, so its tokens cannot be told apart; steer another module."
            )
        meant = places.meant(edit.tokens)
        if meant is not False:
            acts = edited(edit, acts, mask=None if meant is True else meant.to(acts.device))
    return acts


def _check(edit: Edit) -> None:
    check_places(edit)
    if edit.steps is not None or edit.branch not in ("cond", "both"):
        raise UserError(f"The edit at {edit.hookpoint} names denoising steps or a branch of guidance; a text has none.")
    if edit.operator.pictures_only:
        raise UserError(f"The edit at {edit.hookpoint} is of latents, which only pictures are steered by.")
    if edit.gate.pictures_only:
        raise UserError(f"The edit at {edit.hookpoint} has a gate that looks at pictures; a text has none.")


def _device(module: nn.Module, model: LanguageModel) -> torch.device:
    """Where the module runs: of a model that is spread over devices, where its own weights are."""
    parameter = next(module.parameters(), None)
    return model.device if parameter is None or parameter.device.type == "meta" else parameter.device


def check_places(edit: Edit) -> None:
    """Raise UserError unless the tokens of `edit` are ones that a text has."""
    if isinstance(edit.tokens, Tensor):
        if edit.tokens.dtype != torch.bool or edit.tokens.ndim not in (1, 2):
            raise UserError(f"The mask of the edit at {edit.hookpoint} must be bool, [tokens] or [rows, tokens].")
    elif edit.tokens not in WORDS and span(edit.tokens) is None and sentences(edit.tokens) is None:
        raise UserError(
            f"Tokens {edit.tokens!r} of the edit at {edit.hookpoint} do not exist in a text; choose "
            f"{', '.join(WORDS)}, span:START:STOP (as span:0:3, or span:-2: for the last two), sentences:PATTERN (as "
            "sentences:10 for every other sentence of the answer, from the first on), or give a mask."
        )
