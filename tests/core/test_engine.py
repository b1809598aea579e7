"""Engine: the same curve as a plain torch loop, pruned weights exactly zero, bits that do not depend on M."""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sddcli.core import engine, images, lessons, masks, memory
from sddcli.core.inits import fresh
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.models import ResNet, architecture, mlp
from sddcli.core.optimizers import OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.seeds import stream
from sddcli.core.types import STATISTICS, Model, State, Tensors, learned

N, CLASSES, MODELS = 97, 7, 16
Y = torch.from_numpy(stream(0, "y").integers(CLASSES, size=(MODELS, N)))


class Case(NamedTuple):
    """A network and inputs for it; odd sizes, so that few rows of the stacked storage are aligned.

    LeNet-300-100 beside the small MLP, since torch multiplies small matrices otherwise than large ones.
    """

    model: Model
    x: Tensor


def case_of(name: str) -> Case:
    shape = {"mlp": (33,), "lenet": (33,), "convnet": (2, 9, 11), "resnet": (3, 16, 16)}[name]
    x = torch.from_numpy(stream(0, "x").standard_normal((N, *shape), dtype="float32"))
    if name == "mlp":
        return Case(mlp((31, 17), shape, CLASSES), x)
    words = {"lenet": "lenet-300-100", "convnet": "convnet:width=3", "resnet": "resnet18:width=3"}
    return Case(architecture(words[name], shape, CLASSES), x)


CASES = {name: case_of(name) for name in ("mlp", "lenet", "convnet", "resnet")}
MLP = CASES["mlp"]


