"""Flatness: filters as long as the network's, and loss around it as evaluated by hand."""

import pytest
import torch
import torch.nn.functional as F

from sddcli.analyses.flatness import direction, measure
from sddcli.core.evaluate import evaluate
from tests.analyses.networks import MODELS, subject


@pytest.mark.parametrize("word", MODELS)
@pytest.mark.parametrize("settings", [{}, {"plane": 3}])
def test_at_step_0_are_the_metrics_of_the_run(word: str, settings: dict[str, int]) -> None:
    seen = subject(word)
    weights = {name: w.unsqueeze(0) for name, w in seen.net.final.items()}
    metrics, _ = evaluate(seen.forward, weights, seen.data, seen.labels.unsqueeze(0))
    (row,) = (row for row in measure(seen, **settings).rows if row["step"] == row["across"] == 0)
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert row[name] == float(metrics[name])


@pytest.mark.parametrize("word", MODELS)
def test_filters_of_a_direction_are_as_long_as_those_of_the_network(word: str) -> None:
    net, stream = subject(word).net, subject(word).stream
    for masked in (True, False):
        found = direction(net, stream, 0, masked)
        assert set(found) == {name for name, w in net.final.items() if w.ndim > 1}
        for name, d in found.items():
            for mine, filter in zip(d, net.final[name], strict=True):
                assert float(mine.norm()) == pytest.approx(float(filter.norm()), abs=1e-6)
            if name in net.masks:
                assert bool(d[~net.masks[name]].any()) is not masked
    other = direction(net, stream, 1, masked=False)
    assert not any(torch.equal(d, other[name]) for name, d in found.items())


def test_rows_and_values_are_means_over_directions_by_hand() -> None:
    seen = subject()
    found = measure(seen, directions=2, points=5, reach=0.8)
    ways = [direction(seen.net, seen.stream, k, True) for k in range(2)]

    def loss(way: int, step: float) -> float:
        weights = {n: (w + step * ways[way][n] if n in ways[way] else w)[None] for n, w in seen.net.final.items()}
        with torch.no_grad():
            logits = seen.forward(weights, seen.data.train.x[None], False)[0]
        return float(F.cross_entropy(logits, seen.labels))

    for row in found.rows:
        assert row["train_loss"] == pytest.approx((loss(0, row["step"]) + loss(1, row["step"])) / 2, rel=1e-5)
    assert [row["step"] for row in found.rows] == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])
    ends = [loss(way, step) for way in (0, 1) for step in (-0.8, 0.8)]
    assert found.values["flatness_train_loss_rise"] == pytest.approx(sum(ends) / 4 - loss(0, 0), rel=1e-4)
    first, last = found.rows[0]["train_accuracy"], found.rows[4]["train_accuracy"]
    lost = found.rows[2]["train_accuracy"] - (first + last) / 2
    assert found.values["flatness_lost_train_accuracy"] == pytest.approx(lost)


def test_the_axes_of_a_plane_are_lines() -> None:
    plane = [row for row in measure(subject(), plane=5).rows if row["across"] == 0]
    line = measure(subject(), directions=1, points=5).rows
    assert len(measure(subject(), plane=5).rows) == 25 and plane == list(line)


@pytest.mark.parametrize("settings", [{"points": 4}, {"directions": 0}, {"reach": 0.0}, {"plane": 2}])
def test_lines_without_a_middle_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="odd numbers of points"):
        measure(subject(), **settings)
