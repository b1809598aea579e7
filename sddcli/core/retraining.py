"""Retraining: for each pruned run, all of its descent. Words only, no torch.

Whose masks it takes and what becomes of them, whose weights and from which moment, by which schedule, lesson and
timetable: parents, the dense run at the root and what trains side by side follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sddcli.core.criteria import Criterion, criterion
from sddcli.core.losses import LOSSES
from sddcli.core.words import Answer, Positive, UsageError, Whole, parameters, pick, unknown

if TYPE_CHECKING:
    from sddcli.spec import Run

NO, RATE = Answer("no"), Positive(0.1)
PRUNINGS = ("iterative", "one-shot")
Moment = Literal["initial", "step", "final", "fresh"]
"""A moment of a run's training: its start, the rewind step, its end; "fresh": weights drawn anew for this level."""


class Masks(NamedTuple):
    """The run that masks come from; masking: what becomes of them, a word of maskings.MASKINGS; moment: which of that
    run's weights are ranked.

    At the moments "initial" and "fresh" that run need not be trained: its masks are made anew, level by level.
    """

    run: Run
    masking: str
    moment: Moment = "final"


class Weights(NamedTuple):
    """The run whose weights are taken, and at which moment of its training."""

    run: Run
    moment: Moment


LEARNED_MASKS = ("supermask", "rescaled-supermask", "edge-popup")
"""The lessons, words of lessons.LESSONS, that leave weights as they are and learn which of them count."""


