"""Models of real shapes (SD 2.1, FLUX.1, five language models), random and small, saved to disk and loaded by path."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT_LAYERS = 23
TEXT_WIDTH = 32


@pytest.fixture(scope="session")
def sd21_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 text layers, 77 tokens, padding with `!`, a UNet of four levels, PNDM; 64x64 pixels."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("sd21")
    tokenizer = _tokenizer(folder / "vocabulary")
    with torch.random.fork_rng():
        torch.manual_seed(21)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=64,
                num_hidden_layers=TEXT_LAYERS,
                num_attention_heads=2,
                max_position_embeddings=77,
                hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16, 32, 32),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            layers_per_block=2,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 2, 4, 4),
            use_linear_projection=True,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="session")
def sd21(sd21_folder: Path) -> Any:
    """The saved pipeline, loaded as steerwright loads any model: float32 on the CPU, 3 steps, guidance 4."""
    import torch

    from steerwright.models.load import load_model
    from steerwright.models.spec import ModelSpec

    spec = ModelSpec(name="tiny-sd-2.1", source=str(sd21_folder), dtype="float16", steps=3, guidance=4.0)
    return load_model(spec, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of `dev` or `schnell`, written when it is first asked for: two double and two single blocks.

    Pictures are 32x32, an image token is 8 pixels wide; T5's tokenizer has 12 tokens, and no BOS, as the real one.
    """
    root = tmp_path_factory.mktemp("flux")

    def folder(kind: str) -> Path:
        if not (root / kind).exists():
            _flux(root / kind, dev=kind == "dev")
        return root / kind

    return folder


@pytest.fixture(scope="session")
def flux(flux_folder: Callable[[str], Path]) -> Any:
    """The `dev` folder, loaded as steerwright loads any model: float32 on the CPU, 4 steps, guidance 3.5."""
    import torch

    from steerwright.models.load import load_model
    from steerwright.models.spec import ModelSpec

    spec = ModelSpec(name="tiny-flux", family="flux", source=str(flux_folder("dev")), steps=4, guidance=3.5)
    return load_model(spec, device=torch.device("cpu"))


def _flux(folder: Path, dev: bool) -> None:
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    (folder / "vocabularies").mkdir(parents=True)
    first, second = _tokenizer(folder / "vocabularies" / "clip"), _tokenizer_without_bos(12)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(first), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=77, bos_token_id=first.bos_token_id,
                eos_token_id=first.eos_token_id, pad_token_id=first.pad_token_id,
            )
        )  # fmt: skip
        text_encoder_2 = T5EncoderModel(
            T5Config(vocab_size=len(second), d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3,
                     feed_forward_proj="gated-gelu", dropout_rate=0.0)
        )  # fmt: skip
        transformer = FluxTransformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=24, pooled_projection_dim=16, guidance_embeds=dev, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16), down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, norm_num_groups=4, latent_channels=4,
            sample_size=32, shift_factor=0.1,
        )  # fmt: skip
    # As initialised, every block hardly adds to what it is given; in trained models it does.
    for name, parameter in transformer.named_parameters():
        if name.endswith(("proj_out.weight", "to_out.0.weight", "to_add_out.weight", "net.2.weight")):
            parameter.data.mul_(5.0)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev),
        vae=vae, text_encoder=text_encoder, tokenizer=first, text_encoder_2=text_encoder_2, tokenizer_2=second,
        transformer=transformer,
    ).save_pretrained(folder)  # fmt: skip


def _tokenizer_without_bos(tokens: int) -> Any:
    """A tokenizer of letters and spaces that ends a prompt as T5's does, and puts nothing before it."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens_known = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "]
    vocabulary = {token: index for index, token in enumerate(tokens_known)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=tokens
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    letters = "!abcdefghijklmnopqrstuvwxyz"
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="!")


# Every one is four layers deep and 32 wide; GPT-2 has neither BOS nor a chat template, Qwen a template but no BOS.
LANGUAGE_SHAPES = ("mistral", "phi3", "llama", "qwen2", "gpt2")
_CHATS = {
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + "
    "' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
    "phi3": "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "llama": "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\\n\\n' + m['content'] | "
    "trim + '<|turn|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\\n\\n' }}{% endif %}",
    "qwen2": "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% for m in messages %}{{ '<|im_start|>' + m['role'] "
    "+ '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
}


@pytest.fixture(scope="session", params=LANGUAGE_SHAPES)
def language_shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a random language model of a shape in LANGUAGE_SHAPES, written when it is first asked for."""
    root = tmp_path_factory.mktemp("language")

    def folder(shape: str) -> Path:
        if not (root / shape).exists():
            _language_model(root / shape, shape)
        return root / shape

    return folder


