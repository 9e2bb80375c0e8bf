"""Text and image tokens of a transformer apart: what hookpoints say of them, and where tensors are cut."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint, cut_input, cut_output, with_cut_input, with_cut_output

DOUBLE, SINGLE = "transformer.transformer_blocks", "transformer.single_transformer_blocks"
NOW = SimpleNamespace(text_tokens=2, image_tokens=3)
SEQUENCE = torch.arange(20.0).view(1, 5, 4)


def point(text: str) -> Hookpoint:
    return Hookpoint.parse(text)


@pytest.mark.parametrize(
    ("text", "written", "tokens"),
    [
        (f"{DOUBLE}.0", f"{DOUBLE}.0:out:image", "image"),
        (f"{DOUBLE}.0:in:text", f"{DOUBLE}.0:in:text", "text"),
        (f"{DOUBLE}.18.attn:out:text", f"{DOUBLE}.18.attn:out:text", "text"),
        (f"{DOUBLE}.5.ff:out:image", f"{DOUBLE}.5.ff:out", "image"),
        (f"{DOUBLE}.5.ff.net.2", f"{DOUBLE}.5.ff.net.2:out", "image"),
        (f"{DOUBLE}.5.ff_context", f"{DOUBLE}.5.ff_context:out", "text"),
        (f"{DOUBLE}.5.attn.add_q_proj:out:text", f"{DOUBLE}.5.attn.add_q_proj:out", "text"),
        (f"{DOUBLE}.5.attn.to_q", f"{DOUBLE}.5.attn.to_q:out", "image"),
        (f"{SINGLE}.37:update", f"{SINGLE}.37:update:image", "image"),
        (f"{SINGLE}.37.attn:in:text", f"{SINGLE}.37.attn:in:text", "text"),
        ("transformer.context_embedder", "transformer.context_embedder:out", "text"),
        ("transformer.x_embedder", "transformer.x_embedder:out", "image"),
        ("unet.mid_block", "unet.mid_block:out", None),
        ("text_encoder_2.encoder", "text_encoder_2.encoder:out", None),
    ],
)
def test_a_hookpoint_says_whose_tokens_it_means_and_reads_back(text: str, written: str, tokens: str | None) -> None:
    found = point(text)
    assert (str(found), found.tokens) == (written, tokens)
    assert point(written) == found


def test_the_image_is_meant_where_nothing_is_said() -> None:
    assert point(f"{DOUBLE}.0") == Hookpoint(f"{DOUBLE}.0", "out", "image")
    assert point(f"{DOUBLE}.0") != Hookpoint(f"{DOUBLE}.0", "out", "text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{DOUBLE}.5.ff:out:text", "no stream 'text': it has image tokens"),
        (f"{DOUBLE}.5.ff_context:out:image", "no stream 'image': it has text tokens"),
        (f"{DOUBLE}.5:out:words", "no stream 'words': it has image and text tokens"),
        ("unet.mid_block:out:text", "only a FLUX transformer has streams"),
        (f"{DOUBLE}.5:text", "'text' is no side of a module"),
    ],
)
def test_a_stream_that_a_module_has_not_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        point(text)


def test_hookpoints_with_and_without_streams_can_be_sorted() -> None:
    texts = ["unet.mid_block:out", f"{DOUBLE}.0:out:text", f"{DOUBLE}.0:out:image", f"{DOUBLE}.0.ff:out"]
    expected = [f"{DOUBLE}.0:out:image", f"{DOUBLE}.0:out:text", f"{DOUBLE}.0.ff:out", "unet.mid_block:out"]
    for order in itertools.permutations(texts):
        assert [str(found) for found in sorted(map(point, order))] == expected


def test_one_sequence_has_the_text_first() -> None:
    for path in (f"{SINGLE}.0", f"{SINGLE}.0.proj_out"):
        assert torch.equal(cut_output(point(f"{path}:out:text"), SEQUENCE, NOW), SEQUENCE[:, :2])
        assert torch.equal(cut_output(point(path), SEQUENCE, NOW), SEQUENCE[:, 2:])


def test_a_single_block_of_an_older_release_takes_and_gives_one_sequence() -> None:
    temb = torch.ones(1, 4)  # second by place there, and no text
    for args, kwargs in (((SEQUENCE, temb), {}), ((), {"hidden_states": SEQUENCE, "temb": temb})):
        assert torch.equal(cut_input(point(f"{SINGLE}.0:in:text"), args, kwargs, NOW), SEQUENCE[:, :2])
        found, more = with_cut_input(point(f"{SINGLE}.0:in"), args, kwargs, torch.zeros(1, 3, 4), NOW)
        made = found[0] if found else more["hidden_states"]
        assert torch.equal(made[:, :2], SEQUENCE[:, :2]) and not made[:, 2:].any()
        assert (found[1] if found else more["temb"]) is temb


@pytest.mark.parametrize("stream", ["image", "text"])
@pytest.mark.parametrize("path", [f"{DOUBLE}.0", f"{DOUBLE}.0.attn", f"{SINGLE}.0", f"{SINGLE}.0.attn"])
def test_what_is_put_back_is_all_that_changes(path: str, stream: str) -> None:
    text, image = SEQUENCE[:, :2], SEQUENCE[:, 2:]
    ends = {f"{DOUBLE}.0": (text, image), f"{DOUBLE}.0.attn": (image, text), f"{SINGLE}.0": (text, image)}
    output: Any = ends.get(path, SEQUENCE)
    meant, other = point(f"{path}:out:{stream}"), point(f"{path}:out:{'text' if stream == 'image' else 'image'}")
    tokens = cut_output(meant, output, NOW)
    changed = with_cut_output(meant, output, tokens + 1, NOW)
    assert type(changed) is type(output)
    assert torch.equal(cut_output(meant, changed, NOW), (text if stream == "text" else image) + 1)
    assert torch.equal(cut_output(other, changed, NOW), image if stream == "text" else text)
    assert torch.equal(torch.cat([text, image], 1), SEQUENCE)


def test_inputs_by_place_and_by_keyword_are_the_same() -> None:
    text, image = SEQUENCE[:, :2], SEQUENCE[:, 2:]
    calls: list[Any] = [((image, text), {}), ((), {"hidden_states": image, "encoder_hidden_states": text})]
    for args, kwargs in calls:
        for stream, expected in (("text", text), ("image", image)):
            meant = point(f"{DOUBLE}.0:in:{stream}")
            assert torch.equal(cut_input(meant, args, kwargs, NOW), expected)
            again = with_cut_input(meant, args, kwargs, expected + 1, NOW)
            assert torch.equal(cut_input(meant, *again, NOW), expected + 1)


def test_a_tensor_without_these_tokens_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \[1, 4\], which is not 2 text and 3 image tokens"):
        cut_output(point(f"{SINGLE}.0.norm.linear"), torch.zeros(1, 4), NOW)
    with pytest.raises(UserError, match="only while the whole transformer runs"):
        cut_output(point(f"{SINGLE}.0"), SEQUENCE, SimpleNamespace(text_tokens=None, image_tokens=None))


def seen(model: Any, *texts: str) -> list[torch.Tensor]:
    """What hooks see at the first step of two pictures of 32x48 pixels: 12 text and 24 image tokens."""
    points = [point(text) for text in texts]
    with record(model.pipeline, points) as recording:
        generate(model, ["a red house", "sea"], [1, 2], steps=1, width=48)
    return [recording[one][0] for one in points]


def test_streams_are_what_the_model_makes_of_words_and_of_noise(flux: Any) -> None:
    """Where each stream comes from and goes to, which says which is which without asking any block."""
    words, noise, text, image = seen(
        flux, "transformer.context_embedder", "transformer.x_embedder", f"{DOUBLE}.0:in:text", f"{DOUBLE}.0:in"
    )
    assert torch.equal(words, text) and torch.equal(noise, image)
    assert (text.shape, image.shape) == ((2, 12, 16), (2, 24, 16))
    # Only image tokens go on to the output.
    last, goes_on = seen(flux, f"{SINGLE}.1", "transformer.norm_out:in")
    assert torch.equal(last, goes_on)


def test_each_block_takes_what_the_one_before_it_gave(flux: Any) -> None:
    for stream in ("image", "text"):
        chain = [f"{DOUBLE}.0", f"{DOUBLE}.1", f"{SINGLE}.0", f"{SINGLE}.1"]
        for before, after in itertools.pairwise(chain):
            gave, took = seen(flux, f"{before}:out:{stream}", f"{after}:in:{stream}")
            assert torch.equal(gave, took)
        # Inside a single block: the sequence that its norm is given is cut as the block's own input is.
        took, inside = seen(flux, f"{SINGLE}.1:in:{stream}", f"{SINGLE}.1.norm:in:{stream}")
        assert torch.equal(took, inside)


def test_attention_gives_the_image_first(flux: Any) -> None:
    # to_out makes the image's tokens and to_add_out the text's, each the last thing that attention does.
    made, given, text_made, text_given = seen(
        flux,
        f"{DOUBLE}.0.attn.to_out.1",
        f"{DOUBLE}.0.attn",
        f"{DOUBLE}.0.attn.to_add_out",
        f"{DOUBLE}.0.attn:out:text",
    )
    assert torch.equal(made, given) and torch.equal(text_made, text_given)


def test_the_update_of_a_single_block_is_its_gated_projection(flux: Any) -> None:
    for stream in ("image", "text"):
        update, projected = seen(flux, f"{SINGLE}.0:update:{stream}", f"{SINGLE}.0.proj_out:out:{stream}")
        # One gate for each picture and feature, the same for every token.
        gate = update / projected
        torch.testing.assert_close(gate, gate[:, :1].expand_as(gate), rtol=2e-2, atol=1e-3)
