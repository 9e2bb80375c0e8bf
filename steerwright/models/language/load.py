"""Load a language model by its spec: on its device, frozen, ready to read texts and write them."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steerwright.errors import UserError
from steerwright.files import lfs_pointer_in
from steerwright.former_name import setting
from steerwright.models.building import building
from steerwright.models.custom_code import NO_CODE, check_adapters, code_refused, wants_code
from steerwright.models.fingerprint import Fingerprint, check_expected
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.identify import ask_hub, cached_commit, model_folder, unavailable
from steerwright.models.identify import fingerprint as identify
from steerwright.models.language.layers import block_hookpoints
from steerwright.models.language.memory import NotEnoughMemory, check_memory, ran_out
from steerwright.models.language.reading import check_reading
from steerwright.models.language.spec import LanguageSpec, select_language_model
from steerwright.models.load import default_device

# What loading reads: never a pickle, and none of the copies of the weights in other formats.
_FILES = ["*.json", "model*.safetensors", "adapter_model.safetensors", "tokenizer*", "*.jinja", "*.txt"]


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A causal language model that can run, with its tokenizer, its spec and the identity of its weights.

    `device` is where the ids that it is given must be. `hookpoints`: the residual stream after each block, first block
    first, so that `hookpoints[i]` is layer i. `pads`: whether a text reads the same with padding before it.
    """

    spec: LanguageSpec
    model: Any
    tokenizer: Any
    fingerprint: Fingerprint
    device: torch.device
    hookpoints: tuple[Hookpoint, ...]
    pads: bool = True

    @property
    def layers(self) -> int:
        return len(self.hookpoints)

    @property
    def width(self) -> int:
        """Values per token of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """Precision it runs in; float32 on a CPU also where the spec says float16."""
        found: torch.dtype = self.model.dtype
        return found

    @property
    def context(self) -> int:
        """How many tokens it can read and write in all."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**31)

    @property
    def has_chat(self) -> bool:
        """Whether its tokenizer has a chat template."""
        return getattr(self.tokenizer, "chat_template", None) is not None

    @property
    def ends(self) -> frozenset[int]:
        """The ids of the tokens that end a text."""
        found = self.model.generation_config.eos_token_id
        if found is None:
            found = self.tokenizer.eos_token_id
        return frozenset([] if found is None else [found] if isinstance(found, int) else found)


def load_language_model(
    spec: LanguageSpec, fingerprint: Fingerprint | str | None = None, device: torch.device | None = None
) -> LanguageModel:
    """Load `spec` onto `device` (by default STEERWRIGHT_DEVICE, else CUDA, else MPS, else the CPU).

    `fingerprint`, or its digest, is what the model must have, for example of the model that a vector was fitted on.
    Raises UserError where they have another one, where the model can be had from no folder, cache or hub, where it is
    no causal language model, has no safetensors or an adapter that would be left out, needs code of its own, or does
    not write as it reads; and NotEnoughMemory, a UserError too, where memory does not suffice.
    """
    device = device or language_device()
    folder = _folder(spec)
    dtype = _dtype_on(device, spec)
    # A map of one place is none; a CPU is one.
    device_map = None if device.type in ("cpu", "mps") else spec.device_map
    _check_kind(spec, folder)
    check_adapters(f"Model {spec.name!r}", folder)
    check_memory(spec, folder, dtype, device, spread=device_map is not None)
    tokenizer = _tokenizer(spec, folder)
    _check_chat(spec, tokenizer)
    model = _model(spec, folder, dtype, device, device_map)
    identity = identify(spec)
    check_expected(spec, identity, fingerprint)
    # Of a model that is spread, what is on no device yet ("meta") is brought there when it runs.
    where = next((weights.device for weights in model.parameters() if weights.device.type != "meta"), device)
    hookpoints = block_hookpoints(model)
    try:
        pads = check_reading(model, hookpoints[-1], where, spec.name)
    except Exception as error:
        if ran_out(error):
            raise NotEnoughMemory(spec, f"reading a few tokens on {device} ran out of memory") from error
        raise
    return LanguageModel(spec, model, tokenizer, identity, where, hookpoints, pads)


def load_or_fall_back(
    spec: LanguageSpec, models: Mapping[str, Mapping[str, Any]], tell: Callable[[str], None]
) -> LanguageModel:
    """As `load_language_model`; where memory does not suffice, the `fallback` of the spec, and `tell` is told so.

    The fallback may name one in turn. Raises NotEnoughMemory, which says what to do, where there is none left.
    """
    tried = [spec.name]
    while True:
        try:
            return load_language_model(spec)
        except NotEnoughMemory as error:
            _free()
            if spec.fallback is None or spec.fallback in tried:
                raise
            tell(f"{error.reason} Taking {spec.fallback!r} instead, as its entry in `models` says.")
            spec = select_language_model(spec.fallback, models)
            tried.append(spec.name)


def language_device() -> torch.device:
    """Where a language model runs unless told otherwise: STEERWRIGHT_DEVICE, else CUDA, else MPS, else the CPU."""
    device = default_device()
    if device.type == "cpu" and not setting("DEVICE") and torch.backends.mps.is_available():
        return torch.device("mps")
    return device


