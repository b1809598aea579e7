"""Stages: chains of masks, labels and metrics of real digits."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sddcli import stages
from sddcli.core import masks
from sddcli.core.criteria import CRITERIA
from sddcli.core.images import normalizing
from sddcli.core.models import Model
from sddcli.core.seeds import stream
from sddcli.core.types import Begun, Data, Examples, Tensors, Trained
from sddcli.core.words import UsageError
from sddcli.data import load
from sddcli.spec import Run

DATA = load("digits")
DENSE = Run("digits", "lenet-300-100", noise=0.4, epochs=2, batch_size=64, momentum=0.9, seed=1)
PRUNED = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.2, level=1)
MODEL = stages.model_of(DENSE, DATA)
Floats = NDArray[np.float64]


def dense() -> tuple[Tensors, Tensors]:
    start = stages.fresh(DENSE, MODEL)
    return start, stages.full_masks(MODEL, start)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    ("scope", "count"), [("global", "prunable"), ("global", "all"), ("layer", "prunable"), ("erk", "prunable")]
)
def test_chains_keep_exact_counts_and_nest(criterion: str, scope: str, count: str) -> None:
    weights, kept = dense()
    for level in range(1, 6):
        run = replace(PRUNED, criterion=criterion, level=level, scope=scope, count=count)
        inner = stages.prune(run, MODEL, Trained(weights, weights, kept), DATA)
        sizes = {name: int(mask.sum()) for name, mask in inner.items()}
        if scope == "layer":
            assert sizes == {"hidden1.weight": round(19200 * 0.8**level), "hidden2.weight": round(30000 * 0.8**level)}
        elif count == "all":  # the 1,000 weights of the output layer count, and stay
            assert sum(sizes.values()) + 1000 == masks.kept(50_200, 0.2, level)
        else:
            assert sum(sizes.values()) == masks.kept(49_200, 0.2, level)
        assert all((kept[name] | ~inner[name]).all() for name in inner) and set(inner) == set(MODEL.prunable)
        kept = inner


def test_magnitude_prunes_the_smallest_of_all_layers() -> None:
    weights, kept = dense()
    chosen = stages.prune(replace(PRUNED, rate=0.5), MODEL, Trained(weights, weights, kept), DATA)
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
    labels = stages.noisy_labels(run, DATA).numpy()
    slopes = by_hand(weights, DATA.train.x.flatten(1).double().numpy()[chosen], labels[chosen])
    scores = {name: np.abs(slopes[name] * weights[name].double().numpy()) for name in MODEL.prunable}
    threshold = np.sort(np.concatenate([score.ravel() for score in scores.values()]))[24_600]
    mask = stages.prune(run, MODEL, Trained(weights, weights, kept), DATA)
    wrong = sum(((score >= threshold) != mask[name].numpy()).sum() for name, score in scores.items())
    assert wrong <= 4  # scores that float32 cannot tell from the threshold


@pytest.mark.parametrize(
    ("retraining", "rewind", "rates", "first"),
    [
        ("lottery", "0it", [0.1] * 4 + [0.01] * 4, 0),
        ("lottery", "3it", [0.1] * 4 + [0.01] * 4, 3),
        ("lr-rewind", "1ep", [0.1] * 4 + [0.01] * 4, 2),
        ("finetune", "0it", [0.01] * 8, 0),
        ("redense", "3it", [0.01] * 8, 0),
        ("redense:lr=0.05", "3it", [0.05] * 8, 0),
        ("finetune:lr=0.5", "0it", [0.5] * 8, 0),
        ("scratch", "0it", [0.1] * 4 + [0.01] * 4, 0),
        ("reinit", "3it", [0.1] * 4 + [0.01] * 4, 0),
    ],
)
def test_schedules(retraining: str, rewind: str, rates: list[float], first: int) -> None:
    run = replace(PRUNED, retraining=retraining, rewind=rewind, epochs=4, batch_size=700, milestones="0.5")
    found, start = stages.schedule(run, 1297)
    assert found == pytest.approx(rates) and start == first
    with pytest.raises(ValueError, match="is not before the end of training, step 8"):
        stages.schedule(replace(run, retraining="lottery", rewind="8it"), 1297)


def test_replay_is_where_training_was() -> None:
    start, kept = dense()
    begun = stages.beginning(DENSE, MODEL, DATA, start, kept)
    for now in stages.train([replace(DENSE, epochs=1)], MODEL, DATA, [begun], [start]):
        after = stages.single(now.state.learned, 0)
    again = stages.replay(DENSE, 21, MODEL, DATA, start)
    assert all(torch.equal(after[name], again[name]) for name in after)
    part = stages.replay(DENSE, 5, MODEL, DATA, start)
    assert not any(torch.equal(part[name], again[name]) for name in MODEL.prunable)


def test_a_rewound_run_is_the_dense_one_from_that_step_on() -> None:
    """Rewound to step t with nothing pruned and no momentum, training ends where the dense one does."""
    plain = replace(DENSE, momentum=0, epochs=2)
    start, kept = dense()
    run = replace(plain, criterion="magnitude", retraining="lottery", rate=0.2, level=1, rewind="30it")
    ends = []
    for each, weights in ((plain, start), (run, stages.replay(plain, 30, MODEL, DATA, start))):
        *_, last = stages.train([each], MODEL, DATA, [stages.beginning(each, MODEL, DATA, weights, kept)], [weights])
        ends.append(stages.single(last.state.learned, 0))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)


def test_fresh_weights_differ_by_level_and_follow_their_own_seed() -> None:
    scratch = replace(PRUNED, retraining="scratch")
    first, second = stages.fresh(scratch, MODEL), stages.fresh(replace(scratch, level=2), MODEL)
    assert not torch.equal(first["hidden1.weight"], second["hidden1.weight"])
    assert not torch.equal(first["hidden1.weight"], dense()[0]["hidden1.weight"])
    other = stages.fresh(replace(DENSE, init_seed=5), MODEL)
    assert torch.equal(other["hidden1.weight"], stages.fresh(replace(DENSE, seed=5), MODEL)["hidden1.weight"])


def test_each_seed_moves_its_own_thing() -> None:
    base = stages.noisy_labels(DENSE, DATA)
    assert torch.equal(base, stages.noisy_labels(replace(DENSE, init_seed=9, order_seed=9), DATA))
    assert torch.equal(
        stages.noisy_labels(replace(DENSE, noise_seed=9), DATA), stages.noisy_labels(replace(DENSE, seed=9), DATA)
    )
    assert not torch.equal(base, stages.noisy_labels(replace(DENSE, noise_seed=9), DATA))


def test_models_take_images_as_they_are() -> None:
    x = torch.randn(3, 5, 1, 8, 8)
    weights = {name: torch.randn(3, *shape) * 0.05 for name, shape in MODEL.shapes.items()}
    assert torch.equal(MODEL.forward(weights, x, True), MODEL.forward(weights, x.flatten(2), False))


@pytest.mark.parametrize(
    "change", [{"precision": "bf16"}, {"loss": "mse"}, {"loss": "cross-entropy:smoothing=0.1"}, {"model": "convnet"}]
)
def test_gradients_are_written_out_for_mlps_plain_cross_entropy_and_single_precision(change: dict[str, str]) -> None:
    written: list[str] = []

    def spied(layers: object, *tensors: Tensors) -> object:
        written.append("once")
        return lambda x, y: None

    dense = replace(MODEL, slopes=partial(spied, ()))
    other = replace(DENSE, **change)  # type: ignore[arg-type]
    model = dense if change.get("model") is None else stages.model_of(other, DATA)
    for run, network, times in ((DENSE, dense, 1), (other, model, 1)):
        state = stages._state(network, DATA, [beginning_of(run, network)])
        stages.lesson_of(run, network, DATA)(state.learned, state.fixed, dict(state.learned))
        assert len(written) == times


def beginning_of(run: Run, model: Model) -> Begun:
    start = stages.fresh(run, model)
    return stages.beginning(run, model, DATA, start, stages.full_masks(model, start))


@pytest.mark.parametrize("change", [{}, {"precision": "bf16"}, {"loss": "mse"}])
def test_an_mlp_learns_images_in_bytes_normalized(change: dict[str, str]) -> None:
    """As it does the same images normalized beforehand: whether its gradient is written out or autograd's."""
    run = replace(DENSE, noise=0, epochs=1, **change)  # type: ignore[arg-type]
    images = torch.from_numpy(stream(0, "images").integers(256, size=(200, 3, 4, 4), dtype="uint8"))
    mean, deviation = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
    floats = normalizing(mean, deviation)(images)
    ends = []
    for x, more in ((images, (mean, deviation)), (floats, ((), ()))):
        part = Examples(x, DATA.train.y[:200])
        data = Data(part, part, 10, "", (), *more)
        model = stages.model_of(run, data)
        start = stages.fresh(run, model)
        begun = stages.beginning(run, model, data, start, stages.full_masks(model, start))
        *_, last = stages.train([run], model, data, [begun], [start])
        ends.append(last.state.learned)
    for name, w in ends[0].items():
        assert torch.equal(w, ends[1][name]) and not torch.equal(w[0], start[name])


