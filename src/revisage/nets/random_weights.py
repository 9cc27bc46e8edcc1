"""Networks without the random weights that they begin with, which those out of a file need not wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["WithoutRandomWeights"]

_DRAWN_IN_PLACE: frozenset[Callable[..., Any]] = frozenset(
    {
        Tensor.normal_,
        Tensor.uniform_,
        nn.init.kaiming_normal_,
        nn.init.kaiming_uniform_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.xavier_uniform_,
    }
)


class WithoutRandomWeights(TorchFunctionMode):
    """As long as it is entered, tensors of this thread that would be drawn hold whatever lay in memory."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A call of torch; see torch's documentation."""
        named = dict(kwargs or {})
        if func is torch.randn:
            return torch.empty(*args, **named)
        if func in _DRAWN_IN_PLACE:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
