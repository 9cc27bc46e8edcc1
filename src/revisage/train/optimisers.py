"""Muon: momentum whose steps are orthogonalised, for the kernels of the hidden layers; Adam is for everything else.

Our own, as ``torch.optim.Muon`` (torch 2.12) takes matrices alone and refuses the 4-D kernels of convolutions; views of
them as matrices cannot be parameters where the kernels lie channels last.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Muon", "split_parameters"]

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration: they bring singular values near one in five rounds (Jordan, 2024)."""

_PIXELS = 12
"""A kernel with no more inputs or outputs than this, 2 x 2 pixels of three colours, reads or writes pixels."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update of each kernel, seen as a matrix (outputs x inputs), is orthogonalised.

    Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). Steps are scaled by 0.2 sqrt(longer side)
    as in Liu et al., "Muon is scalable for LLM training" (2025), so that learning rates of Adam fit.

    Args:
        parameters: kernels with two or more dimensions.
        lr: learning rate.
        momentum: of the gradients; Nesterov's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["momentum"])

    def _move(self, parameter: Tensor, gradient: Tensor, rate: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].mul_(momentum).add_(gradient)
        step = orthogonalised((gradient + momentum * mean).flatten(1))
        parameter.add_(step.view_as(parameter), alpha=-rate * 0.2 * max(step.shape) ** 0.5)


def orthogonalised(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The matrix, (m, n) float32, with its singular values brought near one (0.7 to 1.2), to 8 bits.

    Each round multiplies X by a polynomial P of its Gram matrix X X^T, so that all rounds together are one small matrix
    times X; the Gram matrix itself goes on as P^2 X X^T. Only two products have the longer side in them.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    factor = whole = _polynomial(gram)
    for _ in range(rounds - 1):
        gram = gram @ (factor @ factor)
        factor = _polynomial(gram)
        whole = factor @ whole
    x = whole.bfloat16() @ x.bfloat16()
    return (x.T if tall else x).to(matrix.dtype)


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = _QUINTIC
    factor = torch.add(b * gram, gram @ gram, alpha=c)
    factor.diagonal().add_(a)
    return factor


def split_parameters(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(kernels for Muon, the rest): 4-D kernels between hidden layers; not those that read or write pixels."""
    kernels = [p for p in net.parameters() if p.ndim == 4 and min(p.shape[:2]) > _PIXELS]
    chosen = {id(kernel) for kernel in kernels}
    return kernels, [p for p in net.parameters() if id(p) not in chosen]
