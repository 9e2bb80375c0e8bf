"""Whether a device multiplies bfloat16 faster than float32."""

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """True on CUDA, and on processors with instructions for it (AVX-512 BF16 or AMX).

    Elsewhere a bfloat16 product is several times slower than a float32 one, and less exact: it is made in float32.
    """
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