def test_noise_is_that_of_the_seed_and_leaves_the_data_alone() -> None:
    before = DATA.train.y.clone()
    labels = stages.noisy_labels(DENSE, DATA)
    assert 0.3 < (labels != DATA.train.y).double().mean() < 0.4  # 0.4 * (1 - 1/10) in expectation
    assert torch.equal(labels, stages.noisy_labels(replace(DENSE, epochs=9, lr=0.5), DATA))
    assert not torch.equal(labels, stages.noisy_labels(replace(DENSE, seed=2), DATA))
    assert torch.equal(before, DATA.train.y)
    assert torch.equal(stages.noisy_labels(replace(DENSE, noise=0), DATA), before)


def test_training_evaluates_when_due_and_at_the_end() -> None:
    run = replace(DENSE, epochs=5, eval_every=2)
    start, kept = dense()
    seen = list(stages.train([run], MODEL, DATA, [stages.beginning(run, MODEL, DATA, start, kept)], [start]))
    assert [now.epoch for now in seen] == [1, 2, 3, 4, 5]
    assert [now.epoch for now in seen if now.metrics] == [2, 4, 5]


def test_it_learns_clean_digits() -> None:
    run = replace(DENSE, noise=0, epochs=5)
    start, kept = dense()
    for now in stages.train([run], MODEL, DATA, [stages.beginning(run, MODEL, DATA, start, kept)], [start]):
        last = now
    assert last.metrics is not None
    assert last.metrics[0]["test_accuracy"] > 0.93 and np.isnan(last.metrics[0]["memorized"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model="lenet"), "unknown model 'lenet'; did you mean 'lenet-300-100'"),
        (dict(noise_kind="flop"), "unknown noise_kind 'flop'; did you mean 'flip'"),
        (dict(criterion="magnitud"), "unknown criterion 'magnitud'; did you mean 'magnitude'"),
        (dict(level=60), "level 60 leaves none of 49200 weights; the last possible is 51"),
        (dict(level=18, count="all"), "level 18 leaves none of 49200 weights; the last possible is 17"),
        (dict(level=50, scope="layer"), "level 50 leaves none of hidden[12].weight; the last possible is 47"),
        (dict(rewind="99ep"), "rewind 99ep is not before the end"),
    ],
)
def test_check_finds_words_and_levels_that_cannot_be(change: dict[str, str], message: str) -> None:
    stages.check(PRUNED, DATA)
    with pytest.raises(ValueError, match=message):
        stages.check(replace(PRUNED, **change), DATA)  # type: ignore[arg-type]


