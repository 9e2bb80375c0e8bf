"""The norm of rows that SAELens, SAeUron and OpenAI share: (x - mean) / (std + 1e-5), std with Bessel's correction."""

from steerkit.sae.input_norm import InputNorm, PerRow

LAYER_NORM = PerRow(1e-5, 1)


def is_layer_norm(norm: InputNorm) -> bool:
    """Whether `norm` is that one."""
    return isinstance(norm, PerRow) and (norm.eps, norm.ddof) == (LAYER_NORM.eps, LAYER_NORM.ddof)
