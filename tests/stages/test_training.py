"""Training: weights and metrics of real digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sddcli.core.channels import living
from sddcli.core.images import normalizing
from sddcli.core.seeds import stream
from sddcli.core.stacking import single, stacked
from sddcli.core.types import Data, Examples, Tensors, Trained
from sddcli.data import load
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training
from tests.stages.digits import DATA, DENSE, MODEL, PRUNED, dense


def test_replay_is_where_training_was() -> None:
    start, kept = dense()
    begun = training.beginning(DENSE, MODEL, DATA, start, kept)
    for now in training.train([replace(DENSE, epochs=1)], MODEL, DATA, [begun], [start]):
        after = single(now.state.learned, 0)
    again = training.replay(DENSE, 21, MODEL, DATA, start)
    assert all(torch.equal(after[name], again[name]) for name in after)
    part = training.replay(DENSE, 5, MODEL, DATA, start)
    assert not any(torch.equal(part[name], again[name]) for name in MODEL.prunable)


def test_a_rewound_run_is_the_dense_one_from_that_step_on() -> None:
    """Rewound to step t with nothing pruned and no momentum, training ends where the dense one does."""
    plain = replace(DENSE, momentum=0, epochs=2)
    start, kept = dense()
    run = replace(plain, criterion="magnitude", retraining="lottery", rate=0.2, level=1, rewind="30it")
    ends = []
    for each, weights in ((plain, start), (run, training.replay(plain, 30, MODEL, DATA, start))):
        *_, last = training.train(
            [each], MODEL, DATA, [training.beginning(each, MODEL, DATA, weights, kept)], [weights]
        )
        ends.append(single(last.state.learned, 0))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)


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
        model = setting.model_of(run, data)
        start = setting.fresh(run, model)
        begun = training.beginning(run, model, data, start, pruning.full_masks(model, start))
        *_, last = training.train([run], model, data, [begun], [start])
        ends.append(last.state.learned)
    for name, w in ends[0].items():
        assert torch.equal(w, ends[1][name]) and not torch.equal(w[0], start[name])


def test_training_evaluates_when_due_and_at_the_end() -> None:
    run = replace(DENSE, epochs=5, eval_every=2)
    start, kept = dense()
    seen = list(training.train([run], MODEL, DATA, [training.beginning(run, MODEL, DATA, start, kept)], [start]))
    assert [now.epoch for now in seen] == [1, 2, 3, 4, 5]
    assert [now.epoch for now in seen if now.metrics] == [2, 4, 5]


def test_it_learns_clean_digits() -> None:
    run = replace(DENSE, noise=0, epochs=5)
    start, kept = dense()
    for now in training.train([run], MODEL, DATA, [training.beginning(run, MODEL, DATA, start, kept)], [start]):
        last = now
    assert last.metrics is not None
    assert last.metrics[0]["test_accuracy"] > 0.93 and np.isnan(last.metrics[0]["memorized"])


@pytest.mark.parametrize("model", ["lenet-12-8", "convnet:width=4", "resnet18:width=2", "preresnet18:width=2"])
def test_what_belongs_to_a_removed_channel_is_0_after_training(model: str) -> None:
    """Bias and BatchNorm parameters too, though weight decay and momentum pull at them; masks are of weights."""
    run = replace(PRUNED, model=model, unit="channel", rate=0.5, epochs=1, weight_decay=0.1, train_size=200)
    net = setting.model_of(run, DATA)
    initial = setting.fresh(run.root, net)
    whole = pruning.full_masks(net, initial)
    kept = pruning.prune(run, net, Trained(initial, initial, whole), DATA)
    begun = training.beginning(run, net, DATA, initial, kept)
    *_, last = training.train([run], net, DATA, [begun], [initial])
    final, masks = training.result([run], net, last.state, 0)
    assert set(masks) == set(net.prunable) and all(torch.equal(masks[name], kept[name]) for name in masks)
    lost = 0
    for channels in net.channels():
        gone = ~living(kept, channels)
        lost += int(gone.sum())
        for name in channels.vectors:
            assert not final[name][gone].any() and final[name][~gone].any()
    assert lost


def test_the_stored_network_of_a_supermask_is_as_good_as_those_that_are_drawn() -> None:
    """Inputs with many constant features, as the borders of MNIST's images: gates behind these lean a little to a side.

    So the most probable network has all of them, which shifts its units by far more than any that is drawn.
    """

    def bordered(examples: Examples) -> Examples:
        return Examples(torch.cat([examples.x.flatten(1), torch.full((len(examples.y), 300), -0.4)], 1), examples.y)

    plain = load("digits", 600)
    data = plain._replace(train=bordered(plain.train), test=bordered(plain.test))
    run = Run(
        "digits", "lenet-100-50", rate=0.5, level=1, retraining="supermask:rescale=yes:lr=10", start="constant",
        epochs=20, batch_size=100, momentum=0.9, eval_every=20, seed=1,
    )  # fmt: skip
    model = setting.model_of(run, data)
    initial = setting.fresh(run.root, model)
    whole = pruning.full_masks(model, initial)
    start = setting.started(run, model, initial, whole)
    begun = training.beginning(run, model, data, start, whole)
    *_, last = training.train([run], model, data, [begun], [initial])
    weights, kept = training.result([run], model, last.state, 0)

    def accuracy(weights: Tensors) -> float:
        return training.metrics([run], model, weights, data)[0]["test_accuracy"]

    mean = (last.metrics or [{}])[0]["test_accuracy"]
    assert mean > 0.7 and abs(accuracy(stacked([weights], model.weights)) - mean) < 0.1
    assert accuracy(training.network([run], last.state)) < mean - 0.3, "the most probable one"
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in kept.items())
