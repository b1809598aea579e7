"""Company: the trial finds whatever depends on where numbers lie, and one by one, aligned, models are as alone."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sddcli.core import engine, lessons
from sddcli.core.alignment import aligned
from sddcli.core.company import company, separate
from sddcli.core.losses import cross_entropy
from sddcli.core.models import architecture, mlp
from sddcli.core.seeds import stream
from sddcli.core.types import Model, State, Tensors

CLASSES, MODELS = 7, 3
LINE = 64  # bytes of a cache line
ULP = 1 + 2**-23
Product = Callable[..., Tensor]


def case_of(word: str, shape: tuple[int, ...]) -> tuple[Model, Tensor]:
    """Odd sizes: of several models side by side, only the first lies at the start of a cache line."""
    model = mlp((31, 17), shape, CLASSES) if word == "mlp" else architecture(word, shape, CLASSES)
    return model, torch.from_numpy(stream(0, "x").standard_normal((97, *shape), dtype="float32"))


CASES = {"mlp": case_of("mlp", (33,)), "convnet": case_of("convnet:width=3", (2, 9, 11))}


def plan_of(model: Model, batch_size: int = 20) -> engine.Plan:
    def order(epoch: int) -> Tensor:
        return torch.stack([torch.from_numpy(stream(m, "order", epoch).permutation(97)) for m in range(MODELS)])

    slopes = model.slopes
    lesson = lessons.written_out(slopes) if slopes else lessons.supervised(model.forward, cross_entropy)
    return engine.Plan(lesson, order, batch_size, [0.1] * 6, momentum=0.9, one_by_one=model.one_by_one)


def fussy(product: Product) -> Product:
    """A library whose last bit is another one where a factor does not lie at the start of a cache line."""

    def taken(a: Tensor, b: Tensor, *more: object, out: Tensor | None = None, **words: object) -> Tensor:
        found = product(a, b, *more, **words)
        if a.dim() == b.dim() == 3:  # many products at once: of each model's own factors
            astray = [bool(a[m].data_ptr() % LINE or b[m].data_ptr() % LINE) for m in range(len(a))]
            found = found * torch.where(torch.tensor(astray), ULP, 1.0).view(-1, 1, 1)
        elif a.data_ptr() % LINE or b.data_ptr() % LINE:
            found = found * ULP
        return found if out is None else out.copy_(found)

    return taken


def fickle(product: Product) -> Product:
    """A library whose every product has another last bit."""
    calls = itertools.count()

    def taken(*factors: Tensor, out: Tensor | None = None, **words: object) -> Tensor:
        found = product(*factors, **words) * (1 + next(calls) * 2**-22)
        return found if out is None else out.copy_(found)

    return taken


def break_products(monkeypatch: pytest.MonkeyPatch, broken: Callable[[Product], Product]) -> None:
    monkeypatch.setattr(torch, "bmm", broken(torch.bmm))
    monkeypatch.setattr(torch.nn.functional, "conv2d", broken(torch.nn.functional.conv2d))


def answer(name: str, models: int = MODELS, batch_size: int = 20) -> str:
    model, x = CASES[name]
    return company(plan_of(model, batch_size), model, x, CLASSES, models)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch_size", [16, 20, 48, 96, 97])
def test_here_models_side_by_side_are_as_alone(name: str, batch_size: int) -> None:
    assert answer(name, batch_size=batch_size) == "together"


@pytest.mark.parametrize("name", CASES)
def test_a_product_that_depends_on_where_its_factors_lie_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_products(monkeypatch, fussy)
    assert answer(name) == "one by one" and answer(name, models=1) == "together"


@pytest.mark.parametrize("name", CASES)
def test_a_product_that_is_never_the_same_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_products(monkeypatch, fickle)
    assert answer(name) == "not promised"


def trained(name: str, chosen: slice, one_by_one: bool) -> Tensors:
    model, x = CASES[name]
    plan, models = plan_of(model), range(MODELS)[chosen]
    plan = replace(plan, order=lambda epoch: plan_of(model).order(epoch)[chosen])
    start = {
        key: torch.stack([torch.from_numpy(stream(m, key).random(shape, dtype="float32")) - 0.4 for m in models])
        for key, shape in {**model.shapes, **model.statistics}.items()
    }
    start = {key: w.abs() if key.endswith("running_var") else w for key, w in start.items()}
    masks = {key: start[key] > -0.1 for key in model.prunable}
    y = torch.from_numpy(stream(0, "y").integers(CLASSES, size=(MODELS, 97)))[chosen]
    state = State(*lessons.parameters(start, model.prunable, {}, stream), masks, {})
    for now in engine.train(state, x, y, separate(plan) if one_by_one else plan):
        state = now.state
    return {key: w.clone() for key, w in (state.learned | state.fixed).items()}


@pytest.mark.parametrize("name", CASES)
def test_one_by_one_models_have_the_bits_that_each_has_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where products depend on their place; computed together they then have not."""
    break_products(monkeypatch, fussy)
    one_by_one, together = (trained(name, slice(MODELS), way) for way in (True, False))
    differ = False
    for m in range(MODELS):
        alone = trained(name, slice(m, m + 1), False)
        assert all(torch.equal(w[0], one_by_one[key][m]) for key, w in alone.items())
        differ |= not all(torch.equal(w[0], together[key][m]) for key, w in alone.items())
    assert differ