class Origin(NamedTuple):
    """All that a retraining decides.

    schedule: "full" is the run's own from step 0 on, "rewound" from its rewind step on; "last" keeps one learning rate
    for as many steps; by "none" nothing is trained. lr: of "last" that rate, 0 for the last one of the full schedule;
    of "full" the first rate, 0 for the run's own. lesson: what a step teaches, a word of lessons.LESSONS; timetable:
    what happens between the segments of the training, a word of timetables.TIMETABLES. frozen: of the lesson "frozen"
    what pruned weights stay at, a word of starts.FREEZINGS. cycles: how often the schedule is gone
    through, each time that much faster. more: runs whose trained weights are looked at beside those of masks and start.
    """

    masks: Masks
    start: Weights
    schedule: Literal["full", "rewound", "last", "none"]
    lr: float = 0.0
    lesson: str = "supervised"
    timetable: str = ""
    frozen: str = ""
    cycles: int = 1
    more: tuple[Run, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether masks are others at the end of training than at its start."""
        return self.lesson in LEARNED_MASKS or bool(self.timetable)


class Retraining(NamedTuple):
    """origin(run, *, parameters): what it decides for a run.

    rewinds: whether the rewind step matters to it, also where only the lottery run is rewound whose masks it takes.
    ranks: whether a criterion ranks weights for its masks; scope: where none does, the allocation that it has, "" for
    that of the run. chained: whether a level is pruned from another one, so that `pruning`, iterative or one-shot,
    matters.
    """

    origin: Callable[..., Origin]
    rewinds: bool = False
    ranks: bool = True
    chained: bool = True
    scope: str = "global"


def previous(run: Run) -> Run:
    """The run that is pruned further: one level up (iterative), or the dense one (one-shot).

    Raises UsageError where `pruning` is neither.
    """
    if run.pruning not in PRUNINGS:
        raise unknown("pruning", run.pruning, PRUNINGS)
    return replace(run, level=run.level - 1 if run.pruning == "iterative" else 0)


def dense(run: Run) -> Run:
    """The dense run of the same data, model and seeds."""
    return replace(run, level=0)


def ticket(run: Run) -> Run:
    """The lottery run of the same level, whose masks or weights other retrainings take."""
    return replace(run, retraining="lottery")


def pruned(run: Run, untrained: Moment = "initial") -> Masks:
    """The masks of the run before, pruned further; untrained: which weights a criterion at initialization ranks."""
    return Masks(previous(run), "prune", untrained if criterion(run.criterion).moment == "initial" else "final")


def rewound(run: Run) -> Weights:
    """The dense run's weights at the rewind step."""
    return Weights(dense(run), "initial" if run.rewind == "0it" else "step")


def trained(run: Run) -> Weights:
    """The trained weights of the run before.

    Raises UsageError where its masks are made before training, level by level, and it would be trained for these alone.
    """
    if run.pruning == "iterative" and criterion(run.criterion).moment == "initial":
        raise UsageError(
            f"criterion {run.criterion} ranks weights before training, and retraining {run.retraining} goes on from "
            "trained ones, level by level: take --retraining lottery, or --pruning one-shot"
        )
    return Weights(previous(run), "final")


def lottery(run: Run) -> Origin:
    """Survivors go back to the dense run's weights at the rewind step (Frankle & Carbin 2019; He et al. 2022)."""
    return Origin(pruned(run), rewound(run), "rewound")


def finetune(run: Run, *, lr: float = 0.0) -> Origin:
    """Survivors keep their trained weights; the last learning rate, or `lr`, throughout (Han et al. 2015)."""
    return Origin(pruned(run), trained(run), "last", lr)


def lr_rewind(run: Run) -> Origin:
    """Survivors keep their trained weights; the schedule is replayed from the rewind step (Renda et al. 2020)."""
    return Origin(pruned(run), trained(run), "rewound")


def lottery_finetune(run: Run) -> Origin:
    """Survivors go back as in lottery; the last learning rate throughout, as in finetune.

    The fifth way in the released code of Renda et al. (2020): it tells what weights contribute from what rates do.
    """
    return Origin(pruned(run), rewound(run), "last")


def cyclic(run: Run, *, cycles: int = 2) -> Origin:
    """Survivors keep their trained weights; within the training the schedule is replayed so many times (warm restarts).

    Each is shorter by that factor, so that the length of training stays (Loshchilov & Hutter 2017, at every level).
    Raises UsageError for fewer than 2.
    """
    if cycles < 2:
        raise UsageError(f"retraining cyclic takes 2 cycles or more, got {cycles}")
    return Origin(pruned(run), trained(run), "full", cycles=cycles)


def scratch(run: Run) -> Origin:
    """New random weights at every level; the masks are pruned along this chain itself (He et al. 2022)."""
    return Origin(pruned(run, untrained="fresh"), Weights(dense(run), "fresh"), "full")


def reinit(run: Run) -> Origin:
    """New random weights under the lottery chain's masks: the ticket's control (He et al. 2022, figure 10)."""
    return Origin(Masks(ticket(run), "same"), Weights(dense(run), "fresh"), "full")


def shuffle(run: Run) -> Origin:
    """The ticket's weights under its masks, permuted within each layer: does it matter where they lie?

    That is, under random masks of the same number of weights in each layer (Frankle & Carbin 2019).
    """
    return Origin(Masks(ticket(run), "shuffle"), rewound(run), "rewound")


def transferred(
    run: Run,
    *,
    dataset: str = "",
    half: str = "",
    optimizer: str = "",
    lr: float = 0.0,
    noise: float = -1.0,
    order_seed: int = -1,
    init_seed: int = -1,
    take: str = "all",
) -> Origin:
    """The ticket of a run of other data, optimizer or seeds, trained as this one is (Morcos et al. 2019).

    Each parameter is what that run has instead of this one's own; half: a or b, the half of the data set it is of.
    take: "all", weights at the rewind step and masks; "masks" alone, on the weights of this run's own dense network.
    With order_seed, networks of several data orders grow from one rewind point (Frankle et al. 2020). Where classes
    differ the output layer is drawn anew and not pruned. Raises UsageError for another word of `take`.
    """
    if take not in ("all", "masks"):
        raise unknown("part of a ticket to take:", take, ("all", "masks"))
    other: dict[str, Any] = {"optimizer": optimizer, "lr": lr, "dataset": dataset}
    other = {name: value for name, value in other.items() if value}
    numbers = {"noise": noise, "order_seed": order_seed, "init_seed": init_seed}
    other |= {name: value for name, value in numbers.items() if value >= 0}
    if half:
        other["dataset"] = f"{other.get('dataset', run.dataset).partition(':half=')[0]}:half={half}"
    source = replace(ticket(run), **other)
    return Origin(Masks(source, "same"), rewound(source if take == "all" else run), "rewound")


def permute(run: Run) -> Origin:
    """The ticket's weights under its masks, permuted among all layers: does each layer's density matter?

    A control of Morcos et al. (2019) and Frankle et al. (2021).
    """
    return Origin(Masks(ticket(run), "permute"), rewound(run), "rewound")


def freeze(run: Run, *, pruned: str = "start") -> Origin:
    """The ticket, whose pruned weights stay at the values that they start from instead of 0 (Zhou et al. 2019).

    pruned: which values these are, a word of starts.FREEZINGS, such as zero-fallen. All others are trained as in
    lottery. What training made smaller is decided by the trained dense network.
    """
    origin = Origin(Masks(ticket(run), "open"), rewound(run), "rewound", lesson="frozen", frozen=pruned)
    return origin._replace(more=(dense(run),))


def redense(run: Run, *, lr: float = 0.0) -> Origin:
    """The lottery run goes on with all weights, pruned ones from 0, at its last rate or `lr` (He et al. 2022)."""
    return Origin(Masks(ticket(run), "open"), Weights(ticket(run), "final"), "last", lr)


def gradual(run: Run, *, start: float = 0.0, end: float = 0.5, events: int = 20) -> Origin:
    """One training from the initialization, in which masks are pruned along a cubic ramp down to the level's density.

    start, end: shares of the training; events: so many prunings between them (Zhu & Gupta 2017). Raises UsageError
    unless 0 <= start < end < 1 and there is an event.
    """
    if not 0 <= start < end < 1:
        raise UsageError(
            f"retraining gradual takes 0 <= start < end < 1, shares of training, got {start:g} and {end:g}"
        )
    if events < 1:
        raise UsageError(f"retraining gradual takes 1 event or more, got {events}")
    return untrained(run)._replace(timetable=f"gradual:start={start!r}:end={end!r}:events={events}")


def mask_only(run: Run) -> Origin:
    """The lottery chain's masks on weights that nothing trains, measured as they are (Zhou et al. 2019, section 4).

    `start` says which values these have, such as constant. The chain that the masks come from has its own values.
    """
    return Origin(pruned(replace(ticket(run), start="original")), rewound(run), "none")


def supermask(run: Run, *, lr: float = 10.0, rescale: Answer = NO) -> Origin:
    """Initial weights stay as they are; which of them count is learned (Zhou et al. 2019, section 4).

    The level sets the share of gates that are open at first; how many are in the end, training decides. lr: the first
    learning rate of the scores, instead of the run's own: their gradients are far smaller than those of weights.
    rescale: whether the weights of each layer are multiplied by size / number of open gates. `start` says which values
    weights have, such as constant. Raises UsageError unless lr is above 0.
    """
    if not 0 < lr < inf:
        raise UsageError(f"retraining supermask takes a learning rate above 0, got {lr:g}")
    return untrained(run)._replace(lr=lr, lesson="rescaled-supermask" if rescale else "supermask")


def edge_popup(run: Run, *, lr: Positive = RATE) -> Origin:
    """Initial weights stay as they are; in each layer those of the largest |score| count, as many as the level keeps.

    Scores learn, at the first learning rate lr instead of the run's own (Ramanujan et al. 2020).
    """
    return untrained(run)._replace(lr=lr, lesson="edge-popup")


def static(run: Run) -> Origin:
    """One training from the initialization under random masks of the level's density, which stay as they are.

    What masks that move are compared with: the dense network is not trained for it.
    """
    return untrained(run)._replace(masks=Masks(dense(run), "prune", "initial"))


def set_(run: Run, *, drop: float = 0.3, every: str = "100it", end: float = 0.75) -> Origin:
    """One training under masks that start at random; at intervals small weights go, and random ones come (SET).

    drop: the share of each layer's weights that moves, every so many steps or epochs (100it, 1ep) up to the share `end`
    of the training (Mocanu et al. 2018: every=1ep:end=1). Raises UsageError for shares that are none, or no interval.
    """
    return _moving(run, "set", "drop", drop, every, end)


def rigl(run: Run, *, alpha: float = 0.3, every: str = "100it", end: float = 0.75) -> Origin:
    """The same, where those weights come whose gradients are largest; ever fewer move, along a cosine (RigL).

    alpha: the share of each layer's weights that moves at first (Evci et al. 2020). Raises UsageError as `set_`.
    """
    return _moving(run, "rigl", "alpha", alpha, every, end)


def _moving(run: Run, word: str, name: str, share: float, every: str, end: float) -> Origin:
    if not 0 < share <= 1 or not 0 < end <= 1:
        raise UsageError(f"retraining {word} takes shares above 0 and up to 1, got {name}={share:g} and end={end:g}")
    number, unit = steps_or_epochs(f"every of retraining {word}", every)
    if not number:
        raise UsageError(f"every of retraining {word} takes 1 step or epoch or more, got {every!r}")
    timetable = f"{word}:{name}={share!r}:every={number}{unit}:end={end!r}"
    return static(run)._replace(timetable=timetable)


TARGETS, ONE = ("smallest", "largest"), Whole(1)


def events(
    run: Run,
    *,
    target: str = "smallest",
    period: str = "1ep",
    start: str = "0.1",
    end: str = "0.5",
    share: str = "",
    layers: Whole = ONE,
    batches: int = 0,
    noise: Answer = NO,
) -> Origin:
    """One training from the initialization, in which filters or neurons of the last `layers` layers are removed.

    A few at each event, every `period` (4ep, 100it); which is up to the criterion, whose smallest or largest go
    (target), or at random. start, end, share: for each of these layers or for all, parted by /: the first event and the
    last, in epochs or shares of the training, and which share of its filters goes in all, instead of the level's.
    batches: they are 0 for so many only, and come back as they were (Bartoldson et al. 2020). noise: none is removed;
    instead noise is added to their weights before each of so many batches, and they learn on. Raises UsageError for
    another target, no period, or noise for no batch.
    """
    if target not in TARGETS:
        raise unknown("target of events:", target, TARGETS)
    number, _ = steps_or_epochs("period of events", period)
    if not number or batches < 0:
        raise UsageError(f"events take a period of 1 step or more and 0 batches or more, got {period} and {batches}")
    if noise and not batches:
        raise UsageError("events that add noise say before how many batches: batches=1 or more")
    ramp = f"period={period}:start={start}:end={end}:share={share}:layers={layers}:batches={batches}:noise={noise}"
    return untrained(run)._replace(timetable=f"events:target={target}:{ramp}")


def untrained(run: Run) -> Origin:
    """All of the dense network at its initialization, for a training that makes its masks itself."""
    return Origin(Masks(dense(run), "open", "initial"), Weights(dense(run), "initial"), "full")


RETRAININGS: dict[str, Retraining] = {
    "lottery": Retraining(lottery, rewinds=True),
    "finetune": Retraining(finetune),
    "lr-rewind": Retraining(lr_rewind, rewinds=True),
    "lottery-finetune": Retraining(lottery_finetune, rewinds=True),
    "cyclic": Retraining(cyclic),
    "scratch": Retraining(scratch),
    "reinit": Retraining(reinit, rewinds=True),
    "shuffle": Retraining(shuffle, rewinds=True),
    "ticket": Retraining(transferred, rewinds=True),
    "permute": Retraining(permute, rewinds=True),
    "freeze": Retraining(freeze, rewinds=True),
    "redense": Retraining(redense, rewinds=True),
    "gradual": Retraining(gradual, chained=False),
    "static": Retraining(static, ranks=False, chained=False, scope=""),
    "set": Retraining(set_, ranks=False, chained=False, scope=""),
    "rigl": Retraining(rigl, ranks=False, chained=False, scope=""),
    "events": Retraining(events, chained=False),
    "mask-only": Retraining(mask_only, rewinds=True),
    "supermask": Retraining(supermask, ranks=False, chained=False),
    "edge-popup": Retraining(edge_popup, ranks=False, chained=False, scope="layer"),
}


def origin(run: Run) -> Origin:
    """What `run`'s retraining decides. Raises UsageError for an unknown one, or one that its criterion rules out."""
    return pick("retraining", run.retraining, RETRAININGS).origin(run)


def masks_of(run: Run) -> Masks:
    """Whose masks `run` takes, and what becomes of them."""
    return origin(run).masks


def start_of(run: Run) -> Weights:
    """Whose weights, and from which moment, `run` starts from."""
    return origin(run).start


def lesson_of(loss: str) -> dict[str, Any]:
    """The parameters of a loss with a teacher, name -> value; {} of any other. Raises UsageError for wrong ones."""
    return parameters(pick("loss", loss, LOSSES)) if loss.split(":")[0] == "distill" else {}


def teacher(run: Run) -> Run | None:
    """The run whose answers `run` learns from beside its labels; None where it has none, as dense networks."""
    if not run.level or not (words := lesson_of(run.loss)):
        return None
    plain = replace(ticket(run), loss="cross-entropy", start="original", dataset=words["dataset"] or run.dataset)
    return dense(plain) if words["teacher"] == "dense" else replace(plain, level=int(words["teacher"]))


def parents(run: Run) -> tuple[Run, ...]:
    """The runs that must be trained before this one can start, each once."""
    if run.level == 0:
        return ()
    masks, start, *_ = (descent := origin(run))
    needed = [masks.run] * (masks.moment == "final") + [start.run] * (start.moment in ("step", "final"))
    taught = teacher(run)
    return tuple(dict.fromkeys([*needed, *descent.more, *([taught] if taught else [])]))


def root(run: Run) -> Run:
    """The dense run that `run`'s weights descend from, however many levels above."""
    run = replace(run, level=min(run.level, 1))  # all levels of a chain have the same
    while run.level:
        run = start_of(run).run
    return run


def rounds(run: Run) -> tuple[Run, ...]:
    """The runs whose criteria prune full masks one after the other, for a run that is pruned before training.

    All levels up to its own where it is pruned iteratively, else it alone.
    """
    above = masks_of(run).run
    return (*(rounds(above) if above.level else ()), run)


def ranking(run: Run) -> Criterion:
    """The criterion that ranks weights for the masks of `run`; at random where its retraining has none."""
    return criterion(run.criterion or "random")


def steps_or_epochs(field: str, text: str) -> tuple[int, Literal["it", "ep"]]:
    """The steps or epochs that "1000it" or "5ep" means. Raises UsageError naming `field` where a text means neither."""
    match = re.fullmatch(r"(\d{1,9})(it|ep)", text)
    if not match:
        raise UsageError(f"{field} takes steps or epochs, such as 1000it or 5ep, got {text!r}")
    return int(match[1]), "it" if match[2] == "it" else "ep"


def rewind_steps(text: str, steps_per_epoch: int, field: str = "rewind") -> int:
    """The optimizer step that a rewind point, or the text of another field, means. Raises as `steps_or_epochs`."""
    number, unit = steps_or_epochs(field, text)
    return number if unit == "it" else number * steps_per_epoch