def _dtype_on(device: torch.device, spec: LanguageSpec) -> torch.dtype:
    # Half precision on a CPU is slower than float32.
    if device.type == "cpu" and spec.dtype == "float16":
        return torch.float32
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[spec.dtype]


def _folder(spec: LanguageSpec) -> Path:
    """The folder with the model's files; those of a hub model come from the cache, else they are downloaded."""
    from huggingface_hub import snapshot_download

    folder = model_folder(spec)
    if folder is not None:
        return folder
    commit = cached_commit(spec)
    if commit is not None:
        cached = Path(snapshot_download(spec.source, revision=commit, local_files_only=True))
        if _complete(cached):
            return cached
    commit = ask_hub(spec)
    try:
        return Path(snapshot_download(spec.source, revision=commit, allow_patterns=_FILES))
    except Exception as error:  # as in hub.ask_hub: each release of huggingface_hub raises another one
        raise unavailable(spec, f"its download broke off ({type(error).__name__})") from error


def _complete(folder: Path) -> bool:
    """Whether all the weights that the folder's index names are there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return False
    return all((folder / name).is_file() for name in files)


def _tokenizer(spec: LanguageSpec, folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **NO_CODE)
    except Exception as error:  # as in `_model`
        raise _broken(spec, folder, error, "its tokenizer") from error
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"Model {spec.name!r}: its tokenizer does not say where in a text its tokens lie, so the text's own tokens "
            "cannot be told from the template's. Save it with a tokenizer.json."
        )
    return tokenizer


def _check_chat(spec: LanguageSpec, tokenizer: Any) -> None:
    """Refuse settings of the chat template that would change nothing."""
    given = [name for name in ("system", "template") if getattr(spec, name)]
    template = getattr(tokenizer, "chat_template", None)
    if given and (template is None or not spec.chat):
        why = "its tokenizer has no chat template" if template is None else "chat is false"
        raise UserError(f"Model {spec.name!r}: {' and '.join(given)} would change nothing, as {why}; leave it out.")
    unknown = [name for name in spec.template if not re.search(rf"\b{re.escape(name)}\b", str(template))]
    if unknown:
        raise UserError(
            f"Model {spec.name!r}: its chat template does not ask for {', '.join(unknown)}, so that would change "
            "nothing; correct the name, or take it out of `template`."
        )


def _model(spec: LanguageSpec, folder: Path, dtype: torch.dtype, device: torch.device, device_map: str | None) -> Any:
    import transformers.utils.logging
    from transformers import AutoModelForCausalLM, GenerationConfig

    # Loading takes seconds; its bars would tear the lines of a progress display of the whole.
    transformers.utils.logging.disable_progress_bar()
    placed = {} if device_map is None else {"device_map": device_map}
    try:
        # use_safetensors: weights that need pickle could run anything.
        with building():
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=dtype, use_safetensors=True, output_loading_info=True, **NO_CODE, **placed
            )
        if device_map is None:
            model.to(device)
    # A folder can be wrong in any way, and each library below says so by exceptions of its own.
    except Exception as error:
        if ran_out(error):
            raise NotEnoughMemory(spec, f"loading it onto {device} ran out of memory") from error
        raise _broken(spec, folder, error, "it") from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would fill them with random numbers.
        raise UserError(
            f"Model {spec.name!r}: {spec.source} holds no {missing[0]}"
            + (f" and {len(missing) - 1} more of its weights" if len(missing) > 1 else "")
            + "; save or download it again."
        )
    # The caller says how a text is decoded; of the model's own settings only the tokens' ids are kept.
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    return model.eval().requires_grad_(False)


def _check_kind(spec: LanguageSpec, folder: Path) -> None:
    """Refuse, before weights are read, what is no model that reads and writes one text from left to right."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), **NO_CODE)
    except Exception as error:
        raise _broken(spec, folder, error, "its config") from error
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"Model {spec.name!r}: {spec.source} holds {_classes(config)}, which reads with an encoder and writes with "
            "a decoder; only models that continue one text (causal language models) are steered. Name one of these."
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"Model {spec.name!r}: {spec.source} holds {_classes(config)}, for which transformers has no causal "
            "language model. It must be a causal language model; correct `source`."
        )


def _classes(config: Any) -> str:
    return ", ".join(getattr(config, "architectures", None) or [f"a model of the kind {config.model_type}"])


def _broken(spec: LanguageSpec, folder: Path, error: Exception, what: str) -> UserError:
    if (pointer := lfs_pointer_in(folder)) is not None:
        return UserError(f"Model {spec.name!r}: {pointer}")
    if wants_code(error):
        return code_refused(f"Model {spec.name!r}", spec.source, folder)
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        f"Model {spec.name!r}: {what} could not be loaded from {spec.source} ({first}). It must be a causal language "
        "model of transformers with weights in safetensors; correct `source`, or save or download it again."
    )


def _free() -> None:
    """Give back what a failed attempt took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
