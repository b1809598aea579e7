"""Lessons: gradients against autograd in double precision, by hand where they are drawn."""

from functools import partial
from math import prod

import pytest
import torch
import torch.nn.functional as F

from sddcli.core import lessons
from sddcli.core.lessons import LESSONS
from sddcli.core.losses import Share, cross_entropy, distill
from sddcli.core.models import architecture, mlp
from sddcli.core.seeds import stream
from sddcli.core.types import Tensors
from sddcli.core.words import UsageError

MODEL = mlp((9, 7), (5,), 3)
X = torch.from_numpy(stream(0, "x").standard_normal((2, 12, 5), dtype="float32"))
Y = torch.from_numpy(stream(0, "y").integers(3, size=(2, 12)))


def weights() -> Tensors:
    draw = stream(0, "weights")
    return {n: torch.from_numpy(draw.standard_normal((2, *s), dtype="float32")) for n, s in MODEL.shapes.items()}


def counts(share: float) -> dict[str, int]:
    """So many of the weights of both models."""
    return {"": round(share * 2 * MODEL.size)}


@pytest.mark.parametrize("name", ["supermask", "rescaled-supermask"])
def test_a_score_learns_as_if_its_gate_were_its_probability(name: str) -> None:
    """dL/dscore by autograd in double precision, through p in place of the gate that was drawn."""
    learned, fixed = LESSONS[name].split(weights(), MODEL.prunable, counts(0.6), stream)
    chance = torch.from_numpy(stream(0, "chance").random((2, MODEL.size), dtype="float32"))
    gradients = {key: torch.zeros_like(score) for key, score in learned.items()}
    LESSONS[name].lesson(MODEL.forward, cross_entropy)(learned, fixed, gradients)(X, Y, chance)

    gates = lessons.gates(learned, fixed, chance)
    assert all(0.4 < gate.mean() < 0.8 and set(gate.unique().tolist()) == {0, 1} for gate in gates.values())
    for m in range(2):
        scores = {key: score[m].double().requires_grad_() for key, score in learned.items()}
        opened = {
            key: gates[key][m].double() + score.sigmoid() - score.sigmoid().detach() for key, score in scores.items()
        }
        if name == "rescaled-supermask":
            opened = {key: gate * (gate.numel() / gates[key][m].sum()) for key, gate in opened.items()}
        F.cross_entropy(logits_behind(opened, fixed, m), Y[m]).backward()
        for key, score in scores.items():
            torch.testing.assert_close(gradients[key][m].double(), score.grad, rtol=1e-4, atol=1e-7)


def logits_behind(opened: Tensors, fixed: Tensors, m: int) -> torch.Tensor:
    """Of model m, by hand, in double precision; opened: what its weights are multiplied by, (*shape)."""
    h = X[m].double()
    for layer in ("hidden1", "hidden2", "output"):
        w = fixed[f"{layer}.weight"][m].double() * opened.get(f"{layer}.weight", 1)
        h = F.linear(h, w, fixed[f"{layer}.bias"][m].double())
        h = h if layer == "output" else h.relu()
    return h


