"""Records: results of runs kept as CSV files in a folder, and beside them where each is from."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sddcli import table
from sddcli.files import StoreError, write
from sddcli.spec import FIELDS, SUBSEEDS, Run
from sddcli.store import Store

ROW = ["chain", "level"]
"""What tells the rows of a record apart."""
ORIGINS = "origins.json"
Origin = Mapping[str, str]
"""Where results are from: their commit, date, engine and command; of recorded ones the file too.

Values are lists with commas; engines are as `trained_by` writes them, in records of an older sdd without networks.
"""
UNKNOWN: Origin = {"engine": "unknown"}


class Records(NamedTuple):
    """The recorded results of a folder: file name -> rows, and file name -> where they are from."""

    folder: Path
    files: Mapping[str, pd.DataFrame]
    origins: Mapping[str, Origin]


def read(folder: Path) -> Records:
    """All records of a folder. Raises StoreError where there are none, or one cannot be read."""
    files = {path.name: table.read(path) for path in sorted(folder.glob("*.csv"))}
    if not files:
        raise StoreError(f"no recorded results in {folder}; a folder of them has .csv files, which --record writes")
    return Records(folder, files, _origins(folder))


def rows(
    records: Records, asked: Sequence[Run], needs: Collection[str] = (), studied: Collection[str] = ()
) -> tuple[pd.DataFrame, Origin]:
    """The rows of these runs, all of which are recorded, and where they are from; first those that have `needs`.

    studied: the ids of estimates of studies, whose rows are wanted too.
    """
    used, _ = _used(records, {run.id for run in asked} | set(studied), needs)
    both = pd.concat([records.files[name] for name in used])
    frame = pd.concat([table.of_runs(both, asked), both[both["run"].isin(studied)]])
    origins = [_origin(records, name, ids) for name, ids in used.items()]
    return frame.drop_duplicates(ROW), joined(origins)


def _origin(records: Records, name: str, ids: Collection[str]) -> dict[str, str]:
    """Where the rows of these runs in a file are from; of its engines those that trained their networks."""
    frame, origin = records.files[name], {**UNKNOWN, **records.origins.get(name, {})}
    models = sorted(set(frame.loc[frame["run"].isin(ids), "model"]))
    # A record of an older sdd does not say which network is of which of its engines: any may be of each.
    engines = [(engine, own) for engine, model in trained(origin) for own in ([model] if model else models)]
    return {"file": name, **origin, "engine": ", ".join(trained_by(*each) for each in engines if each[1] in models)}


def trained_by(engine: str, model: str) -> str:
    """An engine and a network that it trained, as an origin has them: a45c4a32 of lenet-300-100."""
    return f"{engine}{OF}{model}"


OF = " of "


def trained(origin: Origin) -> list[tuple[str, str]]:
    """The engines of an origin, each with a network that it trained, "" where that is not known."""
    return [(engine, model) for engine, _, model in (text.partition(OF) for text in origin["engine"].split(", "))]


def missing(records: Records, asked: Sequence[Run], studied: Collection[str] = ()) -> str:
    """How many of these runs are not recorded, and in which fields those that are differ; "" where all are.

    studied: as of `rows`.
    """
    _, left = _used(records, {run.id for run in asked} | set(studied))
    if not left:
        return ""
    if left <= set(studied):
        return f"{records.folder} lacks {len(left)} of {len(set(studied))} estimates of a study"
    frame = pd.concat(records.files.values())
    kin = frame[frame["dataset"].isin({run.dataset for run in asked}) & (frame["level"] > 0)]
    names = [name for name in FIELDS if name not in ("level", "seed", *SUBSEEDS)]
    pairs = [(name, set(kin[name]), {getattr(run, name) for run in asked if run.level}) for name in names]
    other = [f"{name} {_listed(kept)} and not {_listed(mine)}" for name, kept, mine in pairs if not kept & mine]
    why = f"; those of another protocol have {', '.join(other)}" if not kin.empty and other else ""
    return f"{records.folder} lacks {len(left)} of {len(set(asked))} runs{why}"


def origin_of(store: Store, ids: Collection[str], damaged: list[StoreError] | None = None) -> Origin:
    """Where the finished runs of a folder that have these ids are from. damaged: as of `store.manifests`."""
    made = [(run, manifest) for run, manifest in store.manifests(damaged) if run.id in ids]
    when = max((store.folder(run) / "manifest.json").stat().st_mtime for run, _ in made)
    commits = {str(manifest.get("commit") or "")[:12] for _, manifest in made}
    engines = {trained_by(manifest.get("engine") or "unknown", run.model) for run, manifest in made}
    origin = {"commit": ", ".join(sorted(commits)), "date": f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}"}
    return {**origin, "engine": ", ".join(sorted(engines)), "file": str(store.root)}


def save(path: Path, frames: Iterable[pd.DataFrame], origins: Sequence[Origin], command: str) -> None:
    """Adds rows, each once, to a CSV file, and beside it where they are from: origins, but for files; command.

    Of a run that the file has already the new row counts. Raises StoreError for a file that is no record.
    """
    both = pd.concat(frames)
    # Of the same run a later frame may have what more analyses say: of each column the first number counts.
    rows = both.groupby(ROW, sort=False, as_index=False).first()[list(both)]
    known = _origins(path.parent)
    every = [{name: text for name, text in each.items() if name != "file"} | {"command": command} for each in origins]
    if path.exists():
        kept = table.read(path).merge(rows[ROW], on=ROW, how="left", indicator=True)
        kept = kept[kept.pop("_merge") == "left_only"]
        if not kept.empty:
            rows, every = pd.concat([kept, rows]), [dict(known.get(path.name, UNKNOWN)), *every]
    write(path, _essential(rows).to_csv(index=False, lineterminator="\n", float_format="%.7g").encode())
    write(path.parent / ORIGINS, json.dumps(known | {path.name: joined(every)}, indent=1).encode() + b"\n")


def _essential(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` without the columns that `table.read` fills in: fields at their default, numbers that no run has."""
    usual = [name for name, f in FIELDS.items() if (rows[name] == f.default).all()]
    usual += [name for name in SUBSEEDS if (rows[name] == rows["seed"]).all()]
    empty = [name for name in rows if rows[name].isna().all()]
    return rows.drop(columns=[name for name in {*usual, *empty} if name not in table.NEEDED])


