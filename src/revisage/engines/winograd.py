"""Wide 3x3 convolutions with half of their products: Winograd's minimal filtering along the rows of a map.

Method: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016, arXiv 1509.09308), F(4, 3) in
one direction. Four rows of output take sums of six rows of input, six convolutions of 1x3 in place of twelve, and sums
of their results. OpenVINO's own kernels multiply as fast as an x86 processor can, so that only fewer products help;
sums move maps about, so that only wide convolutions win. Numbers grow in between: three layers in a row differ by 5e-6
of their range in fp32, and by 2e-2 in bf16, which is too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage.engines.engine import FloatArray
from revisage.engines.openvino_package import load_openvino

if TYPE_CHECKING:
    import openvino

__all__ = ["with_fewer_products"]

_ROWS = 4
"""Rows of output that are made together."""
_LEAST_WIDTH = 60
"""Of inputs * outputs / (inputs + outputs), channels: at 64 (128 to 128) a convolution takes 0.72 of its time, at 43
(128 to 64) 0.9 to 1."""
_LEAST_SIDE = 32
"""Px; of smaller maps the kernels, which are twice as large here, are what is waited for."""

_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
"""The transforms of F(4, 3): of six rows of input, of the three rows of a kernel, of six products to four rows."""


def with_fewer_products(model: openvino.Model) -> openvino.Model:
    """A network whose wide 3x3 convolutions take half of the products; the one given is left as it is.

    Changed are those in floating point, with stride 1 and a border of 1 px, whose maps have a fixed size that is a
    multiple of four rows. Outputs agree to about 1e-5 of their range.
    """
    if not any(_is_wide(node) for node in model.get_ops()):
        return model
    model = model.clone()
    for node in filter(_is_wide, model.get_ordered_ops()):
        output = _filtered(node.input_value(0), node.input_value(1).get_node().get_data())
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(output)
    model.validate_nodes_and_infer_types()
    return model


def _is_wide(node: openvino.Node) -> bool:
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    settings = node.get_attributes()
    plain = all(list(settings[name]) == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    sides = list(node.get_input_partial_shape(0))[2:]
    outputs, inputs, *kernel = node.get_input_shape(1)
    return (
        plain
        and kernel == [3, 3]
        and node.get_element_type() == load_openvino().Type.f32
        and inputs * outputs >= _LEAST_WIDTH * (inputs + outputs)
        and all(side.is_static and side.get_length() >= _LEAST_SIDE for side in sides)
        and sides[0].get_length() % _ROWS == 0
    )


def _filtered(x: openvino.Output, kernel: FloatArray) -> openvino.Output:
    """What a 3x3 convolution makes of a map.

    Args:
        x: (N, inputs, H, W).
        kernel: (outputs, inputs, 3, 3) float32.
    """
    op = load_openvino().opset13
    height, width = x.get_partial_shape()[2].get_length(), x.get_partial_shape()[3].get_length()
    border = np.array([0, 0, 1, 0])
    padded = op.pad(x, border, border, "constant", np.float32(0))
    rows = [_every(op, padded, first, height) for first in range(len(_INPUT))]
    # As plain arrays kernels would pass through lists of Python's numbers on their way.
    kernels = [op.constant(each[:, :, None]) for each in np.tensordot(_KERNEL, kernel, (1, 2))]
    products = [
        op.convolution(part, each, [1, 1], [0, 1], [0, 1], [1, 1])
        for part, each in zip(_sums(op, rows, _INPUT), kernels, strict=True)
    ]
    axis = np.array([3])
    made = op.concat([op.unsqueeze(part, axis) for part in _sums(op, products, _OUTPUT)], 3)
    return op.reshape(made, np.array([0, len(kernel), height, width]), special_zero=True).output(0)


def _every(op: Any, padded: openvino.Node, first: int, height: int) -> openvino.Node:
    """Each fourth row from the first one on."""
    end = first + height - _ROWS + 1
    return op.slice(padded, np.array([first]), np.array([end]), np.array([_ROWS]), np.array([2]))


def _sums(op: Any, parts: Sequence[openvino.Node], factors: FloatArray) -> list[openvino.Node]:
    """For each row of (sums, parts) factors the sum of the parts so often."""
    return [_sum(op, [(part, factor) for part, factor in zip(parts, row, strict=True) if factor]) for row in factors]


def _sum(op: Any, terms: Sequence[tuple[openvino.Node, float]]) -> openvino.Node:
    scaled = [part if factor == 1 else op.multiply(part, np.float32(factor)) for part, factor in terms]
    total = scaled[0]
    for one in scaled[1:]:
        total = op.add(total, one)
    return total