def popups(kept: dict[str, int]) -> tuple[Tensors, Tensors]:
    """Scores and what is fixed of two models of edge-popup that keep so many weights of each layer."""
    parts = [
        LESSONS["edge-popup"].split(
            {name: w[m] for name, w in weights().items()}, MODEL.prunable, kept, partial(stream, m)
        )
        for m in range(2)
    ]
    learned, fixed = ({key: torch.stack([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True))
    return learned, fixed


def test_edge_popup_opens_the_largest_scores_and_its_gradient_passes_as_by_their_size() -> None:
    kept = {"hidden1.weight": 20, "hidden2.weight": 7}
    learned, fixed = popups(kept)
    gradients = {key: torch.zeros_like(score) for key, score in learned.items()}
    LESSONS["edge-popup"].lesson(MODEL.forward, cross_entropy)(learned, fixed, gradients)(X, Y)
    gates = lessons.top_gates(learned, fixed)
    for m in range(2):
        scores = {key: score[m].double().requires_grad_() for key, score in learned.items()}
        opened = {}
        for key, score in scores.items():
            chosen = score.detach().abs().flatten().sort(descending=True).indices[: kept[key]]
            assert set(chosen.tolist()) == set(gates[key][m].flatten().nonzero().flatten().tolist())
            opened[key] = gates[key][m].double() + score.abs() - score.abs().detach()
        F.cross_entropy(logits_behind(opened, fixed, m), Y[m]).backward()
        for key, score in scores.items():
            torch.testing.assert_close(gradients[key][m].double(), score.grad, rtol=1e-4, atol=1e-7)
    network = LESSONS["edge-popup"].network(learned, fixed, None)
    assert all(int((network[key][m] != 0).sum()) == count for m in range(2) for key, count in kept.items())


def plainly(word: str, weights: Tensors, x: torch.Tensor) -> torch.Tensor:
    """The logits of conv-4 or conv-6, in a few lines of torch; weights (*shape) of one model, x (B, 1, 8, 8)."""
    for name in [name for name in weights if name.endswith("weight")]:
        w, bias = weights[name], weights[name.replace("weight", "bias")]
        x = F.conv2d(x, w, bias, padding=1) if w.dim() == 4 else F.linear(x.flatten(1), w, bias)
        x = x if name == "output.weight" else x.relu()
        pooled = ("features.2.weight", "features.7.weight", "features.12.weight")
        x = F.max_pool2d(x, 2) if name in pooled else x
    return x


@pytest.mark.parametrize("lesson", ["rescaled-supermask", "edge-popup"])
@pytest.mark.parametrize("word", ["conv-4", "conv-6"])
def test_masks_of_convolutions_are_learned_as_plain_torch_says(word: str, lesson: str) -> None:
    """Gates in front of constants, the gradient straight through them; every second weight of each layer counts."""
    model, teaching = architecture(word, (1, 8, 8), 3), LESSONS[lesson]
    drawn = {n: stream(0, n).standard_normal(s, dtype="float32") / prod(s[1:]) ** 0.5 for n, s in model.shapes.items()}
    start = {name: torch.from_numpy(w) for name, w in drawn.items()}
    kept = {name: start[name].numel() // 2 for name in model.prunable}
    learned, fixed = teaching.split(start, model.prunable, kept, partial(stream, 1))
    learned, fixed = ({name: w.unsqueeze(0) for name, w in each.items()} for each in (learned, fixed))
    chance = (
        torch.from_numpy(stream(2, "chance").random((1, model.size), dtype="float32")) if teaching.chances else None
    )
    gradients = {name: torch.zeros_like(score) for name, score in learned.items()}
    x, y = torch.from_numpy(stream(3, "x").standard_normal((1, 6, 1, 8, 8), dtype="float32")), torch.arange(6)[None] % 3
    teaching.lesson(model.forward, cross_entropy)(learned, fixed, gradients)(
        x, y, *([chance] if chance is not None else [])
    )
    assert teaching.gates
    opened, scores, seen = teaching.gates(learned, fixed, chance), {}, {n: w.double() for n, w in start.items()}
    for name, score in learned.items():
        scores[name] = score[0].double().requires_grad_()
        p = scores[name].sigmoid() if teaching.chances else scores[name].abs()
        gate = opened[name][0].double() + p - p.detach()
        times = gate.numel() / float(opened[name].sum()) if teaching.chances else 1
        seen[name] = seen[name] * gate * times
        assert teaching.chances or int(opened[name].sum()) == kept[name]
    F.cross_entropy(plainly(word, seen, x[0].double()), y[0]).backward()
    for name, score in scores.items():
        torch.testing.assert_close(gradients[name][0].double(), score.grad, rtol=1e-3, atol=1e-7)


def test_scores_of_edge_popup_start_kaiming_uniform_another_draw_for_each_seed() -> None:
    learned, _ = popups({"hidden1.weight": 20, "hidden2.weight": 7})
    for name, fan_in in (("hidden1.weight", 5), ("hidden2.weight", 9)):
        largest = learned[name].abs().max()
        assert 0.8 < largest * fan_in**0.5 <= 1 and not torch.equal(learned[name][0], learned[name][1])


def test_rescaled_weights_are_multiplied_by_size_over_open_gates_of_those_drawn() -> None:
    start = weights()
    learned, fixed = LESSONS["rescaled-supermask"].split(start, MODEL.prunable, counts(0.5), stream)
    chance = torch.from_numpy(stream(2, "chance").random((2, MODEL.size), dtype="float32"))
    network = LESSONS["rescaled-supermask"].network(learned, fixed, chance)
    for name, gate in lessons.gates(learned, fixed, chance).items():
        for m in range(2):
            factor = gate[m].numel() / float(gate[m].sum())
            torch.testing.assert_close(network[name][m], start[name][m] * gate[m] * factor)
    none = {name: torch.full_like(score, -9.0) for name, score in learned.items()}
    assert not any(
        network[name].any() for network in [LESSONS["rescaled-supermask"].network(none, fixed, None)] for name in none
    )


def test_gates_open_as_often_as_their_probability_says() -> None:
    scores = {"a": torch.full((1, 100, 100), -1.2), "b": torch.full((1, 50, 100), 2.0)}
    chance = torch.from_numpy(stream(4, "gates").random((1, 15_000), dtype="float32"))
    for name, gate in lessons.gates(scores, {}, chance).items():
        p = float(scores[name].sigmoid().mean())
        assert abs(float(gate.mean()) - p) < 4 * (p * (1 - p) / gate.numel()) ** 0.5
    likely = lessons.gates(scores, {}, None)
    assert not likely["a"].any() and likely["b"].all()


def test_the_network_of_a_supermask_is_the_frozen_weights_behind_open_gates() -> None:
    start = weights()
    learned, fixed = LESSONS["supermask"].split(start, MODEL.prunable, counts(0.6), stream)
    learned["hidden1.weight"][:, 0] = -1.0
    network = LESSONS["supermask"].network(learned, fixed, None)
    assert not network["hidden1.weight"][:, 0].any() and torch.equal(
        network["hidden1.weight"][:, 1:], start["hidden1.weight"][:, 1:]
    )
    assert all(torch.equal(network[name], start[name]) for name in start if name != "hidden1.weight")


def test_gates_start_at_the_share_asked_for() -> None:
    learned, _ = LESSONS["supermask"].split(weights(), MODEL.prunable, counts(0.3), stream)
    assert all(torch.allclose(score.sigmoid(), torch.tensor(0.3), atol=0.005) for score in learned.values())
    with pytest.raises(UsageError, match="cannot be open with probability 1"):
        LESSONS["supermask"].split(weights(), MODEL.prunable, counts(1.0), stream)


@pytest.mark.parametrize("name", LESSONS)
def test_what_is_learned_and_fixed_makes_a_network_of_the_models_weights(name: str) -> None:
    start = weights()
    kept = {key: start[key][0].numel() // 2 for key in MODEL.prunable}
    learned, fixed = LESSONS[name].split(start, MODEL.prunable, kept, stream)
    fixed = {key: w.expand(2, 1) if key.startswith(lessons.COUNT) else w for key, w in fixed.items()}
    network = LESSONS[name].network(learned, fixed, None)
    assert {key: w.shape for key, w in network.items()} == {key: w.shape for key, w in start.items()}
    assert set(MODEL.prunable) <= set(learned)


def taught_by(teacher: Tensors, name: str = "supervised") -> tuple[Tensors, Tensors]:
    """What two students learn, and what is fixed, the teacher's weights among it."""
    kept = {key: weights()[key][0].numel() // 2 for key in MODEL.prunable}
    learned, fixed = lessons.taught(LESSONS[name]).split(weights(), MODEL.prunable, kept, stream)
    return learned, fixed | {lessons.TEACHER + key: w for key, w in teacher.items()}


def test_a_teacher_answers_to_the_inputs_of_its_student_as_it_does_alone() -> None:
    teacher = {key: 1.5 * w.flip(0) for key, w in weights().items()}
    learned, fixed = taught_by(teacher)
    seen = list[tuple[torch.Tensor, torch.Tensor]]()

    def forward(w: Tensors, x: torch.Tensor, training: bool) -> torch.Tensor:
        assert set(w) == set(MODEL.shapes) and torch.equal(x, X)
        assert training == (w["hidden1.bias"].data_ptr() != fixed[f"{lessons.TEACHER}hidden1.bias"].data_ptr())
        return MODEL.forward(w, x, training)

    def loss(logits: torch.Tensor, y: torch.Tensor, parameters: Tensors, answers: torch.Tensor) -> torch.Tensor:
        seen.append((logits.detach(), answers))
        return distill(logits, y, parameters, answers)

    gradients = {key: torch.zeros_like(w) for key, w in learned.items()}
    lessons.taught(LESSONS["supervised"]).lesson(forward, loss)(learned, fixed, gradients)(X, Y)
    ((logits, answers),) = seen
    for m in range(2):
        for found, network in ((answers, teacher), (logits, weights())):
            alone = MODEL.forward({key: w[m : m + 1] for key, w in network.items()}, X[m : m + 1], False)
            assert torch.equal(found[m], alone[0])
    leaves = {key: w.double().requires_grad_() for key, w in weights().items()}
    total = distill(MODEL.forward(leaves, X.double(), True), Y, {}, answers.double())
    for key, slope in zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradients[key].double(), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["supervised", "frozen", "edge-popup"])
def test_a_teacher_of_share_0_leaves_the_plain_bits(name: str) -> None:
    learned, fixed = taught_by({key: 3 * w for key, w in weights().items()}, name)
    if name == "edge-popup":
        fixed = {key: w.expand(2, 1) if key.startswith(lessons.COUNT) else w for key, w in fixed.items()}
    plain = {key: w for key, w in fixed.items() if not key.startswith(lessons.TEACHER)}
    found = []
    for teaching, beside, loss in (
        (LESSONS[name], plain, cross_entropy),
        (lessons.taught(LESSONS[name]), fixed, partial(distill, share=Share(0))),
    ):
        gradients = {key: torch.ones_like(w) for key, w in learned.items()}
        teaching.lesson(MODEL.forward, loss)(learned, beside, gradients)(X, Y)
        found.append(gradients)
        network = teaching.network(learned, beside, None)
        assert set(network) == set(MODEL.shapes)
    assert all(torch.equal(found[0][key], found[1][key]) and found[0][key].any() for key in learned)


@pytest.mark.parametrize("examples", [12, 7])
def test_dropout_is_that_of_the_definition_and_short_batches_have_their_own_numbers(examples: int) -> None:
    """Against factors by hand, in double precision: what a layer is given, times 0 or 1 / (1 - share)."""
    share, learned = 0.4, weights()
    lesson = lessons.thinned(lessons.supervised, MODEL.inputs, share, 12)(MODEL.forward, cross_entropy)
    gradients = {name: torch.zeros_like(w) for name, w in learned.items()}
    chance = torch.from_numpy(stream(0, "dropout").random((2, 12 * (9 + 7)), dtype="float32"))
    lesson(learned, {}, gradients)(X[:, :examples], Y[:, :examples], chance)
    kept = ((chance.view(2, 12, 16) >= share) / (1 - share))[:, :examples].double()
    assert MODEL.inputs == {"hidden2": 9, "output": 7} and 0.5 < (kept > 0).double().mean() < 0.7
    for m in range(2):
        own = {name: w[m].double().requires_grad_() for name, w in learned.items()}
        h = F.linear(X[m, :examples].double(), own["hidden1.weight"], own["hidden1.bias"]).relu() * kept[m, :, :9]
        h = F.linear(h, own["hidden2.weight"], own["hidden2.bias"]).relu() * kept[m, :, 9:]
        F.cross_entropy(F.linear(h, own["output.weight"], own["output.bias"]), Y[m, :examples]).backward()
        for name, w in own.items():
            torch.testing.assert_close(gradients[name][m].double(), w.grad, rtol=1e-4, atol=1e-6)


def test_a_teacher_answers_without_dropout() -> None:
    student, teacher = weights(), {lessons.TEACHER + name: w for name, w in weights().items()}
    answers: list[torch.Tensor] = []

    def loss(logits: torch.Tensor, y: torch.Tensor, parameters: Tensors, taught: torch.Tensor) -> torch.Tensor:
        answers.extend((logits.detach(), taught))
        return cross_entropy(logits, y, parameters)

    lesson = lessons.taught(LESSONS["supervised"]).lesson
    write = lessons.thinned(lesson, MODEL.inputs, 0.5, 12)(MODEL.forward, loss)
    write(student, teacher, {name: torch.zeros_like(w) for name, w in student.items()})(X, Y, torch.rand(2, 12 * 16))
    torch.testing.assert_close(answers[1], MODEL.forward(weights(), X, False))
    assert not torch.allclose(*answers)
