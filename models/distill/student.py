"""dlib's network in PyTorch, from the block on that is trained, with a head over its last two maps."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.distill.samples import EARLY_BLOCKS
from models.dlib_resnet import BLOCKS, DIM, Head, Weights
from models.faces import Float32

FIRST_TRAINED = 1 + 2 * EARLY_BLOCKS  # the first trained convolution's place in Weights.convolutions


class Student(nn.Module):  # type: ignore[misc]  # PyTorch is not installed where this is checked
    """Maps (N, 64, 17, 17) to vectors (N, 128) of norm 1."""

    def __init__(self, weights: Weights, head: Head) -> None:
        super().__init__()
        channels = BLOCKS[EARLY_BLOCKS - 1][0]
        blocks = []
        for number, (filters, halves) in enumerate(BLOCKS[EARLY_BLOCKS:]):
            at = FIRST_TRAINED + 2 * number
            blocks.append(_Block(channels, filters, halves, weights.convolutions[at : at + 2]))
            channels = filters
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(head.matrix.shape[0], DIM)
        _set(self.head, head.matrix.T, head.biases)

    def flat(self, maps: Tensor) -> Tensor:
        """Return (N, 5120): the last map and the one before it, as `dlib_resnet.Head` reads them."""
        for block in self.blocks[:-1]:
            maps = block(maps)
        return torch.cat([self.blocks[-1](maps).flatten(1), maps.flatten(1)], dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.normalize(self.head(self.flat(maps)))

    def trained(self, original: Weights) -> tuple[Weights, Head]:
        """Return the weights that `original` and this make together, and the head."""
        late = [_get(convolution) for block in self.blocks for convolution in (block.first, block.second)]
        matrix, biases = _get(self.head)
        convolutions = (*original.convolutions[:FIRST_TRAINED], *late)
        return Weights(convolutions, original.matrix), Head(np.ascontiguousarray(matrix.T), biases)


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
