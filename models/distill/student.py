"""dlib's network in PyTorch, from the block on that is trained, with a head over its last two maps."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dlib_distilled import FIRST_TAUGHT
from models.dlib_resnet import BLOCKS, DIM, EARLY_BLOCKS, Taught, Weights
from models.faces import Float32


class Student(nn.Module):  # type: ignore[misc]  # PyTorch is not installed where this is checked
    """Maps (N, 64, 17, 17) to vectors (N, 128) of norm 1."""

    def __init__(self, weights: Weights, matrix: Float32, biases: Float32) -> None:
        super().__init__()
        channels = BLOCKS[EARLY_BLOCKS - 1][0]
        blocks = []
        for number, (filters, halves) in enumerate(BLOCKS[EARLY_BLOCKS:]):
            at = FIRST_TAUGHT + 2 * number
            blocks.append(_Block(channels, filters, halves, weights.convolutions[at : at + 2]))
            channels = filters
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(len(matrix), DIM)
        _set(self.head, matrix.T, biases)

    def flat(self, maps: Tensor) -> Tensor:
        """Return (N, 5120): the last map and the one before it, as `dlib_resnet.Taught` reads them."""
        for block in self.blocks[:-1]:
            maps = block(maps)
        return torch.cat([self.blocks[-1](maps).flatten(1), maps.flatten(1)], dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.normalize(self.head(self.flat(maps)))

    def taught(self, own_weight: float) -> Taught:
        """Return what was learned, to be put beside dlib's own vector with `own_weight`."""
        late = tuple(_get(convolution) for block in self.blocks for convolution in (block.first, block.second))
        matrix, biases = _get(self.head)
        return Taught(late, np.ascontiguousarray(matrix.T), biases, own_weight)


class _Block(nn.Module):  # type: ignore[misc]  # as above
    """One residual block, as dlib_resnet writes it."""

    def __init__(
        self, channels: int, filters: int, halves: bool, convolutions: tuple[tuple[Float32, Float32], ...]
    ) -> None:
        super().__init__()
        self._more_channels, self._halves = filters - channels, halves
        self.first = nn.Conv2d(channels, filters, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)
        for layer, (weights, biases) in zip((self.first, self.second), convolutions, strict=True):
            _set(layer, weights, biases)

    def forward(self, value: Tensor) -> Tensor:
        inner = self.second(functional.relu(self.first(value)))
        if self._halves:
            value = functional.avg_pool2d(value, 2)
            side = max(value.shape[-1], inner.shape[-1])
            more, more_inner = side - value.shape[-1], side - inner.shape[-1]
            value = functional.pad(value, (0, more, 0, more, 0, self._more_channels))
            inner = functional.pad(inner, (0, more_inner, 0, more_inner))
        return functional.relu(value + inner)


def _set(layer: nn.Conv2d | nn.Linear, weights: Float32, biases: Float32) -> None:
    layer.weight.data = torch.tensor(np.ascontiguousarray(weights))
    assert layer.bias is not None
    layer.bias.data = torch.tensor(np.ascontiguousarray(biases))


def _get(layer: nn.Conv2d | nn.Linear) -> tuple[Float32, Float32]:
    assert layer.bias is not None
    return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()
