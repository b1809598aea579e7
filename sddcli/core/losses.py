"""Losses: what training makes small. Words too: no torch before one is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sddcli.core.words import Positive, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sddcli.core.types import Tensors

Loss = Callable[..., "Tensor"]
"""(logits (M, B, classes), labels (M, B), parameters of M models) -> the sum over models of each one's loss ().

Where there is a teacher, its logits (M, B, classes) are a fourth argument.
"""


class Teacher(str):
    """A parameter: the network that is learned from, "dense" or the level of a lottery chain, a whole number."""

    def __new__(cls, word: str) -> Teacher:
        """Raises UsageError for another word."""
        if word != "dense" and not (word.isdecimal() and 0 < int(word) <= 1000):
            raise UsageError("it takes dense, or a level of the lottery chain, such as 12")
        return super().__new__(cls, word if word == "dense" else str(int(word)))


class Share(float):
    """A parameter: a number from 0 to 1."""

    def __new__(cls, value: float | str) -> Share:
        """Raises UsageError for any other, ValueError for what is no number."""
        if not 0 <= float(value) <= 1:
            raise UsageError("it takes a share from 0 to 1")
        return super().__new__(cls, value)


DENSE, HOT, MOST = Teacher("dense"), Positive(10), Share(0.8)


def cross_entropy(logits: Tensor, y: Tensor, parameters: Tensors, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the batch; smoothing=0.1 mixes the label with all classes (Szegedy et al. 2016).

    logits: (M, B, classes); y: (M, B). Returns the sum over models, ().
    """
    import torch.nn.functional as F

    total = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum", label_smoothing=smoothing)
    return total / y.shape[1]


def mse(logits: Tensor, y: Tensor, parameters: Tensors) -> Tensor:
    """Squared error to the label as a unit vector, summed over classes, mean over the batch (Hui & Belkin 2021).

    logits: (M, B, classes); y: (M, B). Returns the sum over models, ().
    """
    import torch.nn.functional as F

    target = F.one_hot(y, logits.shape[2]).to(logits.dtype)
    return (logits - target).square().sum() / y.shape[1]


def distill(
    logits: Tensor,
    y: Tensor,
    parameters: Tensors,
    taught: Tensor | None = None,
    *,
    teacher: Teacher = DENSE,
    temperature: Positive = HOT,
    share: Share = MOST,
    dataset: str = "",
) -> Tensor:
    """share * T^2 * KL(teacher / T || student / T) + (1 - share) * cross-entropy, each of softmax (Hinton et al. 2015).

    With T = 10 and share = 0.8 that of Quetu & Tartaglione (2024). taught: the teacher's logits; without them, as
    where a criterion ranks weights, it is the cross-entropy. teacher: the dense network or a level of the lottery
    chain, trained on labels alone, on `dataset` instead of the student's if that is given.
    """
    import torch.nn.functional as F

    labelled = cross_entropy(logits, y, parameters)
    if taught is None:
        return labelled
    student, answers = ((each / temperature).flatten(0, 1).log_softmax(1) for each in (logits, taught))
    apart = F.kl_div(student, answers, reduction="sum", log_target=True) / y.shape[1]
    return share * temperature**2 * apart + (1 - share) * labelled


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "mse": mse, "distill": distill}
