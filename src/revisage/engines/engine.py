"""The Engine protocol, and the reference engine: PyTorch on a CPU, a CUDA GPU or Apple's MPS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from revisage.core import ProcessingError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Engine", "FloatArray", "TorchEngine", "check_batch"]

FloatArray = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one network.

    Attributes:
        name: ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        device: ``cpu``, ``cuda``, ``mps``, or one GPU by its number as in ``cuda:1``.
        notes: what was done differently from what was asked, for people.
    """

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The network's outputs in its own order, as new float32 arrays.

        Deterministic: the same batch twice is bit-equal on a CPU. Safe to call from several threads; calls then wait
        for each other.

        Args:
            batch: (N, 3, H, W) float32, any N ≥ 1, in the network's own range and channel order.

        Raises:
            ValueError: another dtype or shape.
            ProcessingError: not even a single image fits into the device's memory.
        """
        ...


def check_batch(batch: FloatArray, size_hw: tuple[int, int] | None) -> None:
    """Refuse what is not (N ≥ 1, 3, H, W) float32 of a size, or of any.

    Raises:
        ValueError: it is not.
    """
    right = isinstance(batch, np.ndarray) and batch.dtype == np.float32 and batch.ndim == 4
    right = right and batch.shape[0] >= 1 and batch.shape[1] == 3
    if not right or (size_hw is not None and batch.shape[2:] != tuple(size_hw)):
        wanted = f"(N, 3, {size_hw[0]}, {size_hw[1]})" if size_hw else "(N, 3, H, W)"
        got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else type(batch).__name__
        raise ValueError(f"expected float32 {wanted}, got {got}")


class TorchEngine:
    """Runs a network in torch: fp32, or bf16 by autocast. Never fp16, which gives black or NaN faces.

    See :class:`Engine`.
    """

    name = "torch"

    def __init__(self, net: nn.Module, size_hw: tuple[int, int] | None, *, device: str, precision: str) -> None:
        import torch

        self.device = device
        self.precision = precision
        self._size_hw = size_hw
        self._net = net.eval().requires_grad_(False).to(device)
        for parameter in self._net.parameters():
            if parameter.dim() == 4:  # modulated convolutions keep theirs in five dimensions, which have no such order
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._lock = threading.Lock()
        self._at_once: int | None = None
        self.notes: list[str] = []

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The outputs for (N, 3, H, W) float32; see :class:`Engine`.

        Where the device's memory does not hold a batch, it goes through in halves, and so do those that follow.
        """
        import torch

        check_batch(batch, self._size_hw)
        with self._lock:
            parts: list[list[FloatArray]] = []
            first = 0
            while first < len(batch):
                part = batch[first : first + (self._at_once or len(batch))]
                try:
                    parts.append(self._run(part))
                except torch.OutOfMemoryError as error:
                    self._halve(len(part), error)
                else:
                    first += len(part)
        return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _halve(self, count: int, error: Exception) -> None:
        import torch

        if count == 1:
            raise ProcessingError(
                f"the memory of {self.device} does not hold a single image of this size; "
                "close what else runs there, or choose device cpu"
            ) from error
        self._at_once = count // 2
        self.notes.append(f"the memory of {self.device} did not hold {count} images at once; {self._at_once} were run")
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _run(self, batch: FloatArray) -> list[FloatArray]:
        import torch

        with torch.inference_mode(), self._arithmetic():
            tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
            result = self._net(tensor.contiguous(memory_format=torch.channels_last))
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            return [np.array(output.float().cpu().numpy(), order="C") for output in outputs]

    def _arithmetic(self) -> contextlib.ExitStack:
        import torch

        stack = contextlib.ExitStack()
        if self.precision == "bf16":
            stack.enter_context(torch.autocast(self.device.partition(":")[0], torch.bfloat16))
        if self.device.startswith("cuda"):
            # cuDNN rounds fp32 convolutions to TF32 unless told not to, and may pick another algorithm each time.
            exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
            stack.enter_context(exact)
        return stack
