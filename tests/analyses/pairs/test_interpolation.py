"""Interpolation: the ends of a line are the runs' own metrics, barriers are those of hand-made lines."""

import pytest
import torch
import torch.nn.functional as F

from sddcli.analyses.pairs.interpolation import barrier, measure
from sddcli.core.evaluate import evaluate
from sddcli.core.types import Data, Examples, Subject, Trained
from tests.analyses.networks import MODELS, subject


@pytest.mark.parametrize("word", MODELS)
@pytest.mark.parametrize("same", [True, False])
def test_the_ends_of_the_line_are_the_metrics_of_the_runs(word: str, same: bool) -> None:
    a, b = subject(word, seed=1, kept=0.1), subject(word, seed=2, kept=1)
    b = b if same else b._replace(labels=b.data.train.y.roll(5))
    rows = measure(a, b, points=3).rows
    for seen, alpha in ((a, 0), (b, 1)):
        weights = {name: w.unsqueeze(0) for name, w in seen.net.final.items()}
        metrics, _ = evaluate(seen.forward, weights, seen.data, seen.labels.unsqueeze(0))
        (row,) = (row for row in rows if row["alpha"] == alpha)
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert row[name] == float(metrics[name])


def test_half_way_is_the_mean_of_all_weights_and_statistics() -> None:
    a, b = subject(MODELS[1], seed=1), subject(MODELS[1], seed=2)
    assert any(name.endswith("running_var") for name in a.net.final)
    half = {name: (w + b.net.final[name])[None] / 2 for name, w in a.net.final.items()}
    with torch.no_grad():
        logits = a.forward(half, a.data.test.x[None], False)[0]
    (row,) = (row for row in measure(a, b, points=3).rows if row["alpha"] == 0.5)
    assert row["test_loss"] == pytest.approx(float(F.cross_entropy(logits, a.data.test.y)), rel=1e-5)


def test_barriers() -> None:
    assert barrier([1, 2, 3]) == barrier([3, 1, 0]) == barrier([0.1, 0.1, 0.1]) == 0
    assert barrier([1, 4, 3]) == 2 and barrier([0, 1, 1, 0]) == 1
    assert barrier([2, 2, 0]) == 1, "a line that never rises may be above the straight one"


def logits_of(weights: list[float]) -> Subject:
    """A network of one example of two classes, the first of which is right, by the difference of its logits."""
    data = Examples(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))
    net = {"w": torch.tensor(weights)}
    a = subject()._replace(net=Trained(net, net, {}), data=Data(data, data, 2, ""), labels=data.y)
    return a._replace(forward=lambda w, x, training: torch.stack([w["w"].prod(1), 0 * w["w"].sum(1)], 1)[None])


def test_falling_and_rising_losses_of_a_network_in_closed_form() -> None:
    def loss(z: float) -> float:
        return float(torch.tensor(-z).exp().log1p())

    falls = measure(logits_of([0.0, 1.0]), logits_of([4.0, 1.0])).values  # z = 4 alpha
    assert falls["train_loss_rise"] == 0 and falls["train_loss_falls"] == 1 and falls["train_loss_barrier"] == 0
    over = measure(logits_of([2.0, 2.0]), logits_of([-2.0, -2.0])).values  # z = 4 (1 - 2 alpha)^2: 4, 0, 4
    assert over["train_loss_rise"] == pytest.approx(loss(0) - loss(4), rel=1e-5) and over["train_loss_falls"] == 0
    assert over["train_loss_barrier"] == pytest.approx(loss(0) - loss(4), rel=1e-5)


def test_unlike_networks_and_data_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes: their hidden2.weight are"):
        measure(subject(), subject("lenet-12-7"))
    other = subject()
    with pytest.raises(ValueError, match="different training examples"):
        measure(subject(), other._replace(data=other.data._replace(sha256="another")))
    with pytest.raises(ValueError, match="at least 2 points"):
        measure(subject(), subject(), points=1)