def test_snip_scores_the_initial_weights_on_one_batch_by_plain_torch() -> None:
    """One-shot: the kept are those of largest |w dL/dw|, by a few lines of torch alone."""
    run = replace(PRUNED, criterion="snip", pruning="one-shot", level=4)
    initial = stages.fresh(run.root, MODEL)
    kept = stages.prune_untrained(run, MODEL, initial, initial, DATA)
    chosen = torch.from_numpy(stream(run.seed, "criterion", 4, "batches").permutation(1297)[:64])
    labels = stages.noisy_labels(run, DATA)[chosen]
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
    initial = stages.fresh(run.root, MODEL)
    third = stages.prune_untrained(run, MODEL, initial, initial, DATA)
    second = stages.prune_untrained(replace(run, level=2), MODEL, initial, initial, DATA)
    assert all((second[name] | ~third[name]).all() for name in third)
    assert sum(int(mask.sum()) for mask in third.values()) == masks.kept(49_200, 0.2, 3)


def test_weights_of_one_score_are_kept_in_every_layer_not_only_the_first() -> None:
    """same-sign at a rate that must keep many weights of score 0."""
    run = replace(PRUNED, criterion="same-sign", rate=0.1)
    initial = stages.fresh(run.root, MODEL)
    final = {name: stream(1, name).standard_normal(tuple(w.shape), dtype="float32") for name, w in initial.items()}
    net = Trained(initial, {name: torch.from_numpy(w) for name, w in final.items()}, stages.full_masks(MODEL, initial))
    kept = stages.prune(run, MODEL, net, DATA)
    zero = {name: (net.final[name] * initial[name] < 0) for name in kept}
    shares = [float((kept[name] & zero[name]).sum() / zero[name].sum()) for name in kept]
    assert all(0.75 < share < 0.85 for share in shares), shares
    assert sum(int(mask.sum()) for mask in kept.values()) == masks.kept(49_200, 0.1, 1)


