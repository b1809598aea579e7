"""Alignment: gradients computed from copies that lie as they do where a model is alone, at the start of cache lines."""

import torch
from torch import Tensor

from sddcli.core.types import STATISTICS, Lesson, Tensors, Write


def aligned(lesson: Lesson) -> Lesson:
    """The same gradients, from copies of the tensors that start at cache lines, as those of a single model do.

    So they have a single model's bits also where those of a matrix product depend on where its factors lie in memory.
    For one model at a time, tensors (1, *shape). It costs a copy of weights and gradients for each batch.
    """

    def of(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
        copies, beside, slopes = map(_rooms, (learned, fixed, gradients))
        compute = lesson(copies, beside, slopes)

        def write(x: Tensor, y: Tensor, *chance: Tensor) -> None:
            with torch.no_grad():
                for part, source in ((copies, learned), (beside, fixed)):
                    for name, copy in part.items():
                        copy.copy_(source[name])
            compute(x, y, *chance)
            with torch.no_grad():
                for name, slope in slopes.items():
                    gradients[name].copy_(slope)
                for name in fixed:
                    if name.endswith(STATISTICS):  # which a pass writes to
                        fixed[name].copy_(beside[name])

        return write

    return of


def _rooms(tensors: Tensors) -> Tensors:
    """Memory of their own for tensors of these shapes."""
    return {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
