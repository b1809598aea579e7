"""Targets: the figures and claims that can be asked for by name, and the runs that each stands on."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from sddcli import resolve
from sddcli.core.words import UsageError
from sddcli.families import members
from sddcli.figures import FIGURES, Study, Sweep, Sweeps
from sddcli.spec import Run, Value, unfold

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.claims.deciding.terms import Verdict
    from sddcli.studies import regression


class Target(NamedTuple):
    """What can be asked for by name: a figure of the paper or, with `decide`, a claim.

    panels, beside: as of figures.Figure. needs: the columns that analyses write and that `decide` reads. pairs: which
    pairs of runs an analysis of pairs compares, a word of pairs.PAIRS; "": those that such runs have by themselves.
    along: the axis along which curves are drawn, a word of axes.AXES. shown: field -> the values of the runs that its
    figure shows, where these are not all.
    """

    name: str
    about: str
    source: str
    sweeps: Sweeps
    plot: str
    analyses: tuple[str, ...]
    decide: "Callable[[pd.DataFrame], Verdict] | None" = None
    panels: str = ""
    needs: tuple[str, ...] = ()
    pairs: str = ""
    beside: str = ""
    along: str = ""
    shown: Mapping[str, Sequence[Value]] = MappingProxyType({})

    def studies(self, scale: str) -> "tuple[regression.Study, ...]":
        """The studies of one scale, which have no runs."""
        from sddcli.studies import regression

        asked = [each for each in self.sweeps.get(scale, ()) if isinstance(each, Study)]
        return tuple(regression.from_words(each.words) for each in asked)

    def asked(self, scale: str) -> tuple[Run, ...]:
        """The runs of one scale."""
        return tuple(dict.fromkeys(run for table in plan([self], scale) for run in unfold(table)))


OPTIONAL = ("analyses", "panels", "needs", "pairs", "along", "shown")
"""What a claim's file may say besides, in capitals."""


def claims() -> dict[str, Target]:
    """Each claim by its name, as its file in `sddcli/claims` has it; loads pandas."""
    by_name = {}
    for word in sorted(members("claims"), key=_order):
        claim = import_module(f"sddcli.claims.{word}")
        name, sentence = word[0].upper() + word[1:], str(claim.__doc__).strip()
        target = Target(name, sentence, claim.SOURCE, claim.SWEEPS, claim.FIGURE, (), claim.decide)
        more = {word: getattr(claim, word.upper()) for word in OPTIONAL if hasattr(claim, word.upper())}
        by_name[name] = target._replace(**more)
    return by_name


def _order(word: str) -> tuple[int, str]:
    return int(re.sub(r"\D", "", word) or 0), word


def figures() -> dict[str, Target]:
    """Each figure of the paper by its name."""
    source = "He et al. 2022"
    return {
        name: Target(
            name, each.shows, source, each.sweeps, each.plot, each.analyses, panels=each.panels, beside=each.beside
        )
        for name, each in FIGURES.items()
    }


MANY = ("all", "figures")
"""Words for all claims, and for all figures."""


def named(what: str, scale: str) -> list[Target]:
    """What names, with commas between them, ask for: figures and claims; or one word of MANY; of "" everything.

    Raises UsageError for a name that nothing has, and for a scale that a target lacks.
    """
    known = claims() | figures()
    if not what:
        return list(known.values())
    if what in MANY:
        wanted = figures() if what == "figures" else claims()
        return [each for each in wanted.values() if scale in each.sweeps]
    targets = list(dict.fromkeys(name for word in what.split(",") for name in _meant(word.strip(), known)))
    for name in targets:
        if scale not in known[name].sweeps:
            raise UsageError(f"{name} has no scale {scale}; it has: {', '.join(known[name].sweeps)}")
    return [known[name] for name in targets]


def _meant(word: str, known: Collection[str]) -> list[str]:
    """The names that a word means: one figure, one claim, or the parts of one (C1 is C1a, C1b and C1c)."""
    exact = [name for name in known if name.lower() == word.lower()]
    parts = [name for name in known if re.fullmatch(rf"{re.escape(word)}[a-z]", name, re.IGNORECASE)]
    if not exact and not parts:
        names = {name.lower(): name for name in (*known, *MANY)}
        nearest = [names[each] for each in get_close_matches(word.lower(), names, 1, 0.0)]
        raise UsageError(f"unknown figure or claim {word!r}; did you mean {nearest[0]!r}? sdd reproduce lists them all")
    return exact or parts


def plan(targets: Sequence[Target], scale: str) -> list[resolve.Table]:
    """The tables of values that these targets ask for, each once."""
    asked = [each for target in targets for each in target.sweeps.get(scale, ())]
    sweeps = {each.command(): each for each in asked if isinstance(each, Sweep)}
    tables = [table for sweep in sweeps.values() for table in tables_of(sweep)]
    return [table for k, table in enumerate(tables) if table not in tables[:k]]


def tables_of(sweep: Sweep) -> list[resolve.Table]:
    """The tables of values that one sweep asks for."""
    return resolve.plan(sweep.words, protocol=sweep.protocol)
