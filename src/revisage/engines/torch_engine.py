"""The reference engine: PyTorch on a CPU, a CUDA GPU or Apple's MPS."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from revisage.engines.engine import check_batch

__all__ = ["TorchEngine"]

FloatArray = npt.NDArray[np.float32]


class TorchEngine:
    """Runs a network in torch: fp32, or bf16 by autocast. Never fp16, which gives black or NaN faces.

    See :class:`revisage.engines.Engine`.
    """

    name = "torch"

    def __init__(self, net: nn.Module, size_hw: tuple[int, int] | None, *, device: str, precision: str) -> None:
        self.device = device
        self.precision = precision
        self._size_hw = size_hw
        self._net = net.eval().requires_grad_(False).to(device)
        for parameter in self._net.parameters():
            if parameter.dim() == 4:  # modulated convolutions keep theirs in five dimensions, which have no such order
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._lock = threading.Lock()

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The outputs for (N, 3, H, W) float32; see :class:`revisage.engines.Engine`."""
        check_batch(batch, self._size_hw)
        with self._lock, torch.inference_mode(), self._arithmetic():
            tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
            result = self._net(tensor.contiguous(memory_format=torch.channels_last))
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            return [np.array(output.float().cpu().numpy(), order="C") for output in outputs]

    def _arithmetic(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        if self.precision == "bf16":
            stack.enter_context(torch.autocast(self.device, torch.bfloat16))
        if self.device == "cuda":
            # cuDNN rounds fp32 convolutions to TF32 unless told not to, and may pick another algorithm each time.
            exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
            stack.enter_context(exact)
        return stack