@pytest.mark.parametrize("name", CASES)
def test_aligned_gradients_are_the_same(name: str) -> None:
    """Where nothing depends on its place; BatchNorm's statistics are written to all the same."""
    model, x = CASES[name]
    y = torch.from_numpy(stream(0, "y").integers(CLASSES, size=(1, 97)))
    ends = []
    for way in (lambda lesson: lesson, aligned):
        weights = {
            key: torch.from_numpy(stream(0, key).random((1, *shape), dtype="float32"))
            for key, shape in {**model.shapes, **model.statistics}.items()
        }
        gradients = {key: torch.empty_like(weights[key]) for key in model.shapes}
        learned, fixed = lessons.parameters(weights, model.prunable, {}, stream)
        way(plan_of(model).lesson)(learned, fixed, gradients)(x.unsqueeze(0), y)
        ends.append([*weights.values(), *gradients.values()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def laid(tensor: Tensor, offset: int) -> Tensor:
    """The same numbers, so many floats behind the start of a cache line."""
    room = torch.empty(tensor.numel() + 32)
    first = -(room.data_ptr() // 4) % 16 + offset
    copy = room[first : first + tensor.numel()].view(tensor.shape).copy_(tensor)
    assert copy.data_ptr() % LINE == 4 * offset
    return copy


PLACED = CASES | {
    "digits": case_of("lenet-300-100", (1, 8, 8)),
    "lenet": case_of("lenet-300-100", (28, 28)),
    "resnet": case_of("resnet18:width=3", (3, 8, 8)),
}


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("size", [1, 16, 17, 33, 48, 64, 77, 96, 97, 101, 128])
def test_gradients_do_not_depend_on_where_matrices_lie(size: int, name: str) -> None:
    """Weights, inputs and gradients in turn, and all of them, at every offset of a float within a cache line."""
    model, _ = PLACED[name]
    shape = {"mlp": (33,), "convnet": (2, 9, 11), "digits": (1, 8, 8), "lenet": (28, 28), "resnet": (3, 8, 8)}[name]
    if size == 1 and model.statistics:
        size = 2  # BatchNorm has no deviation of one example
    x = torch.from_numpy(stream(0, "batch").standard_normal((1, size, *shape), dtype="float32"))
    y = torch.from_numpy(stream(0, "y").integers(CLASSES, size=(1, size)))
    start = {
        key: torch.from_numpy(stream(0, key).standard_normal((1, *shape), dtype="float32")).abs() - 0.5
        for key, shape in model.shapes.items()
    }
    start |= {key: torch.ones(1, *shape) for key, shape in model.statistics.items()}

    def gradients(of_weights: int, of_inputs: int, of_gradients: int) -> list[Tensor]:
        weights = {key: laid(w, of_weights) for key, w in start.items()}
        into = {key: laid(torch.zeros(1, *shape), of_gradients) for key, shape in model.shapes.items()}
        write = plan_of(model).lesson(*lessons.parameters(weights, model.prunable, {}, stream), into)
        write(laid(x, of_inputs), y)
        return list(into.values())

    expected = gradients(0, 0, 0)
    assert any(gradient.any() for gradient in expected)
    for offset in range(1, 16):
        for places in ((offset, 0, 0), (0, offset, 0), (0, 0, offset), (offset, offset, offset)):
            found = gradients(*places)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), places
