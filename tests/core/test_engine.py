"""Engine: the same curve as a plain torch loop, pruned weights exactly zero, bits that do not depend on M."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sddcli.core import engine, masks
from sddcli.core.models import Model, fresh, mlp
from sddcli.core.seeds import stream
from sddcli.core.types import State, Tensors

N, D, CLASSES, MODELS = 97, 33, 7, 8
X = torch.from_numpy(stream(0, "x").standard_normal((N, D), dtype="float32"))
Y = torch.from_numpy(stream(0, "y").integers(CLASSES, size=(MODELS, N)))
MODEL: Model = mlp((31, 17), (D,), CLASSES)


@cache
def beginning(m: int) -> tuple[Tensors, Tensors]:
    """Start weights of model m and masks of its own that keep about half."""
    weights = fresh(MODEL, m)
    scores = {name: torch.from_numpy(stream(m, "score", name).random(MODEL.shapes[name])) for name in MODEL.prunable}
    kept = masks.keep(scores, masks.full(scores), MODEL.size // 2 + m)
    return masks.apply(kept, weights), kept


def state_of(chosen: tuple[int, ...]) -> State:
    begun = [beginning(m) for m in chosen]
    weights = {name: torch.stack([start[name] for start, _ in begun]) for name in MODEL.shapes}
    kept = {name: torch.stack([mask[name] for _, mask in begun]) for name in MODEL.prunable}
    return State(weights, kept, {})


def plan_of(chosen: tuple[int, ...], batch_size: int, epochs: int = 3) -> engine.Plan:
    def order(epoch: int) -> Tensor:
        return torch.stack([torch.from_numpy(stream(m, "order", epoch).permutation(N)) for m in chosen])

    steps = -(-N // batch_size)
    rates = [0.1 * 0.5 ** (step // steps) for step in range(epochs * steps)]
    return engine.Plan(MODEL.forward, order, batch_size, rates, momentum=0.9, weight_decay=1e-3)


def trained(chosen: tuple[int, ...], batch_size: int, epochs: int = 3) -> Tensors:
    for now in engine.train(state_of(chosen), X, Y[list(chosen)], plan_of(chosen, batch_size, epochs)):
        state = now.state
    return {name: w.clone() for name, w in state.parameters.items()}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_it_is_plain_torch_sgd() -> None:
    m, batch_size = 2, 20
    weights, kept = beginning(m)
    plain = nn.Sequential(nn.Linear(D, 31), nn.ReLU(), nn.Linear(31, 17), nn.ReLU(), nn.Linear(17, CLASSES))
    parameters = dict(zip(MODEL.shapes, plain.parameters(), strict=True))
    for name, parameter in parameters.items():
        parameter.data = weights[name].clone()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    plan = plan_of((m,), batch_size)
    rates = iter(plan.lr)
    for epoch in range(3):
        for batch in plan.order(epoch)[0].split(batch_size):
            optimizer.param_groups[0]["lr"] = next(rates)
            optimizer.zero_grad()
            F.cross_entropy(plain(X[batch]), Y[m][batch]).backward()
            optimizer.step()
            for name in kept:
                parameters[name].data.mul_(kept[name])
    for name, w in trained((m,), batch_size).items():
        torch.testing.assert_close(w[0], parameters[name].data, rtol=1e-4, atol=1e-6)


# Last batches of 1, of 17, of a single step's rest and of full size; together in several companies.
@pytest.mark.parametrize("batch_size", [16, 20, 48, 96, 97])
@pytest.mark.parametrize("chosen", [(0,), (4, 1), (7, 0, 3), (0, 1, 2, 3, 4, 5, 6, 7)], ids=len)
def test_bits_do_not_depend_on_company(chosen: tuple[int, ...], batch_size: int) -> None:
    together = trained(chosen, batch_size)
    for place, m in enumerate(chosen):
        alone = trained((m,), batch_size)
        for name in MODEL.shapes:
            assert torch.equal(together[name][place], alone[name][0]), f"model {m} of {chosen}, {name}"


@pytest.mark.parametrize("chosen", [(0,), (4, 1), (7, 0, 3)], ids=len)
def test_bits_do_not_depend_on_interruption(chosen: tuple[int, ...]) -> None:
    plan, labels = plan_of(chosen, 48), Y[list(chosen)]
    for now in engine.train(state_of(chosen), X, labels, plan):
        if now.number == 1:
            break
    copies = [{name: t.clone() for name, t in part.items()} for part in (now.state.parameters, now.state.velocity)]
    resumed = State(copies[0], now.state.masks, copies[1], now.state.step)
    for later in engine.train(resumed, X, labels, plan):
        state = later.state
    assert later.number == 3
    for name, w in trained(chosen, 48).items():
        assert torch.equal(w, state.parameters[name])


def test_pruned_weights_gradients_and_momentum_are_zero_after_every_step() -> None:
    chosen = (0, 5)
    state = state_of(chosen)
    steps = 0
    for now in engine.train(state, X, Y[list(chosen)], plan_of(chosen, batch_size=N, epochs=9)):  # one step an epoch
        steps += 1
        for name, mask in state.masks.items():
            assert not now.state.parameters[name][~mask].any() and not now.state.velocity[name][~mask].any()
            assert now.state.parameters[name][mask].all()
    assert steps == 9


def test_stale_values_under_the_mask_do_not_count() -> None:
    state = state_of((0,))
    dirty = {
        name: torch.where(state.masks[name], w, 7.0) if name in state.masks else w
        for name, w in state.parameters.items()
    }
    for now in engine.train(State(dirty, state.masks, {}), X, Y[:1], plan_of((0,), 48)):
        last = now.state
    for name, w in trained((0,), 48).items():
        assert torch.equal(w, last.parameters[name])


def test_the_given_state_is_not_written_to() -> None:
    state = state_of((0, 1))
    before = {name: w.clone() for name, w in state.parameters.items()}
    list(engine.train(state, X, Y[:2], plan_of((0, 1), 48)))
    assert all(torch.equal(w, before[name]) for name, w in state.parameters.items()) and state.velocity == {}
