"""Criteria: each against its formula in NumPy or plain torch; all of them against what a criterion must be."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sddcli.core import masks, seeds
from sddcli.core.criteria import CRITERIA, criterion
from sddcli.core.models import architecture
from sddcli.core.types import Examples, Net, Tensors
from sddcli.core.words import UsageError

CLASSES, FEATURES = 5, 30
DRAW = np.random.default_rng(3)
DATA = Examples(
    torch.from_numpy(DRAW.standard_normal((60, FEATURES), np.float32)),
    torch.from_numpy(np.repeat(np.arange(CLASSES), [3, 9, 24, 12, 12])),
)


def net(level: int = 1, model: str = "lenet-30-30-20", kept: int | None = None, counts: Any = None) -> Net:
    """A network of random weights, some of them pruned; kept: how many a level keeps of all."""
    network = architecture(model, (FEATURES,), CLASSES)
    generator = np.random.default_rng(0)

    def tensors() -> Tensors:
        draws = {name: generator.standard_normal(shape, np.float32) for name, shape in network.shapes.items()}
        return {name: torch.from_numpy(draw / draw.shape[-1] ** 0.5) for name, draw in draws.items()}

    initial, final = tensors(), tensors()
    alive = {name: final[name].abs() > 0.01 for name in network.prunable}
    final = masks.apply(alive, final)
    draw = partial(seeds.stream, 0, "criterion", level)

    def forward(weights: Tensors, x: torch.Tensor) -> torch.Tensor:
        return network.forward({name: w[None] for name, w in weights.items()}, x[None], False)[0]

    def batches(number: int | None, each: int | None) -> Iterator[Examples]:
        order = torch.from_numpy(draw("batches").permutation(len(DATA.y)))
        if each is not None:
            order = torch.cat([order[DATA.y[order] == label][:each] for label in range(CLASSES)])
        for part in islice(order.split(20), number):
            yield Examples(DATA.x[part], DATA.y[part])

    def gradients(number: int | None) -> Tensors:
        slopes = [by_torch(final, batch, network.prunable) for batch in batches(number, None)]
        return {name: torch.stack([each[name] for each in slopes]).mean(0) for name in network.prunable}

    def keep(scores: Tensors, within: Tensors, counts: Mapping[str, int]) -> Tensors:
        return masks.allocated(scores, within, counts)

    def prunable(tensors: Tensors) -> Tensors:
        return {name: tensors[name] for name in network.prunable}

    others = {name: w for name, w in final.items() if name not in network.prunable}
    counts = counts or {"": kept or network.size // 2}
    return Net(
        prunable(initial), prunable(final), alive, draw, gradients, counts, keep, others, forward, F.cross_entropy,
        batches, network.channels,
    )  # fmt: skip


def logits(weights: Tensors, x: torch.Tensor) -> torch.Tensor:
    """By plain torch, of fully connected layers in their order."""
    layers = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    for layer in sorted(layers, key=lambda layer: (layer == "output", layer)):
        x = F.linear(x if layer == "hidden1" else x.relu(), weights[f"{layer}.weight"], weights[f"{layer}.bias"])
    return x


def by_torch(weights: Tensors, batch: Examples, names: Any) -> Tensors:
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    F.cross_entropy(logits(leaves, batch.x), batch.y).backward()
    return {name: leaves[name].grad for name in names}  # type: ignore[misc]


def arrays(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


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
    values = np.sort(first["hidden1.weight"].numpy().ravel())
    assert np.abs(values - np.linspace(0, 1, values.size)).max() < 1.63 / np.sqrt(values.size)  # Kolmogorov, 1 %
    assert not torch.equal(first["hidden1.weight"], first["hidden2.weight"])  # trap 3 of the published code
    assert not torch.equal(first["hidden1.weight"], second["hidden1.weight"])


@pytest.mark.parametrize("name", [name for name, entry in CRITERIA.items() if not entry.batchnorm])
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
    untrained = {name for name, entry in CRITERIA.items() if entry.moment == "initial"}
    assert untrained == {"snip", "grasp", "synflow", "large-init", "small-init"}


def test_same_sign_scores_weights_that_changed_their_sign_with_0() -> None:
    given = net()
    for name, score in CRITERIA["same-sign"].score(given).items():
        initial, final = given.initial[name].numpy(), given.final[name].numpy()
        assert np.array_equal(score.numpy(), np.maximum(0, initial * final / np.abs(initial)).astype(np.float32)) or (
            np.allclose(score.numpy(), np.maximum(0, initial * final / np.abs(initial)), rtol=1e-6)
        )
        assert 0.3 < (score == 0).double().mean() < 0.7


OF_ZHOU: dict[
    str, Any
] = {  # by NumPy, of weights before (i) and after training (f), as in table 1 and its released code
    "magnitude": lambda i, f: np.abs(f),
    "small-final": lambda i, f: -np.abs(f),
    "large-init": lambda i, f: np.abs(i),
    "small-init": lambda i, f: -np.abs(i),
    "magnitude-increase": lambda i, f: np.abs(f) - np.abs(i),
    "movement": lambda i, f: np.abs(f - i),
    "same-sign": lambda i, f: np.maximum(0, i * f / np.abs(i)),
    "diff-sign": lambda i, f: np.maximum(0, -i * f / np.abs(i)),
    "magnitude-increase-same-sign": lambda i, f: np.where(np.sign(i) == np.sign(f), np.abs(f) - np.abs(i), 0),
    "magnitude-increase-diff-sign": lambda i, f: np.where(np.sign(i) != np.sign(f), np.abs(f) - np.abs(i), 0),
}


@pytest.mark.parametrize("name", OF_ZHOU)
def test_criteria_of_deconstructing_lottery_tickets(name: str) -> None:
    given = net()
    for key, score in CRITERIA[name].score(given).items():
        left = given.masks[key].numpy()
        expected = OF_ZHOU[name](given.initial[key].numpy(), given.final[key].numpy())
        assert np.allclose(score.numpy()[left], expected[left], rtol=1e-6) and left.mean() < 1
        if name.endswith("-sign"):
            assert 0.3 < (score.numpy()[left] == 0).mean() < 0.7 and CRITERIA[name].ties == "random"


@pytest.mark.parametrize(("name", "sign"), [("large-init-large-final", 1), ("small-init-small-final", -1)])
@pytest.mark.parametrize("by", ["", "layer"])
def test_both_large_or_both_small_is_one_percentile_that_both_reach(name: str, sign: int, by: str) -> None:
    """By NumPy: the lowest common percentile at which no more than the count lie above it both before and after."""
    groups: dict[str, int] = {f"hidden{i}.weight": 200 for i in (1, 2, 3)} if by else {"": 700}
    given = net(counts=groups)
    kept = given.keep(criterion(name).score(given), given.masks, groups)
    for group, count in groups.items():
        names = [group] if group else list(given.final)
        left = np.concatenate([given.masks[key].numpy().ravel() for key in names])
        both = [
            sign * np.abs(np.concatenate([each[key].numpy().ravel() for key in names])[left])
            for each in (given.initial, given.final)
        ]
        ranks = [np.argsort(np.argsort(each)) for each in both]
        above = [int(((ranks[0] >= rank) & (ranks[1] >= rank)).sum()) for rank in range(len(both[0]))]
        rank = next(rank for rank, number in enumerate(above) if number <= count)
        chosen = np.concatenate([kept[key].numpy().ravel() for key in names])[left]
        assert chosen.sum() == count and count - above[rank] <= 2
        assert chosen[(ranks[0] >= rank) & (ranks[1] >= rank)].all()


def test_lamp_is_the_square_over_the_squares_that_are_no_smaller() -> None:
    given = net()
    for name, score in CRITERIA["lamp"].score(given).items():
        squares = given.final[name].double().numpy().ravel() ** 2
        left = given.masks[name].numpy().ravel()
        expected = np.array([square / squares[squares >= square].sum() for square in squares[left]])
        assert np.allclose(score.numpy().ravel()[left], expected, rtol=1e-12) and score.max() == 1


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-15])
def test_lamp_never_empties_a_layer_where_magnitude_does(scale: float) -> None:
    given = net(kept=3)
    small = {name: w * (scale if name == "hidden2.weight" else 1) for name, w in given.final.items()}
    given = replace(given, final=small)
    sizes = {
        word: [int(mask.sum()) for mask in given.keep(CRITERIA[word].score(given), given.masks, {"": 3}).values()]
        for word in ("lamp", "magnitude")
    }
    assert sizes["lamp"] == [1, 1, 1] and (scale == 1 or sizes["magnitude"][1] == 0)


def test_lamp_scores_a_layer_of_zeros_and_equal_weights() -> None:
    given = net()
    same = replace(given, final={"a": torch.zeros(3, 2), "b": torch.full((2, 2), 0.5)})
    scores = CRITERIA["lamp"].score(same)
    assert not scores["a"].any() and sorted(scores["b"].flatten().tolist()) == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


@pytest.mark.parametrize(("word", "number"), [("taylor:batches=2", 2), ("taylor:batches=all", 3), ("taylor", 3)])
def test_taylor_is_the_mean_of_squares_over_batches(word: str, number: int) -> None:
    given = net()
    slopes = [by_torch(given.others | given.final, batch, given.final) for batch in given.batches(number, None)]
    assert len(slopes) == number
    for name, score in criterion(word).score(given).items():
        squares = [(given.final[name].numpy() * each[name].numpy()) ** 2 for each in slopes]
        assert np.allclose(score.numpy(), np.mean(squares, 0), rtol=1e-4, atol=1e-12)
        of_the_mean = (given.final[name].numpy() * np.mean([each[name].numpy() for each in slopes], 0)) ** 2
        assert score.numpy().sum() > 1.2 * of_the_mean.sum(), "the square of the mean is another"


def rows(scores: Tensors) -> dict[str, NDArray[np.float32]]:
    """The score of each neuron or filter, which all of its weights share."""
    assert all((score.flatten(1) == score.flatten(1)[:, :1]).all() for score in scores.values())
    return {name: score.flatten(1)[:, 0].numpy() for name, score in scores.items()}


@pytest.mark.parametrize(("word", "order"), [("l1-norm", 1), ("l2-norm", 2)])
def test_norms_are_those_of_rows(word: str, order: int) -> None:
    given = net()
    for name, score in rows(criterion(word).score(given)).items():
        assert np.allclose(score, np.linalg.norm(given.final[name].numpy(), order, axis=1))


def test_taylor_by_filter_is_the_mean_over_batches_of_the_square_of_its_sum() -> None:
    given = net()
    slopes = [by_torch(given.others | given.final, batch, given.final) for batch in given.batches(3, None)]
    for name, score in rows(criterion("taylor-filter").score(given)).items():
        sums = [(given.final[name].numpy() * each[name].numpy()).sum(1) ** 2 for each in slopes]
        assert np.allclose(score, np.mean(sums, 0), rtol=1e-3, atol=1e-12)


def test_activation_is_the_mean_output_of_a_neurons_relu() -> None:
    given = net(model="lenet-30-30-20:prunable=all")
    x = torch.cat([batch.x for batch in given.batches(None, None)])
    scores = criterion("activation:batches=all").score(given)
    assert scores["output.weight"].isinf().all(), "the output has no ReLU"
    for layer in ("hidden1", "hidden2", "hidden3"):
        all_ = given.others | given.final
        x = F.linear(x, all_[f"{layer}.weight"], all_[f"{layer}.bias"]).relu()
        assert np.allclose(rows(scores)[f"{layer}.weight"], x.mean(0).numpy(), rtol=1e-4, atol=1e-6)


def images() -> Net:
    """A network with shortcuts and BatchNorm, of random weights."""
    network = architecture("resnet18:width=2", (3, 8, 8), CLASSES)
    draw = torch.Generator().manual_seed(0)
    shapes = network.shapes | network.statistics
    final = {name: torch.rand(shape, generator=draw) - (0.5 if len(shape) > 1 else 0) for name, shape in shapes.items()}
    ranked = {name: final[name] for name in network.prunable}
    x = torch.rand(20, 3, 8, 8, generator=draw)
    others = {name: w for name, w in final.items() if name not in ranked}

    def forward(weights: Tensors, x: torch.Tensor) -> torch.Tensor:
        return network.forward({name: w[None] for name, w in weights.items()}, x[None], False)[0]

    return Net(
        ranked, ranked, masks.full(ranked), partial(seeds.stream, 0), lambda number: {}, {"": 9}, lambda *args: {},
        others, forward, F.cross_entropy, lambda number, each: iter([Examples(x, torch.zeros(20).long())]),
        network.channels,
    )  # fmt: skip


def test_expected_bn_is_what_a_filter_puts_out_on_average_if_batchnorm_makes_it_normal() -> None:
    """Against a million draws of each filter; of layers whose outputs are added, of the sum."""
    given, draw = images(), np.random.default_rng(0)
    values = {name: draw.standard_normal(len(w)) for name, w in given.others.items() if w.dim() == 1}
    given = replace(given, others=given.others | {name: torch.from_numpy(value) for name, value in values.items()})
    scores, z = rows(criterion("expected-bn").score(given)), draw.standard_normal((3, 10**6))
    cases = {"layer1.0.conv1.weight": ["layer1.0.bn1"], "conv1.weight": ["bn1", "layer1.0.bn2", "layer1.1.bn2"]}
    for name, batchnorms in cases.items():
        for k, score in enumerate(scores[name]):
            parts = zip(batchnorms, z, strict=False)
            total = sum(values[f"{each}.bias"][k] + values[f"{each}.weight"][k] * drawn for each, drawn in parts)
            assert float(score) == pytest.approx(np.maximum(total, 0).mean(), abs=0.01)
    assert criterion("expected-bn").score(given)["fc.weight"].isinf().all()


def test_slimming_is_the_scale_of_the_batchnorm_behind_a_filter() -> None:
    given = images()
    scores = criterion("slimming").score(given)
    assert scores["fc.weight"].isinf().all()
    assert np.allclose(rows(scores)["layer1.0.conv1.weight"], given.others["layer1.0.bn1.weight"].abs())
    added = [given.others[f"{name}.weight"] for name in ("bn1", "layer1.0.bn2", "layer1.1.bn2")]
    for name in ("conv1.weight", "layer1.0.conv2.weight", "layer1.1.conv2.weight"):
        assert np.allclose(rows(scores)[name], torch.stack(added).abs().mean(0))
    with pytest.raises(UsageError, match="slimming ranks filters by their BatchNorm scales, and this network has none"):
        criterion("slimming").score(net())


def test_activation_of_filters_whose_outputs_are_added_is_that_behind_the_sum() -> None:
    given = images()
    scores = rows(criterion("activation").score(given))
    batch = next(given.batches(None, None))
    weights = given.others | given.final

    def normalized(x: torch.Tensor, conv: str, bn: str, stride: int = 1) -> torch.Tensor:
        x = F.conv2d(x, weights[f"{conv}.weight"], stride=stride, padding=1)
        statistics = (weights[f"{bn}.running_mean"], weights[f"{bn}.running_var"])
        return F.batch_norm(x, *statistics, weights[f"{bn}.weight"], weights[f"{bn}.bias"])

    stem = normalized(batch.x, "conv1", "bn1").relu()
    relus, h = [stem], stem
    for block in ("layer1.0", "layer1.1"):
        inner = normalized(h, f"{block}.conv1", f"{block}.bn1").relu()
        assert np.allclose(scores[f"{block}.conv1.weight"], inner.mean((0, 2, 3)), rtol=1e-3)
        h = (normalized(inner, f"{block}.conv2", f"{block}.bn2") + h).relu()
        relus.append(h)
    expected = torch.stack([relu.mean((0, 2, 3)) for relu in relus]).mean(0)
    for name in ("conv1.weight", "layer1.0.conv2.weight", "layer1.1.conv2.weight"):
        assert np.allclose(scores[name], expected, rtol=1e-3)


def squared_gradient(given: Net, final: Tensors, examples: Examples, temperature: float) -> float:
    """|g|^2 over the weights that are left, in float64, by plain torch."""
    leaves = {name: w.double().requires_grad_() for name, w in final.items()}
    others = {name: w.double() for name, w in given.others.items()}
    loss = F.cross_entropy(logits(others | leaves, examples.x.double()) / temperature, examples.y)
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    return float(sum((g * given.masks[name]).square().sum() for name, g in zip(leaves, slopes, strict=True)))


@pytest.mark.parametrize(
    ("word", "each", "temperature"), [("grasp", 25, 200.0), ("grasp:examples=4:temperature=2", 4, 2)]
)
def test_grasp_keeps_the_weights_without_which_the_gradient_would_be_smaller(
    word: str, each: int, temperature: float
) -> None:
    """Its score is -1/2 d|g|^2 / ds as w goes to (1 - s) w, by central differences: the sign is easy to flip."""
    given = net()
    parts = list(given.batches(None, each))
    examples = Examples(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    assert examples.y.bincount().tolist() == [min(each, n) for n in (3, 9, 24, 12, 12)]
    scores, step = criterion(word).score(given), 1e-4
    for name in given.final:
        largest = scores[name].flatten().abs().topk(5).indices
        for index in largest.tolist():
            around = []
            for factor in (1 - step, 1 + step):
                moved = {key: w.double().clone() for key, w in given.final.items()}
                moved[name].view(-1)[index] *= factor
                around.append(squared_gradient(given, moved, examples, temperature))
            slope = (around[1] - around[0]) / (2 * step) / 2
            assert float(scores[name].flatten()[index]) == pytest.approx(slope, rel=2e-3)


def test_synflow_is_what_flows_through_a_weight() -> None:
    """One round, by NumPy: the |w| of a weight times all paths from inputs of one to it, and from it to the outputs."""
    given = net()
    w = {name: np.abs(each.double().numpy()) for name, each in (given.others | given.final).items()}
    scores = criterion("synflow:rounds=1").score(given)
    h = [np.ones(FEATURES)]
    for layer in ("hidden1", "hidden2", "hidden3"):
        h.append(w[f"{layer}.weight"] @ h[-1] + w[f"{layer}.bias"])
    behind = np.ones(CLASSES) @ w["output.weight"]
    for i in (3, 2, 1):
        expected = behind[:, None] * w[f"hidden{i}.weight"] * h[i - 1]
        left = given.masks[f"hidden{i}.weight"].numpy()
        assert np.allclose(scores[f"hidden{i}.weight"].numpy()[left], expected[left], rtol=1e-12)
        behind = behind @ w[f"hidden{i}.weight"]
    assert {score.dtype for score in scores.values()} == {torch.float64}


@pytest.mark.parametrize(("rounds", "empty"), [(1, True), (100, False)])
def test_one_round_of_synflow_empties_a_layer_of_a_deep_narrow_network_and_a_hundred_do_not(
    rounds: int, empty: bool
) -> None:
    deep = net(model="lenet-100-10-10-10-10-100", kept=40)
    kept = deep.keep(criterion(f"synflow:rounds={rounds}").score(deep), deep.masks, deep.counts)
    sizes = [int(mask.sum()) for mask in kept.values()]
    assert sum(sizes) == 40 and (min(sizes) == 0) == empty, sizes


def test_rounds_of_synflow_keep_what_the_level_keeps_of_each_group() -> None:
    groups = {"hidden1.weight": 300, "hidden2.weight": 50, "hidden3.weight": 1}
    given = net(counts=groups)
    asked: list[Mapping[str, int]] = []

    def keep(scores: Tensors, within: Tensors, counts: Mapping[str, int]) -> Tensors:
        asked.append(counts)
        return masks.allocated(scores, within, counts)

    scores = criterion("synflow:rounds=5").score(replace(given, keep=keep))
    for group, count in groups.items():
        begun = int(given.masks[group].sum())
        assert [each[group] for each in asked] == [round(begun * (count / begun) ** (k / 5)) for k in (1, 2, 3, 4)]
        assert int((scores[group] >= 0).sum()) == asked[-1][group] >= count


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gradient:batches=0", "criterion 'gradient' cannot read 'batches=0': it takes 1 or more, or all"),
        ("snip:batches=-1", "it takes 1 or more, or all"),
        ("taylor:batches=few", "it takes 1 or more, or all"),
        ("synflow:rounds=0", "criterion 'synflow' cannot read 'rounds=0': it takes 1 or more"),
        ("synflow:rounds=1.5", "criterion 'synflow' cannot read 'rounds=1.5'"),
        ("synflow:runds=3", "unknown parameter of criterion 'synflow': 'runds'; did you mean 'rounds'"),
        ("grasp:examples=0", "it takes 1 or more"),
        ("grasp:temperature=0", "it takes a finite number above 0"),
        ("grasp:temperature=inf", "it takes a finite number above 0"),
        ("lamp:rounds=2", "criterion 'lamp' takes no parameters"),
    ],
)
def test_parameters_that_cannot_be(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        criterion(word)
