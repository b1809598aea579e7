"""Families: a new member of a table is one entry, and is trained, saved and verified without a line anywhere else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sddcli.core.allocation import ALLOCATIONS, Allocation
from sddcli.core.criteria import CRITERIA, Criterion
from sddcli.core.inits import INITS, kaiming
from sddcli.core.lessons import LESSONS, Teaching, supervised
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.maskings import MASKINGS, Masking
from sddcli.core.noise import NOISES
from sddcli.core.optimizers import MEMORY, OPTIMIZERS, sgd
from sddcli.core.retraining import RETRAININGS, Origin, Retraining, lottery, ticket, untrained
from sddcli.core.starts import STARTS
from sddcli.core.timetables import TIMETABLES
from sddcli.core.units import UNITS, Layout, Unit, grouped
from sddcli.events import Event, Failed
from sddcli.recipes import prune_retrain, verifying
from sddcli.spec import Run, with_parents
from sddcli.store import Store

RUN = Run(
    "digits", "lenet-16-8", noise=0.2, criterion="magnitude", rate=0.4, level=2, retraining="lottery", epochs=2,
    batch_size=100, train_size=300,
)  # fmt: skip


def smallest(net: Any) -> Any:
    return {name: -w.abs() for name, w in net.final.items()}


def from_the_first_step(run: Run) -> Origin:
    return lottery(run)._replace(schedule="full")


def mirrored(masks: Any, prune: Any, draw: Any) -> Any:
    return {name: mask.flip(0) for name, mask in masks.items()}


def rows(layout: Layout) -> Unit:
    def members(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()

    return grouped(layout, members, max(shape[1] for shape in layout.shapes.values()))


def patient(steps: int) -> dict[int, Callable[..., Any]]:
    return {3: lambda state, context: replace(state, masks=context.prune(state, context.targets))}


def frozen(weights: Any, prunable: Any, density: float) -> Any:
    learned = {name: w for name, w in weights.items() if name in prunable}
    return learned, {name: w for name, w in weights.items() if name not in prunable}


def of_masking(run: Run) -> Origin:
    return lottery(run)._replace(masks=lottery(run).masks._replace(run=ticket(run), masking="mine"))


MINE: dict[str, tuple[list[tuple[dict[str, Any], Any]], dict[str, str]]] = {
    # family -> (table, entry) and the field that names it
    "criterion": ([(CRITERIA, Criterion(smallest))], {"criterion": "mine"}),
    "allocation": ([(ALLOCATIONS, Allocation(lambda shapes, kept, _: dict.fromkeys(shapes, 16)))], {"scope": "mine"}),
    "unit": ([(UNITS, rows)], {"unit": "mine"}),  # type: ignore[list-item]
    "start": ([(STARTS, lambda weights, masks, draw: {n: 2 * w for n, w in weights.items()})], {"start": "mine"}),  # type: ignore[list-item]
    "noise": ([(NOISES, lambda labels, rate, classes, draw: (labels + 1) % classes.number)], {"noise_kind": "mine"}),
    "init": ([(INITS, lambda shapes, draw: {n: w / 2 for n, w in kaiming(shapes, draw).items()})], {"init": "mine"}),
    "loss": ([(LOSSES, lambda logits, y, parameters: 2 * cross_entropy(logits, y, parameters))], {"loss": "mine"}),
    "optimizer": ([(OPTIMIZERS, sgd), (MEMORY, ("velocity",))], {"optimizer": "mine"}),  # type: ignore[list-item]
    "retraining": ([(RETRAININGS, Retraining(from_the_first_step))], {"retraining": "mine"}),
    # These three are reached by a retraining that names them.
    "masking": (
        [(MASKINGS, Masking(mirrored, lambda own, other: True)), (RETRAININGS, Retraining(of_masking))],
        {"retraining": "mine"},
    ),
    "lesson": (
        [
            (LESSONS, Teaching(frozen, supervised, lambda learned, fixed, chance: learned | fixed)),  # type: ignore[list-item]
            (RETRAININGS, Retraining(lambda run: lottery(run)._replace(lesson="mine"))),
        ],
        {"retraining": "mine"},
    ),
    "timetable": (
        [(TIMETABLES, patient), (RETRAININGS, Retraining(lambda run: untrained(run)._replace(timetable="mine")))],  # type: ignore[list-item]
        {"retraining": "mine"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", MINE)
def test_a_new_member_is_one_entry(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, words = MINE[family]
    for table, entry in entries:
        monkeypatch.setitem(table, "mine", entry)
    run = replace(RUN, **words)  # type: ignore[arg-type]
    store, events = Store(tmp_path), list[Event]()
    for each in with_parents([run]):
        prune_retrain.work(store, [each], {}, "cpu", events.append)
    assert not [event.reason for event in events if isinstance(event, Failed)]
    assert store.finished(run) and run != RUN
    assert [wrong for _, wrong in verifying.verified(store, evaluate=True) if wrong] == []