@cache
def beginning(name: str, m: int) -> tuple[Tensors, Tensors]:
    """Start weights of model m and masks of its own that keep about half."""
    model = CASES[name].model
    weights = fresh(model, "kaiming", m)
    scores = {name: torch.from_numpy(stream(m, "score", name).random(model.shapes[name])) for name in model.prunable}
    kept = masks.keep(scores, masks.full(scores), model.size // 2 + m)
    return masks.apply(kept, weights), kept


def state_of(name: str, chosen: tuple[int, ...]) -> State:
    begun, model = [beginning(name, m) for m in chosen], CASES[name].model
    weights = {key: torch.stack([start[key] for start, _ in begun]) for key in model.weights}
    kept = {key: torch.stack([mask[key] for _, mask in begun]) for key in model.prunable}
    return state_with(weights, kept)


def state_with(weights: Tensors, kept: Tensors, **more: Any) -> State:
    fixed = {name: w for name, w in weights.items() if name.endswith(STATISTICS)}
    return State(learned(weights), fixed, kept, **{"memory": {}, **more})


def weights_of(state: State) -> Tensors:
    return state.learned | state.fixed


def plan_of(
    name: str, chosen: tuple[int, ...], batch_size: int, epochs: int = 3, optimizer: str = "sgd", **more: object
) -> engine.Plan:
    def order(epoch: int) -> Tensor:
        return torch.stack([torch.from_numpy(stream(m, "order", epoch).permutation(N)) for m in chosen])

    steps, model = -(-N // batch_size), CASES[name].model
    rates = [(0.1 if optimizer == "sgd" else 0.01) * 0.5 ** (step // steps) for step in range(epochs * steps)]
    loss: Any = more.pop("loss", cross_entropy)
    slopes: Any = more.pop("slopes", model.slopes if loss is cross_entropy else None)
    lesson = lessons.written_out(slopes) if slopes else lessons.supervised(model.forward, loss)
    plan = engine.Plan(lesson, order, batch_size, rates, momentum=0.9, weight_decay=1e-3, one_by_one=model.one_by_one)
    return replace(plan, optimizer=OPTIMIZERS[optimizer], **more)  # type: ignore[arg-type]


def trained(
    name: str, chosen: tuple[int, ...], batch_size: int, epochs: int = 3, optimizer: str = "sgd", **more: object
) -> Tensors:
    plan = plan_of(name, chosen, batch_size, epochs, optimizer, **more)
    for now in engine.train(state_of(name, chosen), CASES[name].x, Y[list(chosen)], plan):
        state = now.state
    return {key: w.clone() for key, w in weights_of(state).items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_plain_torch(optimizer: str) -> None:
    m, batch_size = 2, 20
    weights, kept = beginning("mlp", m)
    plain = nn.Sequential(nn.Linear(33, 31), nn.ReLU(), nn.Linear(31, 17), nn.ReLU(), nn.Linear(17, CLASSES))
    parameters = dict(zip(MLP.model.shapes, plain.parameters(), strict=True))
    for name, parameter in parameters.items():
        parameter.data = weights[name].clone()
    more = {"momentum": 0.9} if optimizer == "sgd" else {}
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    torchs = theirs(plain.parameters(), lr=0.1, weight_decay=1e-3, **more)
    plan = plan_of("mlp", (m,), batch_size, optimizer=optimizer)
    rates = iter(plan.lr)
    for epoch in range(3):
        for batch in plan.order(epoch)[0].split(batch_size):
            torchs.param_groups[0]["lr"] = next(rates)
            torchs.zero_grad()
            F.cross_entropy(plain(MLP.x[batch]), Y[m][batch]).backward()
            for name in kept:
                parameters[name].grad.mul_(kept[name])  # type: ignore[union-attr]
            torchs.step()
            for name in kept:
                parameters[name].data.mul_(kept[name])
    for name, w in trained("mlp", (m,), batch_size, optimizer=optimizer).items():
        torch.testing.assert_close(w[0], parameters[name].data, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("augmented", [False, True])
def test_an_epoch_of_a_resnet_is_plain_torchs_batch_statistics_included(augmented: bool) -> None:
    """ResNet-18 of width 8 on images in bytes, augmented by the same draws; the shift by BatchNorm too."""
    n, batch_size, seed = 50, 16, 5
    x = torch.from_numpy(stream(0, "bytes").integers(256, size=(n, 3, 16, 16), dtype="uint8"))
    y = torch.from_numpy(stream(0, "labels").integers(CLASSES, size=(1, n)))
    model = architecture("resnet18:width=8", (3, 16, 16), CLASSES)
    start = fresh(model, "kaiming:bn=uniform:bias=uniform", seed)
    kept = masks.keep(
        {k: start[k].abs() for k in model.prunable}, masks.full({k: start[k] for k in model.prunable}), 9000
    )
    start = masks.apply(kept, start)
    mean, deviation = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
    crop = images.crop_flip()
    draws = torch.from_numpy(crop.draw(n, (16, 16), stream(seed, "augment", 0)))
    order = torch.from_numpy(stream(seed, "order", 0).permutation(n))
    normalize = images.normalizing(mean, deviation)
    plan = engine.Plan(
        lessons.supervised(lambda w, shown, training: model.forward(w, normalize(shown), training), cross_entropy),
        lambda epoch: order.unsqueeze(0),
        batch_size,
        [0.1] * 4,
        momentum=0.9,
        weight_decay=1e-4,
        draws=(lambda epoch: draws.unsqueeze(0)) if augmented else None,
        augment=partial(crop.apply, size=(16, 16)) if augmented else None,
        one_by_one=True,
    )
    state = state_with({k: w.unsqueeze(0) for k, w in start.items()}, {k: m.unsqueeze(0) for k, m in kept.items()})
    (last,) = engine.train(state, x, y, plan)

    plain = ResNet("basic", (2, 2, 2, 2), 8, 3, CLASSES)
    missing = plain.load_state_dict(start, strict=False)
    assert missing.unexpected_keys == [] and all("num_batches" in key for key in missing.missing_keys)
    torchs = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    named = dict(plain.named_parameters())
    for batch in order.split(batch_size):
        shown = crop.apply(x[batch], draws[batch], (16, 16)) if augmented else x[batch]
        shown = (shown.float() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
        torchs.zero_grad()
        # Laid out alike: the last batch, of two images, makes a thousandfold of a difference in the last bits.
        F.cross_entropy(plain(memory.channels_last(shown)), y[0][batch]).backward()
        for key, mask in kept.items():
            named[key].grad.mul_(mask)  # type: ignore[union-attr]
        torchs.step()
    theirs = plain.state_dict()
    for key, w in weights_of(last.state).items():
        torch.testing.assert_close(w[0], theirs[key], rtol=2e-3, atol=2e-5, msg=key)
        assert key.endswith(("running_mean", "running_var")) or not torch.equal(w[0], start[key])
    assert not torch.equal(weights_of(last.state)["bn1.running_var"][0], start["bn1.running_var"])
    seen = model.forward(weights_of(last.state), images.normalizing(mean, deviation)(x).unsqueeze(0), False)[0]
    again = functional_call(plain.eval(), {}, (images.normalizing(mean, deviation)(x),))
    torch.testing.assert_close(seen, again, rtol=1e-3, atol=1e-3)


# Last batches of 1, of 17, of a single step's rest and of full size; together in several companies.
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch_size", [16, 20, 48, 96, 97])
@pytest.mark.parametrize("chosen", [(0,), (4, 1), (7, 0, 3), (0, 1, 2, 3, 4, 5, 6, 7)], ids=len)
def test_bits_do_not_depend_on_company(chosen: tuple[int, ...], batch_size: int, name: str) -> None:
    epochs = 3 if name == "mlp" else 1
    as_alone(name, chosen, batch_size, epochs)


@pytest.mark.parametrize("name", ["convnet", "resnet"])
@pytest.mark.parametrize("chosen", [(4, 1), (7, 0, 3)], ids=len)
def test_bits_of_convolutions_in_bf16_do_not_depend_on_company(chosen: tuple[int, ...], name: str) -> None:
    as_alone(name, chosen, 20, epochs=1, computing=partial(PRECISIONS["bf16"], "cpu"))


@pytest.mark.parametrize("batch_size", [48, 64])  # a last batch of 1, and one of 33
@pytest.mark.parametrize("chosen", [(9, 2, 4, 0, 12), tuple(range(16))], ids=len)
def test_bits_of_mlps_do_not_depend_on_many(chosen: tuple[int, ...], batch_size: int) -> None:
    as_alone("lenet", chosen, batch_size, epochs=2)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_examples_that_are_picked_before_they_are_moved_make_the_same_bits(name: str, augmented: bool) -> None:
    more: dict[str, Any] = {}
    if augmented:  # an augmentation that any numbers take
        more["draws"] = lambda epoch: torch.from_numpy(stream(epoch, "draws").integers(3, size=(3, N, 1)))
        more["augment"] = lambda x, draws: x + draws.view(-1, *[1] * (x.dim() - 1))
    plain, streamed = (trained(name, (0, 1, 2), 10, streamed=each, **more) for each in (False, True))
    assert all(torch.equal(plain[key].view(torch.int32), streamed[key].view(torch.int32)) for key in plain)


def test_a_dense_model_beside_pruned_ones_has_the_bits_that_it_has_alone() -> None:
    """Where nothing is pruned no mask is applied."""
    ends, model = [], CASES["lenet"].model
    for chosen in ((3,), (3, 0)):
        state = state_of("lenet", chosen)
        dense = fresh(model, "kaiming", 3)
        for key, w in weights_of(state).items():
            w[0] = dense[key]
        for mask in state.masks.values():
            mask[0] = True
        *_, last = engine.train(state, CASES["lenet"].x, Y[list(chosen)], plan_of("lenet", chosen, 48))
        ends.append(last.state)
    assert all(torch.equal(w[0], weights_of(ends[1])[key][0]) for key, w in weights_of(ends[0]).items())
    assert not any(weights_of(ends[1])[key][1][~mask[1]].any() for key, mask in ends[1].masks.items())


def as_alone(name: str, chosen: tuple[int, ...], batch_size: int, epochs: int, **more: object) -> None:
    """That models together have the bits that each has alone."""
    together = trained(name, chosen, batch_size, epochs, **more)
    for place, m in enumerate(chosen):
        alone = trained(name, (m,), batch_size, epochs, **more)
        for key in CASES[name].model.weights:
            assert torch.equal(together[key][place], alone[key][0]), f"model {m} of {chosen}, {key}"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp", "lenet", "convnet"])
@pytest.mark.parametrize("chosen", [(0,), (4, 1), (7, 0, 3)], ids=len)
def test_bits_do_not_depend_on_interruption(chosen: tuple[int, ...], name: str, optimizer: str) -> None:
    plan, labels, x = plan_of(name, chosen, 48, optimizer=optimizer), Y[list(chosen)], CASES[name].x
    for now in engine.train(state_of(name, chosen), x, labels, plan):
        if now.number == 1:
            break
    copied = {key: w.clone() for key, w in weights_of(now.state).items()}
    memory = {key: {k: w.clone() for k, w in kept.items()} for key, kept in now.state.memory.items()}
    resumed = state_with(copied, now.state.masks, memory=memory, step=now.state.step, since=now.state.since)
    for later in engine.train(resumed, x, labels, plan):
        state = later.state
    assert later.number == 3
    for key, w in trained(name, chosen, 48, optimizer=optimizer).items():
        assert torch.equal(w, weights_of(state)[key])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_and_what_the_optimizer_keeps_of_them_are_zero(name: str, optimizer: str) -> None:
    chosen = (0, 5)
    state = state_of(name, chosen)
    steps = 0
    plan = plan_of(name, chosen, batch_size=N, epochs=5, optimizer=optimizer)  # one step an epoch
    for now in engine.train(state, CASES[name].x, Y[list(chosen)], plan):
        steps += 1
        for key, mask in state.masks.items():
            assert not weights_of(now.state)[key][~mask].any()
            assert not any(kept[key][~mask].any() for kept in now.state.memory.values())
            assert weights_of(now.state)[key][mask].all()
    assert steps == 5


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_slopes_written_out_train_as_autograd_does(name: str) -> None:
    """But for what the last bit becomes in 18 steps."""
    ends = []
    for slopes in (CASES[name].model.slopes, None):
        plan = plan_of(name, (0, 5), 17, slopes=slopes)
        *_, last = engine.train(state_of(name, (0, 5)), CASES[name].x, Y[:2], plan)
        ends.append(weights_of(last.state))
    for key, w in ends[0].items():
        torch.testing.assert_close(w, ends[1][key], rtol=1e-3, atol=1e-5)


def test_stale_values_under_the_mask_do_not_count() -> None:
    state = state_of("mlp", (0,))
    dirty = weights_of(state) | {name: torch.where(m, state.learned[name], 7.0) for name, m in state.masks.items()}
    for now in engine.train(state_with(dirty, state.masks), MLP.x, Y[:1], plan_of("mlp", (0,), 48)):
        last = now.state
    for name, w in trained("mlp", (0,), 48).items():
        assert torch.equal(w, weights_of(last)[name])


@pytest.mark.parametrize("name", CASES)
def test_the_given_state_is_not_written_to(name: str) -> None:
    state = state_of(name, (0, 1))
    before = {key: w.clone() for key, w in weights_of(state).items()}
    list(engine.train(state, CASES[name].x, Y[:2], plan_of(name, (0, 1), 48)))
    assert all(torch.equal(w, before[key]) for key, w in weights_of(state).items()) and state.memory == {}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gets_smaller(loss: str) -> None:
    plan = plan_of("mlp", (0,), 48, epochs=6, loss=LOSSES[loss])
    ends = []
    for now in engine.train(state_of("mlp", (0,)), MLP.x, Y[:1], plan):
        logits = MLP.model.forward(weights_of(now.state), MLP.x.unsqueeze(0), False)
        ends.append(float(LOSSES[loss](logits, Y[:1], learned(weights_of(now.state)))))
    assert ends[-1] < ends[0]