@pytest.mark.parametrize("model", ["resnet18:width=2", "convnet:width=2", "vgg16:width=2", "lenet-8", "conv-2:width=2"])
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_a_batch_of_one_is_refused_exactly_where_the_network_cannot_train_on_it(model: str, size: int) -> None:
    examples = Examples(torch.zeros(17, 3, size, size), torch.arange(17) % 2)
    data, run = Data(examples, examples, 2, ""), Run("folder:x", model, batch_size=16, epochs=1)
    try:
        network = stages.model_of(run, data)
    except UsageError:  # images too small for it
        return
    start = stages.fresh(run, network)
    begun = stages.beginning(run, network, data, start, stages.full_masks(network, start))
    try:
        list(stages.train([run], network, data, [begun], [start]))
        possible = True
    except ValueError:
        possible = False
    if possible:
        stages.check(run, data)
    else:
        with pytest.raises(UsageError, match="17 examples in batches of 16 have one example alone.* --batch-size 15"):
            stages.check(run, data)
        stages.check(replace(run, batch_size=15), data)


def test_every_batch_size_that_leaves_an_example_alone() -> None:
    x = torch.zeros(17, 3, 8, 8)
    data = Data(Examples(x, torch.arange(17) % 2), Examples(x, torch.arange(17) % 2), 2, "")
    refused = []
    for size in range(1, 20):
        try:
            stages.check(Run("folder:x", "resnet18:width=2", batch_size=size), data)
        except UsageError:
            refused.append(size)
    assert refused == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("noise_kind", ["symmetric", "flip", "pairflip"])
def test_one_class_is_refused(noise_kind: str) -> None:
    examples = Examples(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    run = Run("folder:x", "convnet:width=2", noise=0.5, noise_kind=noise_kind)
    with pytest.raises(UsageError, match="folder:x has one class only"):
        stages.check(run, Data(examples, examples, 1, ""))
