"""Regularization: what is done to the gradients of each batch, whatever the loss. Words too: no torch before a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sddcli.core.losses import Share
from sddcli.core.words import Positive

if TYPE_CHECKING:
    from sddcli.core.types import Lesson, Tensors, Write

Change = Callable[[], None]
INITIAL = "initial/"
"""How the names begin, among what is fixed, of the weights of the dense initialization."""
SMALL, TINY, MOST = Positive(1e-3), Positive(1e-4), Share(0.8)


class Regularization(NamedTuple):
    """rule(learned, fixed, gradients, *, parameters) -> what changes the gradients of a batch in place.

    All are (M, *shape), and each model's change is its own. initial: whether it looks at the initialization, which is
    then among what is fixed; batchnorm: whether the network has to have BatchNorm.
    """

    rule: Callable[..., Change]
    initial: bool = False
    batchnorm: bool = False


def none(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Change:
    """Gradients are those of the loss."""
    return lambda: None


def slimming(learned: Tensors, fixed: Tensors, gradients: Tensors, *, strength: Positive = TINY) -> Change:
    """strength * |gamma|, summed over BatchNorm scales gamma: its gradient is strength * sign(gamma).

    Network slimming (Liu et al. 2017): scales of filters that do not matter go to 0, and criterion slimming ranks by
    them.
    """
    scales = [name for name, w in learned.items() if name.endswith(".weight") and w.dim() == 2]

    def change() -> None:
        for name in scales:  # product and sum apart: whether they round once depends on where a value lies
            gradients[name].add_(learned[name].sign() * strength)

    return change


def distance(learned: Tensors, fixed: Tensors, gradients: Tensors, *, strength: Positive = SMALL) -> Change:
    """strength / 2 * |w - w_init|^2, over all that is learned and kept: its gradient is strength * (w - w_init).

    What the released code of He et al. (2022) has for it is built of tensors without a gradient, and changes nothing.
    """

    def change() -> None:
        for name, w in learned.items():
            gradients[name].add_((w - fixed[INITIAL + name]) * strength)

    return change


def critical(learned: Tensors, fixed: Tensors, gradients: Tensors, *, share: Share = MOST) -> Change:
    """Only the share of each model's weights with the largest |w * dL/dw| learns from a batch (CDR, Xia et al. 2021).

    Ranked among the weights that are not 0, all layers together; weight decay goes on for the others, and biases and
    BatchNorm learn as ever. The paper takes as share that of correct labels, and stops early.
    """
    import torch

    names = [name for name, w in learned.items() if w.dim() > 2]

    def change() -> None:
        scores = torch.cat([(learned[name] * gradients[name]).abs_().flatten(1) for name in names], 1)
        left = torch.cat([(learned[name] != 0).flatten(1) for name in names], 1).sum(1, keepdim=True)
        last = (left * share + 0.5).long().clamp_(min=1) - 1
        least = scores.sort(1, descending=True).values.gather(1, last)
        sizes = [learned[name][0].numel() for name in names]
        for name, kept in zip(names, (scores >= least).split(sizes, 1), strict=True):
            gradients[name].mul_(kept.view_as(gradients[name]))

    return change


REGULARIZATIONS: Mapping[str, Regularization] = {
    "none": Regularization(none),
    "slimming": Regularization(slimming, batchnorm=True),
    "distance": Regularization(distance, initial=True),
    "critical": Regularization(critical),
}


def changed(lesson: Lesson, regularization: Regularization) -> Lesson:
    """The same lesson, whose gradients the regularization changes."""

    def of(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
        import torch

        write = lesson(learned, without(INITIAL, fixed), gradients)
        change = regularization.rule(learned, fixed, gradients)

        def both(*batch: torch.Tensor) -> None:
            write(*batch)
            with torch.no_grad():
                change()

        return both

    return of


def without(prefix: str, fixed: Tensors) -> Tensors:
    """What is fixed, less that whose names begin so."""
    return {name: w for name, w in fixed.items() if not name.startswith(prefix)}
