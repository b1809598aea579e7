"""Pruning: chains of masks of real digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sddcli.core import masks
from sddcli.core.criteria import CRITERIA
from sddcli.core.models import architecture
from sddcli.core.seeds import stream
from sddcli.core.types import Tensors, Trained
from sddcli.core.words import UsageError
from sddcli.stages import pruning, setting
from tests.stages.digits import DATA, MODEL, PRUNED, dense

Floats = NDArray[np.float64]
WORDS = [f"{name}:rounds=10" if name == "synflow" else name for name in CRITERIA]


@pytest.mark.parametrize("criterion", [word for word in WORDS if not CRITERIA[word.split(":")[0]].batchnorm])
@pytest.mark.parametrize(
    ("scope", "count"), [("global", "prunable"), ("global", "all"), ("layer", "prunable"), ("erk", "prunable")]
)
def test_chains_keep_exact_counts_and_nest(criterion: str, scope: str, count: str) -> None:
    weights, kept = dense()
    for level in range(1, 6):
        run = replace(PRUNED, criterion=criterion, level=level, scope=scope, count=count)
        inner = pruning.prune(run, MODEL, Trained(weights, weights, kept), DATA)
        sizes = {name: int(mask.sum()) for name, mask in inner.items()}
        if scope == "layer":
            assert sizes == {"hidden1.weight": round(19200 * 0.8**level), "hidden2.weight": round(30000 * 0.8**level)}
        elif count == "all":  # the 1,000 weights of the output layer count, and stay
            assert sum(sizes.values()) + 1000 == masks.kept(50_200, 0.2, level)
        else:
            assert sum(sizes.values()) == masks.kept(49_200, 0.2, level)
        assert all((kept[name] | ~inner[name]).all() for name in inner) and set(inner) == set(MODEL.prunable)
        kept = inner


@pytest.mark.parametrize("criterion", WORDS)
def test_chains_of_a_network_of_convolutions_and_batchnorm(criterion: str) -> None:
    """The counts are exact and masks nest; two networks have the masks that each has alone, whatever is drawn between.

    No layer is emptied by criteria that promise so.
    """
    runs = [replace(PRUNED, model="convnet:width=4", criterion=criterion, seed=seed) for seed in (1, 2)]
    model = setting.model_of(runs[0], DATA)
    found: list[list[Tensors]] = []
    for order in (runs, runs[::-1], runs[:1]):
        chains = {run: [pruning.full_masks(model, setting.fresh(run.root, model))] for run in order}
        for level in (1, 5, 12):
            torch.rand(level)
            for run, chain in chains.items():
                each = replace(run, level=level)
                initial, trained = setting.fresh(run.root, model), setting.fresh(replace(run, level=9), model)
                net = Trained(initial, masks.apply(chain[-1], trained), chain[-1])
                chain.append(pruning.prune(each, model, net, DATA))
                assert sum(int(mask.sum()) for mask in chain[-1].values()) == masks.kept(model.size, 0.2, level)
                assert all((chain[-2][name] | ~chain[-1][name]).all() for name in model.prunable)
                if criterion in ("lamp", "synflow:rounds=10"):
                    assert all(mask.any() for mask in chain[-1].values())
        found.append([mask for chain in map(chains.__getitem__, order) for mask in chain])
    assert all(_same(a, b) for a, b in zip(found[0], found[1][4:] + found[1][:4], strict=True))
    assert all(_same(a, b) for a, b in zip(found[0], found[2], strict=False))
    assert not _same(found[0][3], found[0][7]), "the seed matters"


def _same(a: Tensors, b: Tensors) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("k", "label"), [(3, 51.3), (7, 21.1), (9, 13.5), (15, 3.6), (18, 1.9), (20, 1.2)])
def test_the_ladder_of_weights_left_is_the_printed_one(k: int, label: float) -> None:
    """LeNet-300-100 on MNIST loses 20 % of hidden layers and 10 % of the output layer a round (Frankle & Carbin)."""
    run = replace(PRUNED, model="lenet-300-100:prunable=all", scope="roles", level=k)
    model = architecture(run.model, (1, 28, 28), 10)
    left = sum(setting.counts(run, model).values())
    assert abs(left - (265_200 * 0.8**k + 1000 * 0.9**k)) <= 1.5 and round(100 * left / 266_200, 1) == label
    narrow = architecture("lenet-30-10:prunable=all", (4,), 3)
    assert narrow.prunable == ("hidden1.weight", "hidden2.weight", "output.weight") and not narrow.spared
    with pytest.raises(UsageError, match="unknown prunable layers of lenet: 'some'"):
        architecture("lenet-30:prunable=some", (4,), 3)


def test_magnitude_prunes_the_smallest_of_all_layers() -> None:
    weights, kept = dense()
    chosen = pruning.prune(replace(PRUNED, rate=0.5), MODEL, Trained(weights, weights, kept), DATA)
    magnitudes = np.concatenate([weights[name].abs().numpy().ravel() for name in MODEL.prunable])
    mask = np.concatenate([chosen[name].numpy().ravel() for name in MODEL.prunable])
    assert magnitudes[mask].min() >= magnitudes[~mask].max() and mask.sum() == mask.size // 2


def by_hand(weights: Tensors, x: Floats, y: NDArray[np.int64]) -> dict[str, Floats]:
    """The gradient of the mean cross-entropy of LeNet-300-100, written out in NumPy, float64."""
    w = {name: tensor.double().numpy() for name, tensor in weights.items()}
    h1 = np.maximum(x @ w["hidden1.weight"].T + w["hidden1.bias"], 0)
    h2 = np.maximum(h1 @ w["hidden2.weight"].T + w["hidden2.bias"], 0)
    z = h2 @ w["output.weight"].T + w["output.bias"]
    p = np.exp(z - z.max(1, keepdims=True))
    d = (p / p.sum(1, keepdims=True) - np.eye(10)[y]) / len(y)
    d2 = d @ w["output.weight"] * (h2 > 0)
    d1 = d2 @ w["hidden2.weight"] * (h1 > 0)
    return {"hidden2.weight": d2.T @ h1, "hidden1.weight": d1.T @ x}


@pytest.mark.parametrize(
    ("word", "batches"), [("gradient", 1), ("gradient:batches=2", 2), ("gradient:batches=all", None)]
)
def test_gradient_prunes_by_weight_times_slope_on_noisy_labels(word: str, batches: int | None) -> None:
    weights, kept = dense()
    run = replace(PRUNED, criterion=word, rate=0.5)
    chosen = np.arange(1297)
    if batches:
        chosen = stream(run.seed, "criterion", 1, "batches").permutation(1297)[: batches * 64]
    labels = setting.noisy_labels(run, DATA).numpy()
    slopes = by_hand(weights, DATA.train.x.flatten(1).double().numpy()[chosen], labels[chosen])
    scores = {name: np.abs(slopes[name] * weights[name].double().numpy()) for name in MODEL.prunable}
    threshold = np.sort(np.concatenate([score.ravel() for score in scores.values()]))[24_600]
    mask = pruning.prune(run, MODEL, Trained(weights, weights, kept), DATA)
    wrong = sum(((score >= threshold) != mask[name].numpy()).sum() for name, score in scores.items())
    assert wrong <= 4  # scores that float32 cannot tell from the threshold


def test_snip_scores_the_initial_weights_on_one_batch_by_plain_torch() -> None:
    """One-shot: the kept are those of largest |w dL/dw|, by a few lines of torch alone."""
    run = replace(PRUNED, criterion="snip", pruning="one-shot", level=4)
    initial = setting.fresh(run.root, MODEL)
    kept = pruning.prune_untrained(run, MODEL, initial, DATA)
    chosen = torch.from_numpy(stream(run.seed, "criterion", 4, "batches").permutation(1297)[:64])
    labels = setting.noisy_labels(run, DATA)[chosen]
    names = ("hidden1", "hidden2", "output")
    weights = {name: initial[f"{name}.weight"].clone().requires_grad_() for name in names}
    x = DATA.train.x[chosen].flatten(1)
    for name in names:
        x = torch.nn.functional.linear(x, weights[name], initial[f"{name}.bias"])
        x = x if name == "output" else x.relu()
    torch.nn.functional.cross_entropy(x, labels).backward()
    score = torch.cat([(weights[n].grad * weights[n]).abs().flatten() for n in names[:2]])  # type: ignore[operator]
    mask = torch.cat([kept[f"{name}.weight"].flatten() for name in names[:2]])
    count = masks.kept(49_200, 0.2, 4)
    assert mask.sum() == count
    threshold = score.sort(descending=True).values[count - 1]
    assert ((score >= threshold) != mask).sum() <= 4  # scores that float32 cannot tell from the threshold


def test_pruned_level_by_level_at_initialization_masks_nest_and_are_those_of_each_level() -> None:
    run = replace(PRUNED, criterion="snip", level=3)
    initial = setting.fresh(run.root, MODEL)
    third = pruning.prune_untrained(run, MODEL, initial, DATA)
    second = pruning.prune_untrained(replace(run, level=2), MODEL, initial, DATA)
    assert all((second[name] | ~third[name]).all() for name in third)
    assert sum(int(mask.sum()) for mask in third.values()) == masks.kept(49_200, 0.2, 3)


def test_weights_of_one_score_are_kept_in_every_layer_not_only_the_first() -> None:
    """same-sign at a rate that must keep many weights of score 0."""
    run = replace(PRUNED, criterion="same-sign", rate=0.1)
    initial = setting.fresh(run.root, MODEL)
    final = {name: stream(1, name).standard_normal(tuple(w.shape), dtype="float32") for name, w in initial.items()}
    net = Trained(initial, {name: torch.from_numpy(w) for name, w in final.items()}, pruning.full_masks(MODEL, initial))
    kept = pruning.prune(run, MODEL, net, DATA)
    zero = {name: (net.final[name] * initial[name] < 0) for name in kept}
    shares = [float((kept[name] & zero[name]).sum() / zero[name].sum()) for name in kept]
    assert all(0.75 < share < 0.85 for share in shares), shares
    assert sum(int(mask.sum()) for mask in kept.values()) == masks.kept(49_200, 0.1, 1)