def joined(origins: Sequence[Origin]) -> dict[str, str]:
    """One origin of results of several, some of them joined before: each fact with its values, each once."""
    names = dict.fromkeys(name for origin in origins for name in origin)
    texts = {name: [origin.get(name, "unknown") for origin in origins] for name in names}
    return {
        name: ", ".join(dict.fromkeys(values if name == "command" else ", ".join(values).split(", ")))
        for name, values in texts.items()
    }


def _used(records: Records, ids: set[str], needs: Collection[str] = ()) -> tuple[dict[str, set[str]], set[str]]:
    """The files that rows are taken from, each with the ids of its runs, of those given; and the ids that none has."""
    own = {name: frame[frame["run"].isin(ids)].drop_duplicates("run") for name, frame in records.files.items()}
    held = {name: len(frame) for name, frame in own.items()}
    dates = {name: records.origins.get(name, {}).get("date", "") for name in records.files}
    measured = {
        name: sum(int(frame[column].notna().sum()) for column in needs if column in frame)
        for name, frame in own.items()
    }
    # The record comes first that has more of the numbers needed, then that with most of the runs; of the same runs,
    # made twice, the later one counts.
    of_use = [name for name in held if held[name]]
    order = sorted(of_use, key=lambda name: (measured[name], held[name], dates[name]), reverse=True)
    used, left = dict[str, set[str]](), ids
    for name in order:
        if here := left.intersection(own[name]["run"]):
            used[name], left = here, left - here
    return used, left


def _origins(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / ORIGINS
    try:
        content: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from None
    return content


def _listed(values: Collection[object]) -> str:
    return "/".join(sorted(map(str, values)))
