"""Criteria: how much each weight matters. High score = keep. Words too: no torch before one is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from sddcli.core import own
from sddcli.core.words import Positive, UsageError, Whole, pick, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from sddcli.core.types import Examples, Net, Tensors


class Batches(str):
    """A number of random training batches, 1 or more, or "all". Raises UsageError for anything else."""

    def __new__(cls, text: str) -> Batches:
        """The word, where it is one."""
        if text != "all" and not (text.isdecimal() and int(text)):
            raise UsageError("it takes 1 or more, or all")
        return super().__new__(cls, text)

    @property
    def number(self) -> int | None:
        """None for all."""
        return None if self == "all" else int(self)


ONE, TEN, EACH, TEMPERATURE, ROUNDS = Batches("1"), Batches("10"), Whole(25), Positive(200), Whole(100)


class Criterion(NamedTuple):
    """A score for each weight, and what a criterion needs.

    moment: which weights are ranked: the trained ones ("final"), or those before any training ("initial"), for which
    no network has to be trained. ties: which of two equal scores is kept: the one with the lower index, or one drawn
    at "random", as a score needs it that many weights share. batchnorm: whether the network has to have BatchNorm.
    family: what it looks at, in a word or two; figures show criteria of one family together.
    """

    score: Callable[..., Tensors]
    moment: Literal["final", "initial"] = "final"
    ties: Literal["index", "random"] = "index"
    batchnorm: bool = False
    family: str = "other"


def magnitude(net: Net) -> Tensors:
    """|w|: large weights matter (Han et al. 2015)."""
    return {name: w.abs() for name, w in net.final.items()}


def gradient(net: Net, *, batches: Batches = ONE) -> Tensors:
    """|w * dL/dw| on random training batches, by default one as in He et al. (2022); batches=all is exact."""
    slopes = net.gradients(batches.number)
    return {name: (w * slopes[name]).abs() for name, w in net.final.items()}


def taylor(net: Net, *, batches: Batches = TEN) -> Tensors:
    """(w * dL/dw)^2, the mean over random training batches of what each one says (Molchanov et al. 2019)."""
    total, number = {name: w * 0 for name, w in net.final.items()}, 0
    for batch in net.batches(batches.number, None):
        slopes = _slopes(net, batch)
        total = {name: total[name] + (w * slopes[name]).square() for name, w in net.final.items()}
        number += 1
    return {name: squares / number for name, squares in total.items()}


# Of a neuron or filter as a whole, the row of weights that make it, each of which has that score: for the units neuron,
# filter and channel.


def l1_norm(net: Net) -> Tensors:
    """sum |v| over the weights v of its neuron or filter (Li et al. 2017)."""
    return {name: _shared(w.abs().flatten(1).sum(1), w) for name, w in net.final.items()}


def l2_norm(net: Net) -> Tensors:
    """sqrt(sum v^2) over the weights v of its neuron or filter (He et al. 2018, Soft filter pruning)."""
    return {name: _shared(w.flatten(1).square().sum(1).sqrt(), w) for name, w in net.final.items()}


def taylor_filter(net: Net, *, batches: Batches = TEN) -> Tensors:
    """(sum v * dL/dv)^2 over the weights v of its neuron or filter, the mean over random training batches.

    Molchanov et al. (2019), equation 8: the square is taken of each batch's sum.
    """
    total, number = {name: w * 0 for name, w in net.final.items()}, 0
    for batch in net.batches(batches.number, None):
        slopes = _slopes(net, batch)
        sums = {name: (w * slopes[name]).flatten(1).sum(1).square() for name, w in net.final.items()}
        total = {name: total[name] + _shared(square, net.final[name]) for name, square in sums.items()}
        number += 1
    return {name: squares / number for name, squares in total.items()}


def activation(net: Net, *, batches: Batches = TEN) -> Tensors:
    """The mean output of the ReLU of its neuron or filter, over random training batches (Molchanov et al. 2017).

    Of layers whose outputs are added, that of the ReLUs behind the sum. A layer without one keeps all of its weights:
    their score is infinite.
    """
    import torch

    from sddcli.core.activity import Watch

    sums: dict[str, Tensor] = {}
    number = 0

    def add(name: str, outputs: Tensor) -> None:
        means = outputs.detach().double().flatten(2).mean(2) if outputs.dim() > 2 else outputs.detach().double()
        sums[name] = sums.get(name, 0) + means.sum(0)

    for batch in net.batches(batches.number, None):
        with torch.no_grad(), Watch({w.data_ptr(): name for name, w in net.final.items()}, add):
            net.forward(net.others | net.final, batch.x)
        number += len(batch.y)
    together = {name: part.outputs for part in net.channels() for name in part.outputs}
    scores = {}
    for name, w in net.final.items():
        means = [sums[each] / number for each in together.get(name, (name,)) if each in sums]
        scores[name] = _shared(torch.stack(means).mean(0), w) if means else torch.full_like(w, torch.inf)
    return scores


def slimming(net: Net) -> Tensors:
    """|gamma| of the BatchNorm behind its filter (network slimming, Liu et al. 2017).

    Of layers whose outputs are added, the mean over the BatchNorms of all. Weights of layers without one have an
    infinite score. Raises UsageError for a network that has none at all.
    """
    import torch

    def scale(batchnorms: Sequence[str]) -> Tensor:
        return torch.stack([net.others[f"{name}.weight"].abs() for name in batchnorms]).mean(0)

    return _of_batchnorm("slimming", net, scale)


def expected_bn(net: Net) -> Tensors:
    """E[ReLU(z)], z normal as the BatchNorm behind its filter makes it: mean beta, deviation |gamma| (Bartoldson et al.
    2020, E[BN]).

    Of layers whose outputs are added, means are added, and variances. Weights of layers without one have an infinite
    score. Raises UsageError for a network that has none at all.
    """
    import torch

    def output(batchnorms: Sequence[str]) -> Tensor:
        mean = torch.stack([net.others[f"{name}.bias"] for name in batchnorms]).sum(0)
        squares = torch.stack([net.others[f"{name}.weight"].square() for name in batchnorms]).sum(0)
        deviation = squares.sqrt().clamp_min(torch.finfo(mean.dtype).tiny)
        ratio = mean / deviation
        below: Tensor = torch.special.ndtr(ratio)
        return deviation * (-ratio.square() / 2).exp() / sqrt(2 * pi) + mean * below

    return _of_batchnorm("expected-bn", net, output)


def _of_batchnorm(word: str, net: Net, score: Callable[[Sequence[str]], Tensor]) -> Tensors:
    """Scores of filters by the BatchNorms behind them, infinite where there is none.

    score(their names, of all layers whose outputs are added) -> one for each filter, (out,).
    """
    import torch

    scores = {name: torch.full_like(w, torch.inf) for name, w in net.final.items()}
    for part in net.channels():
        batchnorms = [name.removesuffix(".weight") for name in part.vectors if name.endswith(".weight")]
        for name in part.outputs if batchnorms else ():
            scores[name] = _shared(score(batchnorms), net.final[name])
    if all(score.isinf().all() for score in scores.values()):
        raise UsageError(f"criterion {word} ranks filters by their BatchNorm scales, and this network has none")
    return scores


def _shared(score: Tensor, w: Tensor) -> Tensor:
    """A score of each row, (out,), as one of each weight, (out, *shape)."""
    return score.view(-1, *(1,) * (w.dim() - 1)).expand_as(w).clone()


def random(net: Net) -> Tensors:
    """U(0, 1), independent of the weights: the naive benchmark (He et al. 2022)."""
    import torch

    draws = {name: torch.from_numpy(net.stream(name).random(tuple(w.shape))) for name, w in net.final.items()}
    return {name: draw.to(net.final[name].device) for name, draw in draws.items()}


def lamp(net: Net) -> Tensors:
    """w^2 / (sum of v^2 over the weights v of its layer that are no smaller): LAMP (Lee et al. 2021).

    The largest of each layer has score 1, the highest there is, so that ranking all layers together empties none.
    """
    return {name: _lamp(w.double().square()) for name, w in net.final.items()}


def _lamp(squares: Tensor) -> Tensor:
    ranked, order = squares.flatten().sort(stable=True)
    larger = ranked.flip(0).cumsum(0).flip(0)
    scores = ranked / larger.clamp_min(1e-300)  # a layer of zeros alone
    return scores[order.argsort()].view_as(squares)


# The mask criteria of "Deconstructing lottery tickets" (Zhou et al. 2019), which prunes layer by layer (scope=layer):
# w is a weight after training, w_i the same before it. Its large_final is magnitude.


def small_final(net: Net) -> Tensors:
    """-|w|: weights that are small after training (Zhou et al. 2019)."""
    return {name: -w.abs() for name, w in net.final.items()}


def large_init(net: Net) -> Tensors:
    """|w_i|: weights that are large before training (Zhou et al. 2019)."""
    return {name: w.abs() for name, w in net.initial.items()}


def small_init(net: Net) -> Tensors:
    """-|w_i|: weights that are small before training (Zhou et al. 2019)."""
    return {name: -w.abs() for name, w in net.initial.items()}


def large_init_large_final(net: Net) -> Tensors:
    """min(rank of |w_i|, rank of |w|): large before training and after it (Zhou et al. 2019).

    Ranked among the weights left of those that are pruned together. The paper writes min(|w_i|, a |w|), and its code
    looks for the one percentile that both have to reach, which is this.
    """
    before, after = _ranks(net, net.initial), _ranks(net, net.final)
    return {name: rank.minimum(after[name]) for name, rank in before.items()}


def small_init_small_final(net: Net) -> Tensors:
    """-max(rank of |w_i|, rank of |w|): small before training and after it (Zhou et al. 2019)."""
    before, after = _ranks(net, net.initial), _ranks(net, net.final)
    return {name: -rank.maximum(after[name]) for name, rank in before.items()}


def _ranks(net: Net, weights: Tensors) -> Tensors:
    """The rank of each |w|, 1 the smallest, among the weights left of its group; 0 where it is pruned."""
    import torch

    ranks = {name: mask.long() for name, mask in net.masks.items()}
    for group in net.counts:
        names = [group] if group else list(weights)
        left = [weights[name].abs()[net.masks[name]] for name in names]
        order = torch.cat(left).argsort(stable=True).argsort() + 1
        for name, part in zip(names, order.split([len(each) for each in left]), strict=True):
            ranks[name][net.masks[name]] = part
    return ranks


def magnitude_increase(net: Net) -> Tensors:
    """|w| - |w_i|: weights that training made larger (Zhou et al. 2019)."""
    return {name: w.abs() - net.initial[name].abs() for name, w in net.final.items()}


def movement(net: Net) -> Tensors:
    """|w - w_i|: weights that training moved far (Zhou et al. 2019)."""
    return {name: (w - net.initial[name]).abs() for name, w in net.final.items()}


def same_sign(net: Net) -> Tensors:
    """|w| where it has the sign it was initialized with, 0 elsewhere: large_final_same_sign (Zhou et al. 2019)."""
    return {name: (w * net.initial[name].sign()).clamp_min(0) for name, w in net.final.items()}


def diff_sign(net: Net) -> Tensors:
    """|w| where it has changed its sign, 0 elsewhere: large_final_diff_sign (Zhou et al. 2019)."""
    return {name: (-w * net.initial[name].sign()).clamp_min(0) for name, w in net.final.items()}


def magnitude_increase_same_sign(net: Net) -> Tensors:
    """|w| - |w_i| where the sign is still that of w_i, 0 elsewhere, as the code of Zhou et al. (2019) has it."""
    larger = magnitude_increase(net)
    return {name: larger[name] * (w.sign() == net.initial[name].sign()) for name, w in net.final.items()}


def magnitude_increase_diff_sign(net: Net) -> Tensors:
    """|w| - |w_i| where the sign is no longer that of w_i, 0 elsewhere, as the code of Zhou et al. (2019) has it."""
    larger = magnitude_increase(net)
    return {name: larger[name] * (w.sign() != net.initial[name].sign()) for name, w in net.final.items()}


# Before any training. One-shot pruning is the original of each.


def snip(net: Net, *, batches: Batches = ONE) -> Tensors:
    """|w * dL/dw| before any training: how much the loss would miss the weight (SNIP, Lee et al. 2019).

    Iterative pruning scores what is left again at every level (de Jorge et al. 2021); one-shot is the original.
    """
    return gradient(net, batches=batches)


def grasp(net: Net, *, examples: Whole = EACH, temperature: Positive = TEMPERATURE) -> Tensors:
    """w * (H g): weights without which the gradient g would be smaller are kept (GraSP, Wang et al. 2020).

    Half the loss of |g|^2 to first order; the paper removes the largest -w * (H g). H is the Hessian of the training
    loss, of logits / `temperature`, on so many random examples of each class.
    """
    batches = list(net.batches(None, examples))
    number = sum(len(batch.y) for batch in batches)
    g = {name: w * 0 for name, w in net.final.items()}
    for batch in batches:
        slopes = _slopes(net, batch, temperature)
        g = {name: g[name] + slopes[name] * net.masks[name] * (len(batch.y) / number) for name in g}
    scores = {name: w * 0 for name, w in net.final.items()}
    for batch in batches:
        curved = _slopes(net, batch, temperature, along=g)
        scores = {name: scores[name] + w * curved[name] * (len(batch.y) / number) for name, w in net.final.items()}
    return scores


def synflow(net: Net, *, rounds: Whole = ROUNDS) -> Tensors:
    """|w| * dR/d|w|: what flows through a weight, R the sum of outputs for an input of ones (Tanaka et al. 2020).

    All weights |.|, in float64, without data. From what is left down to what the level keeps in so many rounds, each
    of which removes the same share: fewer rounds empty whole layers. A weight removed on the way has score -1.
    """
    import torch

    ones = torch.ones_like(next(net.batches(1, None)).x[:1], dtype=torch.float64)
    others = {name: w.double().abs() for name, w in net.others.items()}

    def flow(kept: Tensors) -> Tensors:
        weights = {name: (w.double().abs() * kept[name]).requires_grad_() for name, w in net.final.items()}
        slopes = torch.autograd.grad(net.forward(others | weights, ones).sum(), list(weights.values()))
        return {name: w.detach() * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}

    kept, begun = net.masks, _left(net, net.masks)
    for done in range(1, rounds):
        left = _left(net, kept)
        counts = {
            group: min(left[group], round(begun[group] * (count / begun[group]) ** (done / rounds))) if count else 0
            for group, count in net.counts.items()
        }
        kept = net.keep(flow(kept), kept, counts)
    return {name: score.where(kept[name], -1.0) for name, score in flow(kept).items()}


def _left(net: Net, masks: Tensors) -> dict[str, int]:
    """How many weights masks leave of each group that is ranked together."""
    return {group: sum(int(mask.sum()) for name, mask in masks.items() if group in ("", name)) for group in net.counts}


def _slopes(net: Net, batch: Examples, temperature: float = 1.0, along: Tensors | None = None) -> Tensors:
    """The gradient of the mean loss of a batch, of logits / temperature; or its Hessian times `along`."""
    import torch

    weights = {name: w.detach().clone().requires_grad_() for name, w in net.final.items()}
    loss = net.loss(net.forward(net.others | weights, batch.x) / temperature, batch.y)
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=along is not None)
    if along is not None:
        products = [(slope * along[name]).sum() for name, slope in zip(weights, slopes, strict=True)]
        slopes = torch.autograd.grad(torch.stack(products).sum(), list(weights.values()))
    return dict(zip(weights, slopes, strict=True))


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude, family="size"),
    "gradient": Criterion(gradient, family="gradient"),
    "random": Criterion(random, family="chance"),
    "taylor": Criterion(taylor, ties="random", family="gradient"),
    "l1-norm": Criterion(l1_norm, ties="random", family="neuron or filter"),
    "l2-norm": Criterion(l2_norm, ties="random", family="neuron or filter"),
    "taylor-filter": Criterion(taylor_filter, ties="random", family="neuron or filter"),
    "activation": Criterion(activation, ties="random", family="neuron or filter"),
    "slimming": Criterion(slimming, ties="random", batchnorm=True, family="neuron or filter"),
    "expected-bn": Criterion(expected_bn, ties="random", batchnorm=True, family="neuron or filter"),
    "lamp": Criterion(lamp, family="size"),
    "small-final": Criterion(small_final, family="size"),
    "large-init": Criterion(large_init, moment="initial", family="initial size"),
    "small-init": Criterion(small_init, moment="initial", family="initial size"),
    "large-init-large-final": Criterion(large_init_large_final, family="initial size"),
    "small-init-small-final": Criterion(small_init_small_final, family="initial size"),
    "magnitude-increase": Criterion(magnitude_increase, ties="random", family="movement"),
    "movement": Criterion(movement, ties="random", family="movement"),
    "same-sign": Criterion(same_sign, ties="random", family="sign"),
    "diff-sign": Criterion(diff_sign, ties="random", family="sign"),
    "magnitude-increase-same-sign": Criterion(magnitude_increase_same_sign, ties="random", family="movement"),
    "magnitude-increase-diff-sign": Criterion(magnitude_increase_diff_sign, ties="random", family="movement"),
    "snip": Criterion(snip, moment="initial", family="before training"),
    "grasp": Criterion(grasp, moment="initial", ties="random", family="before training"),
    "synflow": Criterion(synflow, moment="initial", ties="random", family="before training"),
}


OWN = {"moment": ("final", "initial"), "ties": ("index", "random")}
"""What a word of a user's own criterion says of it, so that no code need run to know what a run grows from."""


def criterion(word: str) -> Criterion:
    """The criterion that a word means, its parameters bound. Raises UsageError for an unknown one.

    Of one of the user's own (core/own), ideas.py@HASH:mine:moment=initial:ties=random, the code runs when weights are
    scored, and not before.
    """
    if not own.key_of(word):
        return pick("criterion", word, CRITERIA)
    flags = {key: value for key, _, value in (piece.partition("=") for piece in word.split(":")) if key in OWN}
    for key, value in flags.items():
        if value not in OWN[key]:
            raise unknown(f"{key} of criterion {word!r}:", value, OWN[key])
    plain = ":".join(piece for piece in word.split(":") if piece.partition("=")[0] not in OWN)

    def score(net: Net) -> Tensors:
        return pick("criterion", plain, CRITERIA).score(net)

    return Criterion(score, **flags, family="your own")  # type: ignore[arg-type]
