"""Untrained: against accuracies counted by hand."""

import torch

from sddcli.analyses.untrained import measure
from sddcli.core import masks
from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples, Subject, Tensors, Trained


def test_it_counts_what_the_starting_weights_answer_under_the_masks() -> None:
    draw = stream(3, "untrained")
    x, w = (torch.from_numpy(draw.standard_normal(shape, dtype="float32")) for shape in ((40, 6), (3, 6)))
    kept = {"w": torch.from_numpy(draw.random((3, 6)) < 0.5)}
    truth, labels = (torch.from_numpy(draw.integers(3, size=size)) for size in (15, 25))

    def forward(weights: Tensors, x: torch.Tensor, training: bool) -> torch.Tensor:
        return x @ weights["w"].transpose(1, 2)

    data = Data(Examples(x[:25], labels * 0), Examples(x[25:], truth), 3, "")
    net = Trained({"w": w * 0}, {"w": w + 1}, kept)
    numbers = measure(Subject(net, forward, data, labels, lambda *names: draw, lambda: {"w": w}, lambda: None)).values
    chosen = (x @ masks.apply(kept, {"w": w})["w"].T).argmax(1)
    assert numbers == {
        "untrained_test_accuracy": float((chosen[25:] == truth).double().mean()),
        "untrained_train_accuracy": float((chosen[:25] == labels).double().mean()),
    }
