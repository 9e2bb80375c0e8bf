"""The line along which the paired differences are longest."""

import torch
from jaxtyping import Float
from torch import Tensor

from steerwright.vectors.direction import Direction, normalised


def principal_component(positive: Float[Tensor, "n d"], negative: Float[Tensor, "m d"]) -> Direction:
    """First principal component of the differences `positive - negative`, both [n, d] and paired by row.

    The differences are not centred: their mean is the concept itself. The component's sign is the one that points
    from negative to positive; its norm is the distance of the two means along it. Computed in float64.
    Raises ValueError when the rows do not pair, when all differences vanish, or when the means coincide along it.

    Source: representation reading by paired differences, arXiv:2310.01405.
    """
    if positive.shape != negative.shape:
        raise ValueError(
            f"the principal component needs as many positive as negative rows, found {list(positive.shape)} and "
            f"{list(negative.shape)}"
        )
    differences = positive.double() - negative.double()
    # The right singular vectors are the eigenvectors of the smaller d x d problem when there are more rows than d.
    if differences.shape[0] > differences.shape[1]:
        component = torch.linalg.eigh(differences.T @ differences).eigenvectors[:, -1]
    else:
        component = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    separation = differences.mean(0) @ component
    if separation == 0:
        raise ValueError("the means coincide along the first principal component, so its sign is undefined")
    return normalised(component * separation.sign(), separation.abs())
