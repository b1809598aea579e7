"""Criteria: each against its formula in NumPy; all of them against what a criterion must be."""

from functools import partial

import numpy as np
import pytest
import torch

from sddcli.core import masks, seeds
from sddcli.core.criteria import CRITERIA, criterion
from sddcli.core.types import Net, Tensors


def net(level: int = 1) -> Net:
    generator = np.random.default_rng(0)

    def tensors() -> Tensors:
        shapes = {"a.weight": (20, 30), "b.weight": (20, 30), "c.weight": (5, 20)}
        return {name: torch.from_numpy(generator.standard_normal(shape, np.float32)) for name, shape in shapes.items()}

    final, slopes = tensors(), tensors()
    draw = partial(seeds.stream, 0, "criterion", level)

    def gradients(batches: int | None) -> Tensors:
        return {name: slope * (batches or 100) for name, slope in slopes.items()}

    return Net(tensors(), final, masks.full(final), draw, gradients)


def test_magnitude_is_the_absolute_weight() -> None:
    given = net()
    for name, score in CRITERIA["magnitude"].score(given).items():
        assert np.array_equal(score.numpy(), np.abs(given.final[name].numpy()))


def test_gradient_is_weight_times_slope_of_one_batch_or_more() -> None:
    given = net()
    for word, batches in (("gradient", 1), ("gradient:batches=3", 3), ("gradient:batches=all", None)):
        slopes = given.gradients(batches)
        for name, score in criterion(word).score(given).items():
            assert np.array_equal(score.numpy(), np.abs(given.final[name].numpy() * slopes[name].numpy()))


def test_random_is_uniform_and_differs_by_tensor_and_level() -> None:
    first, second = CRITERIA["random"].score(net(level=1)), CRITERIA["random"].score(net(level=2))
    values = np.sort(first["a.weight"].numpy().ravel())
    assert np.abs(values - np.linspace(0, 1, values.size)).max() < 1.63 / np.sqrt(values.size)  # Kolmogorov, 1 %
    assert not torch.equal(first["a.weight"], first["b.weight"])  # trap 3 of the published code
    assert not torch.equal(first["a.weight"], second["a.weight"])


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_have_the_weights_shapes_and_repeat(name: str) -> None:
    given = net()
    before = {key: w.clone() for key, w in given.final.items()}
    scores, again = CRITERIA[name].score(given), CRITERIA[name].score(given)
    assert list(scores) == list(given.final)
    for key, score in scores.items():
        assert score.shape == given.final[key].shape and score.isfinite().all()
        assert torch.equal(score, again[key]) and torch.equal(given.final[key], before[key])


def test_snip_is_the_gradient_criterion_of_untrained_weights() -> None:
    given = net()
    for name, score in CRITERIA["snip"].score(given).items():
        assert torch.equal(score, CRITERIA["gradient"].score(given)[name])
    assert [name for name, entry in CRITERIA.items() if entry.moment == "initial"] == ["snip"]


def test_same_sign_scores_weights_that_changed_their_sign_with_0() -> None:
    given = net()
    for name, score in CRITERIA["same-sign"].score(given).items():
        initial, final = given.initial[name].numpy(), given.final[name].numpy()
        assert np.array_equal(score.numpy(), np.maximum(0, initial * final / np.abs(initial)).astype(np.float32)) or (
            np.allclose(score.numpy(), np.maximum(0, initial * final / np.abs(initial)), rtol=1e-6)
        )
        assert 0.3 < (score == 0).double().mean() < 0.7