@pytest.fixture(scope="session")
def planted_vectors() -> Callable[..., Any]:
    """Makes steering vectors of a language model: a random direction of unit norm at each of its layers, by a seed."""
    import torch

    from steerwright.vectors.direction import Direction
    from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

    def make(model: Any, *, seed: int) -> SteeringVectors:
        generator = torch.Generator().manual_seed(seed)
        raw = [torch.randn(model.width, generator=generator) for _ in model.hookpoints]
        directions = {
            VectorKey(point): Direction(row / row.norm(), torch.tensor(1.0))
            for point, row in zip(model.hookpoints, raw, strict=True)
        }
        return SteeringVectors("planted", model.fingerprint, "mean_difference", "content", directions)

    return make


@pytest.fixture(scope="session")
def language(language_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """A model of a shape, loaded as steerwright loads any: float32 on the CPU. Loaded once; nobody may change it."""
    import torch

    from steerwright.models.language.load import load_language_model
    from steerwright.models.language.spec import LanguageSpec

    loaded: dict[str, Any] = {}

    def load(shape: str) -> Any:
        if shape not in loaded:
            spec = LanguageSpec(name=f"tiny-{shape}", source=str(language_folder(shape)))
            loaded[shape] = load_language_model(spec, device=torch.device("cpu"))
        return loaded[shape]

    return load


def _language_model(folder: Path, shape: str) -> None:
    import torch
    import transformers

    tokenizer = _language_tokenizer(shape)
    kind = {"mistral": "Mistral", "phi3": "Phi3", "llama": "Llama", "qwen2": "Qwen2", "gpt2": "GPT2"}[shape]
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
        "max_position_embeddings": 128, "initializer_range": 0.2, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    if shape != "gpt2":
        sizes |= {"intermediate_size": 48, "num_key_value_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = "GPT2LMHeadModel" if shape == "gpt2" else f"{kind}ForCausalLM"
        model = getattr(transformers, head)(getattr(transformers, f"{kind}Config")(**sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _language_tokenizer(shape: str) -> Any:
    """Byte-level pieces of a few words, with the special tokens of the shape; any text round-trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = {
        "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
        "phi3": ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"],
        "llama": ["<s>", "</s>", "<|start|>", "<|stop|>", "<|turn|>"],
        "qwen2": ["</s>", "<|im_start|>", "<|im_end|>"],
        "gpt2": ["</s>"],
    }[shape]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<pad>", *special], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    words = "tell me about the lake and the market ; a boat lies by the old stone house in the garden ."
    inner.train_from_iterator([words] * 8, trainer)
    bos = {"bos_token": "<s>"} if "<s>" in special else {}
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", **bos)
    tokenizer.chat_template = _CHATS.get(shape)
    return tokenizer


@pytest.fixture
def sd3_folder(shaped: Any, tmp_path: Path) -> Path:
    """A tiny pipeline of the shape of SD3, on disk; its text encoders are those of the SDXL shape."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    xl = shaped("sdxl").pipeline
    encoder = xl.text_encoder_2
    vae = copy.deepcopy(xl.vae)
    vae.register_to_config(shift_factor=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=24,
            pos_embed_max_size=16,
        )  # fmt: skip
        # As initialised the last layer gives zeros, whatever runs before it.
        torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae,
        text_encoder=copy.deepcopy(encoder), tokenizer=xl.tokenizer_2, text_encoder_2=copy.deepcopy(encoder),
        tokenizer_2=xl.tokenizer_2, text_encoder_3=None, tokenizer_3=None,
    ).save_pretrained(tmp_path / "sd3")  # fmt: skip
    return tmp_path / "sd3"
