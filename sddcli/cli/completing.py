"""Completing: what a shell offers for a word that is begun. Loads no torch: whoever presses a key waits for it.

Nothing is offered where a file is meant: shells then offer files.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from sddcli.families import members, names_in
from sddcli.figures import FIGURES
from sddcli.spec import FIELDS
from sddcli.store import Store, StoreError

Offer = Callable[[str], list[str]]
"""The word as far as it is written -> whole words."""


def among(names: Iterable[str]) -> Offer:
    """Offers these names, of lists such as magnitude,random the names behind the last comma."""

    def offer(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        written = before.split(",")
        return [before + comma + name for name in names if name.startswith(begun) and name not in written]

    return offer


def of_field(name: str) -> Offer:
    """Offers the members of the table of a field of Run; nothing where it has none."""
    table = FIELDS[name].metadata["table"]
    return among(names_in(table) if table else ())


def of_settings(incomplete: str) -> list[str]:
    """Of KEY=LIST the names of fields, and behind the = the members of its table."""
    name, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{field}=" for field in FIELDS if field.startswith(name)]
    return [f"{name}={word}" for word in of_field(name)(value)] if name in FIELDS else []


def of_runs(incomplete: str) -> list[str]:
    """The folders of runs that begin so: chains, and levels of the chain that is written whole.

    Of a word without a folder those in runs/ are offered.
    """
    folder, slash, _ = incomplete.rpartition("/")
    chain = Path(folder or "runs")
    root, depth = (chain.parent, 2) if any(chain.glob("level-*/manifest.json")) else (chain, 1)
    try:
        paths = [Path(path) for path, _ in Store(root).stamps()]
    except (StoreError, OSError):
        return []
    offered = dict.fromkeys(str(root / Path(*path.parts[:depth])) for path in paths if len(path.parts) >= depth)
    return [path for path in offered if path.startswith(incomplete) or (not slash and "/" not in incomplete[:-1])]


def of_targets(incomplete: str) -> list[str]:
    """What sdd reproduce takes: figures, and claims by the names of their files."""
    claims = [name[0].upper() + name[1:] for name in members("claims")]
    return among((*FIGURES, *claims, "all", "figures"))(incomplete)
