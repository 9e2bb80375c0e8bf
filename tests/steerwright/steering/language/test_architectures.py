"""Every family of language models is steered right, held against whole texts without a cache, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steerwright.activations.residuals import residuals
from steerwright.errors import UserError
from steerwright.models.language.encode import encode, encode_texts
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.steering.algebra import Edit
from steerwright.steering.language.apply import steer_text
from steerwright.steering.language.generate import Sampling, complete
from steerwright.steering.language.log_probs import next_token_log_probs
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction, normalised

PROMPTS = ["Tell me about the lake.", "The old house?", "Tell me about the market by the lake, and the boat."]
STRENGTHS = [1.2, 0.0, -0.8]
GREEDY = Sampling(max_new_tokens=6, temperature=0)
CPU = torch.device("cpu")

# Sizes by the names that a config calls them; what a config does not know is left out.
SIZES: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 32, "d_model": 32, "n_embd": 32, "intermediate_size": 48, "ffn_dim": 48,
    "decoder_ffn_dim": 48, "encoder_ffn_dim": 48, "num_hidden_layers": 4, "decoder_layers": 4, "encoder_layers": 4,
    "n_layer": 4, "num_attention_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4, "n_head": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "n_positions": 128, "sliding_window": 6,
    "attention_window_size": 6, "word_embed_proj_dim": 32, "attention_hidden_size": 32, "state_size": 8,
    "time_step_rank": 4, "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_expand": 2,
    "mamba_dt_rank": 4, "moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "initializer_range": 0.2, "init_std": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt_neox": {}, "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4, "window_size": 5},
    "gemma2": {}, "gemma3_text": {}, "gpt_oss": {"layer_types": ["sliding_attention", "full_attention"] * 2},
    "bloom": {}, "falcon": {}, "opt": {}, "bart": {}, "openai-gpt": {}, "mamba": {},
    "mamba2": {"num_heads": 8, "head_dim": 8}, "falcon_mamba": {}, "rwkv": {},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "num_blocks": 4, "num_heads": 2, "qk_dim_factor": 1.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1, 3]}, "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "zamba": {"attention_head_dim": 16, "attention_hidden_size": 64, "layers_block_type": ["mamba", "hybrid"] * 2,
              "n_mamba_heads": 2, "num_key_value_heads": 4},
    "zamba2": {"attention_head_dim": 16, "attention_hidden_size": 64, "num_key_value_heads": 4, "num_mem_blocks": 1,
               "layers_block_type": ["mamba", "hybrid"] * 2, "hybrid_layer_ids": [1, 3], "n_mamba_heads": 8,
               "mamba_headdim": 8},
    "falcon_h1": {"mamba_d_ssm": 64}, "qwen3_next": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
}  # fmt: skip
# What no name of an argument says: these read padding, or count it as places, and so are given none.
ALONE = {"bart", "rwkv", "xlstm", "recurrent_gemma"}


def config(kind: str, **more: Any) -> Any:
    known = transformers.CONFIG_MAPPING[kind]
    names = known().to_dict()
    return known(**{name: value for name, value in SIZES.items() if name in names} | more)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, language: Callable[[str], Any]) -> Callable[[str, Any], Path]:
    """Writes a random model with a tokenizer that has no chat template."""
    root = tmp_path_factory.mktemp("architectures")

    def save(name: str, model: Any) -> Path:
        model.save_pretrained(root / name)
        language("gpt2").tokenizer.save_pretrained(root / name)
        return root / name

    return save


@pytest.fixture(scope="session")
def family(saved: Callable[[str, Any], Path]) -> Callable[[str], Any]:
    loaded: dict[str, Any] = {}

    def load(kind: str) -> Any:
        if kind not in loaded:
            with torch.random.fork_rng():
                torch.manual_seed(5)
                folder = saved(kind, transformers.AutoModelForCausalLM.from_config(config(kind, **FAMILIES[kind])))
            loaded[kind] = load_language_model(LanguageSpec(name=kind, source=str(folder)), device=CPU)
        return loaded[kind]

    return load


def direction(width: int) -> Direction:
    return normalised(torch.randn(width, generator=torch.Generator().manual_seed(3)))


def edit(model: Any, strength: Any, policy: str) -> Edit:
    return Edit(model.hookpoints[1], Add(direction(model.width), "relative"), strength, tokens=policy)


def by_hand(model: Any, prompt: str, strength: float, policy: str) -> list[int]:
    """Greedy tokens of one prompt: no cache, no padding, every step the whole text, the edit by a hook of its own."""
    ids = encode(model, [prompt]).ids[0].tolist()
    start, unit = len(ids), direction(model.width).unit

    def hook(_: Any, __: Any, output: Any) -> Any:
        acts = output if isinstance(output, torch.Tensor) else output[0]
        moved = acts.clone()
        for place in range({"last": start - 1, "generated": start, "all": 0}[policy], len(ids)):
            moved[0, place] = acts[0, place] + strength * acts[0, place].norm() * unit
        return moved if isinstance(output, torch.Tensor) else type(output)((moved, *output[1:]))

    for _ in range(GREEDY.max_new_tokens):
        handle = model.model.get_submodule(model.hookpoints[1].path).register_forward_hook(hook)
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits
        handle.remove()
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in model.ends:
            return ids[start:-1]
    return ids[start:]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_steered_as_whole_texts_without_a_cache_say(family: Callable[[str], Any], kind: str) -> None:
    model = family(kind)
    assert model.pads == (kind not in ALONE)
    for policy in ("last", "generated", "all"):
        found = complete(model, PROMPTS, [0, 0, 0], GREEDY, [edit(model, torch.tensor(STRENGTHS), policy)])
        for prompt, strength, one in zip(PROMPTS, STRENGTHS, found, strict=True):
            assert list(one.tokens) == by_hand(model, prompt, strength, policy), policy
        single = complete(model, PROMPTS[:1], [0], GREEDY, [edit(model, STRENGTHS[0], policy)])
        assert single[0].tokens == found[0].tokens


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "xlstm", "bamba", "opt"])
def test_what_was_written_is_read_again_as_it_was_steered(family: Callable[[str], Any], kind: str) -> None:
    """The likeliest token at every place that was written is the one that was written, under the same edit alone."""
    model = family(kind)
    steered = edit(model, 1.2, "last")
    found = complete(model, PROMPTS, [0, 0, 0], GREEDY, [steered])
    for one, log_probs in zip(found, next_token_log_probs(model, found, [steered]), strict=True):
        assert log_probs.argmax(1).tolist()[: len(one.tokens)] == list(one.tokens) != []


@pytest.mark.parametrize("kind", sorted(ALONE))
def test_padding_on_the_left_is_refused_where_it_would_be_read(family: Callable[[str], Any], kind: str) -> None:
    model = family(kind)
    with pytest.raises(UserError, match=r"does not pass over padding on the left; .*padding: right"):
        residuals(model, encode_texts(model, PROMPTS, padding="left"))
    right = residuals(model, encode_texts(model, PROMPTS))
    alone = residuals(model, encode_texts(model, PROMPTS[1:2]))
    torch.testing.assert_close(right[:, 1:2, : alone.shape[2]], alone, atol=1e-4, rtol=1e-4)


def test_a_state_that_was_filled_before_steering_is_refused(family: Callable[[str], Any]) -> None:
    model = family("rwkv")
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        before = model.model(input_ids=ids, use_cache=True)
        with steer_text(model, [edit(model, 1.0, "last")]), pytest.raises(UserError, match="filled before steering"):
            model.model(input_ids=ids[:, :1], state=before.state, use_cache=True)
        with steer_text(model, [edit(model, 1.0, "last")]):
            inside = model.model(input_ids=ids, use_cache=True)
            cached = model.model(input_ids=ids[:, :1], state=inside.state, use_cache=True).logits[0, -1]
    with torch.inference_mode(), steer_text(model, [edit(model, 1.0, "last")], torch.tensor([3])):
        whole = model.model(input_ids=torch.tensor([[5, 6, 7, 5]]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(cached, whole, atol=1e-4, rtol=1e-4)


def test_generation_whose_tokens_are_counted_wrong_is_refused(
    family: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = family("mamba")
    monkeypatch.setattr("steerwright.models.language.token_places._MEMORIES", ("past_key_values",))  # as it was
    with pytest.raises(UserError, match=r"'mamba': the new tokens of MambaForCausalLM cannot be told .*\(1 counted"):
        complete(model, PROMPTS[:1], [0], GREEDY, [edit(model, 1.0, "generated")])


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("roberta", {}, r"'it': RobertaForCausalLM computes tokens otherwise while it writes .*not a causal"),
        ("xlnet", {}, r"'it': the blocks of XLNetLMHeadModel give \[7, 1, 32\] .* it is not supported"),
    ],
)
def test_what_cannot_be_steered_is_refused_by_name(
    saved: Callable[[str, Any], Path], kind: str, more: dict[str, Any], message: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        folder = saved(kind, transformers.AutoModelForCausalLM.from_config(config(kind, **more)))
    with pytest.raises(UserError, match=message):
        load_language_model(LanguageSpec(name="it", source=str(folder)), device=CPU)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("T5ForConditionalGeneration", "holds T5ForConditionalGeneration, which reads with an encoder and writes with"),
        ("BartForConditionalGeneration", "holds BartForConditionalGeneration, which reads with an encoder"),
        ("CLIPTextModel", "CLIPTextModel, for which transformers has no causal language model"),
    ],
)
def test_another_kind_of_model_is_refused_by_name(saved: Callable[[str, Any], Path], model: str, message: str) -> None:
    kind = {"T5": "t5", "Ba": "bart", "CL": "clip_text_model"}[model[:2]]
    sizes = {"d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4} if kind == "t5" else {}
    folder = saved(model, getattr(transformers, model)(config(kind, **sizes)))
    with pytest.raises(UserError, match=f"'it': .*{message}"):
        load_language_model(LanguageSpec(name="it", source=str(folder)), device=CPU)


SIGHT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2,
         "image_size": 16, "patch_size": 8}  # fmt: skip


@pytest.mark.parametrize("kind", ["gemma3", "got_ocr2"])
def test_a_model_that_sees_is_steered_in_its_text_model(saved: Callable[[str, Any], Path], kind: str) -> None:
    """Its vision tower has as many layers, in one of the two as far up as the text's."""
    text = {name: SIZES[name] for name in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "initializer_range", "bos_token_id", "eos_token_id",
        "pad_token_id",
    )}  # fmt: skip
    if kind == "gemma3":
        text |= {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"] * 2}
        more: dict[str, Any] = {"vision_config": SIGHT, "mm_tokens_per_image": 4, "boi_token_index": 318,
                                "eoi_token_index": 317}  # fmt: skip
    else:
        text |= {"model_type": "qwen2"}
        more = {"vision_config": SIGHT | {"output_channels": 8, "mlp_dim": 24, "global_attn_indexes": [3]}}
    whole = transformers.CONFIG_MAPPING[kind](text_config=text, image_token_index=319, **more)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        folder = saved(kind, transformers.AutoModelForCausalLM.from_config(whole))
    model = load_language_model(LanguageSpec(name=kind, source=str(folder)), device=CPU)
    assert all("language_model" in point.path for point in model.hookpoints)
    for policy in ("last", "generated", "all"):
        found = complete(model, PROMPTS, [0, 0, 0], GREEDY, [edit(model, torch.tensor(STRENGTHS), policy)])
        for prompt, strength, one in zip(PROMPTS, STRENGTHS, found, strict=True):
            assert list(one.tokens) == by_hand(model, prompt, strength, policy), policy
