"""Pruning: which weights of a network a run keeps."""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from sddcli.core import channels, images, masks, seeds
from sddcli.core.evaluate import chunk
from sddcli.core.losses import LOSSES
from sddcli.core.retraining import ranking, rounds
from sddcli.core.types import Data, Draw, Examples, Model, Net, Tensors, Trained
from sddcli.core.words import pick
from sddcli.spec import Run
from sddcli.stages import setting


def full_masks(model: Model, weights: Tensors) -> Tensors:
    """Masks that keep all prunable weights, (*shape)."""
    return masks.full({name: weights[name] for name in model.prunable})


def prune(run: Run, model: Model, net: Trained, data: Data) -> Tensors:
    """The masks of `run`, (*shape): the weights within those of `net` that its criterion keeps.

    Raises UsageError where a score is no number.
    """
    stream = partial(seeds.stream, run.seed, "criterion", run.level)
    return ranked(run, model, net, data, setting.counts(run, model), stream)


def ranked(run: Run, model: Model, net: Trained, data: Data, counts: Mapping[str, int], stream: Draw) -> Tensors:
    """The masks (*shape) of so many weights of each group, ranked by the criterion of `run`."""
    seen = _seen(run, model, net, data, counts, stream)
    return seen.keep(ranking(run).score(seen), seen.masks, counts)


def scored(run: Run, model: Model, net: Trained, data: Data, stream: Draw) -> Tensors:
    """What the criterion of `run` says of each prunable weight, (*shape)."""
    return ranking(run).score(_seen(run, model, net, data, setting.counts(run, model), stream))


def _seen(run: Run, model: Model, net: Trained, data: Data, counts: Mapping[str, int], stream: Draw) -> Net:
    rule, unit, loss = ranking(run), setting.unit_of(run, model), pick("loss", run.loss, LOSSES)
    ties = None
    if rule.ties == "random":
        shapes = {name: model.shapes[name] for name in model.prunable}
        ties = {name: torch.from_numpy(stream("ties", name).random(shape)) for name, shape in shapes.items()}

    def keep(scores: Tensors, within: Tensors, counts: Mapping[str, int]) -> Tensors:
        return unit.keep(scores, within, counts, ties)

    def forward(weights: Tensors, x: Tensor) -> Tensor:
        return model.forward({name: w.unsqueeze(0) for name, w in weights.items()}, x.unsqueeze(0), False).squeeze(0)

    return Net(
        initial={name: net.initial[name] for name in model.prunable},
        final={name: net.final[name] for name in model.prunable},
        masks={name: net.masks[name] for name in model.prunable},
        stream=stream,
        gradients=lambda batches: gradients(run, model, net.final, data, batches, stream),
        counts=counts,
        keep=keep,
        others={name: net.final[name] for name in model.weights if name not in model.prunable},
        forward=forward,
        loss=lambda logits, y: loss(logits.unsqueeze(0), y.unsqueeze(0), {}),
        batches=lambda number, each: _batches(run, data, number, each, stream),
        channels=model.channels,
    )


def _batches(run: Run, data: Data, number: int | None, each: int | None, stream: Draw) -> Iterator[Examples]:
    """Random training batches, see Net; the first ones are those that a gradient on so many is of."""
    labels = setting.noisy_labels(run, data)
    order = torch.from_numpy(stream("batches").permutation(len(labels))).to(labels.device)
    if each is not None:
        order = torch.cat([order[labels[order] == label][:each] for label in range(data.classes)])
    normalize = images.normalizing(data.mean, data.deviation) if data.mean else None
    for part in order.split(run.batch_size)[:number]:
        x = data.train.x[part.to(data.train.x.device)].to(labels.device)
        yield Examples(normalize(x) if normalize else x, labels[part])


def prune_untrained(run: Run, model: Model, weights: Tensors, data: Data) -> Tensors:
    """The masks of `run`, (*shape), where its criterion ranks weights before training: `weights`, round by round."""
    kept = full_masks(model, weights)
    for each in rounds(run):
        kept = prune(each, model, Trained(weights, masks.apply(kept, weights), kept), data)
    return kept


def with_vectors(run: Run, model: Model, kept: Tensors) -> Tensors:
    """Masks (*shape), and those of the biases and BatchNorm parameters of units that are removed as a whole."""
    return channels.completed(kept, setting.unit_of(run, model).channels) if run.level else kept


def gradients(
    run: Run,
    model: Model,
    weights: Tensors,
    data: Data,
    batches: int | None,
    stream: Draw,
) -> Tensors:
    """The gradient of the mean training loss, (*shape), on random batches or, for None, on all examples."""
    labels, forward, loss = (
        setting.noisy_labels(run, data),
        setting.forward_of(model, data),
        pick("loss", run.loss, LOSSES),
    )
    chosen = torch.arange(len(labels))
    if batches is not None:
        chosen = torch.from_numpy(stream("batches").permutation(len(labels))[: batches * run.batch_size])
    leaves = {name: weights[name].unsqueeze(0).requires_grad_() for name in model.shapes}
    statistics = {name: weights[name].unsqueeze(0) for name in model.statistics}
    total = {name: torch.zeros_like(weights[name]) for name in model.prunable}
    for part in chosen.to(labels.device).split(chunk(data.train.x)):
        x = data.train.x[part.to(data.train.x.device)]
        logits = forward(leaves | statistics, x.unsqueeze(0), False)
        share = loss(logits, labels[part].unsqueeze(0), leaves) * (len(part) / len(chosen))
        slopes = torch.autograd.grad(share, [leaves[name] for name in model.prunable])
        for name, slope in zip(model.prunable, slopes, strict=True):
            total[name] += slope.squeeze(0)
    return total
