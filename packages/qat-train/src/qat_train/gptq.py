"""Quantization that looks at what a layer is given: the error of its outputs, not of its weights.

For one output channel with weights w (K of them) and inputs x (a column of K), quantizing w to ŵ changes the output by
(ŵ - w)·x, whose mean square over the inputs is d H dᵀ, d = ŵ - w, H = E[x xᵀ]: the second moments of the inputs.
`least_error_amax` searches the scale for the least of it. `compensate` then rounds one weight after the other and moves
those that are not rounded yet so that they make up for it (GPTQ: Frantar et al., arXiv 2210.17323, algorithm 1).

A grouped convolution is as many matrices as it has groups; tensors here are (G, O, K): groups, output channels of
each, weights of one channel. Moments are (G, K, K).
"""

import torch
from torch import Tensor

from qat_train.quantizer import MSE_MULTIPLIERS, best_multiple, code_range, codes, largest_weight, scale_from_amax

# Half as fine as the search by weights, which costs K times less.
MULTIPLIERS = MSE_MULTIPLIERS[1::2]  # 0.32, 0.36, ..., 1.00, ..., 1.20
_BLOCK = 128  # weights between two updates of all later ones: the paper's "lazy batch updates"
DAMPING = 0.01  # of the mean second moment, added to each: the paper's, section 3.3


def output_error(difference: Tensor, moments: Tensor) -> Tensor:
    """Mean square of what a change of weights does to the outputs, d H dᵀ, shape (G, O).

    Args:
        difference: ŵ - w, shape (G, O, K).
        moments: E[x xᵀ], shape (G, K, K).
    """
    return (difference @ moments * difference).sum(dim=2)


def least_error_amax(weight: Tensor, bits: int, moments: Tensor, *, per_channel: bool) -> Tensor:
    """The multiple of the largest weight (in `MULTIPLIERS`) whose outputs have the least squared error.

    Args:
        weight: shape (G, O, K).
        bits: 2 to 8.
        moments: shape (G, K, K).
        per_channel: one amax per output channel, or one for all.

    Returns:
        shape (G, O, 1), or () per tensor.
    """
    groups, channels, _ = weight.shape
    largest = largest_weight(weight.flatten(0, 1), per_channel=per_channel)
    largest = largest.reshape(groups, channels, 1) if per_channel else largest

    def error(amax: Tensor) -> Tensor:
        scale = scale_from_amax(amax, bits)
        found = output_error(codes(weight, scale, bits) * scale - weight, moments)
        return found.unsqueeze(2) if per_channel else found.sum()

    return best_multiple(largest, MULTIPLIERS, error)


def compensate(weight: Tensor, scale: Tensor, bits: int, moments: Tensor) -> Tensor:
    """Weights whose codes are GPTQ's: each as it was when its turn to be rounded came, moved by those before it.

    They lie in the cell of their code, not on the grid, so that training goes on from them as from any weight; what
    would be clipped lies on the edge of the range, where it still has a gradient. Weights whose inputs vary most come
    first (the order that the authors' code calls act-order).

    Args:
        weight: shape (G, O, K).
        scale: broadcasts against (G, O, 1).
        bits: 2 to 8.
        moments: shape (G, K, K).

    Returns:
        shape (G, O, K), in the order of `weight`.
    """
    size = weight.shape[2]
    low, high = code_range(bits)
    diagonal = moments.diagonal(dim1=1, dim2=2)
    damping = DAMPING * diagonal.mean(dim=1, keepdim=True)
    # An input that is always zero has no say: with 1 on its diagonal its weight is rounded and moves no other.
    damped = moments + torch.diag_embed(damping + (diagonal + damping <= 0).to(moments.dtype))
    order = diagonal.argsort(dim=1, descending=True)
    rows = order.unsqueeze(2).expand(-1, -1, size)
    damped = damped.gather(1, rows).gather(2, rows.transpose(1, 2))
    columns = order.unsqueeze(1).expand_as(weight)
    remaining = weight.gather(2, columns)
    # Row k of this factor is what rounding weight k does to the later ones (the paper's "Cholesky reformulation").
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped.double()))
    factor = torch.linalg.cholesky(inverse, upper=True).to(weight.dtype)
    scale = scale.expand(*weight.shape[:2], 1).squeeze(2)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = []
        for k in range(start, end):
            now = remaining[:, :, k].clone()
            errors.append((now - codes(now, scale, bits) * scale) / factor[:, k, k].unsqueeze(1))
            remaining[:, :, k + 1 : end] -= errors[-1].unsqueeze(2) * factor[:, k, k + 1 : end].unsqueeze(1)
        remaining[:, :, end:] -= torch.stack(errors, dim=2) @ factor[:, start:end, end:]
    moved = torch.empty_like(weight).scatter_(2, columns, remaining)
    scale = scale.unsqueeze(2)
    edge = high * scale
    edge = torch.where(edge / scale > high, torch.nextafter(edge, 0 * edge), edge)  # a product may round outward
    return torch.maximum(torch.minimum(moved, edge), low * scale)
