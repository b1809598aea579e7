"""Index: what the tables need of each run, kept beside the runs, so that only those that changed are read again.

runs/.index.sqlite3 is a cache: whoever removes it loses nothing but time. Where there are few runs, or it cannot be
written or is damaged, one in memory takes its place.
"""

import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sddcli.core.words import printable
from sddcli.files import share
from sddcli.metrics import METRICS
from sddcli.spec import CHAINED, FIELDS, SUBSEEDS, Run
from sddcli.store import Manifest, Store, StoreError

MEANING = 4  # of what is written: raise it where a column of the same name comes to hold something else
FEW = 500  # runs that are read in a second: no file for them
OFTEN = 5000  # runs read between two savings, so that an interrupted reading goes on
COLUMNS = (*FIELDS, "chain", "run", *METRICS)
ORDER = (*(name for name in FIELDS if name != "level"), "chain", "level")


class Index:
    """The finished runs of a store as rows. Brought up to date when made; a context manager, which closes it.

    damaged: a list that takes a StoreError for each run that cannot be read, which is left out; without a list, it is
    raised.
    """

    def __init__(self, store: Store, damaged: list[StoreError] | None = None) -> None:
        self.store, self.damaged = store, damaged
        path = store.root / ".index.sqlite3"
        many = next(islice(store.stamps(), FEW, None), None) is not None
        try:
            self._open(path if many and not path.is_symlink() else ":memory:")
        except sqlite3.Error as error:
            # Locked by another process, which may take minutes to read everything, or another user's: it is whole.
            if not any(reason in str(error) for reason in ("locked", "readonly")):
                with suppress(OSError):
                    path.unlink()
            self._open(":memory:")

    def _open(self, path: str | Path) -> None:
        self._base = sqlite3.connect(path, timeout=20, isolation_level=None)
        if path != ":memory:":
            share(Path(path))
        try:
            self._base.execute("PRAGMA cache_size=-65536")  # 64 MiB, so that a saving is one piece of work
            self._base.execute("BEGIN IMMEDIATE")
            if self._base.execute("PRAGMA user_version").fetchone()[0] != _version():
                self._make()
            self._refresh()
            self._base.execute("COMMIT")
        except BaseException:
            self._base.close()
            raise

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._base.close()
        if isinstance(error, sqlite3.Error):
            path = self.store.root / ".index.sqlite3"
            raise StoreError(f"{path} is damaged ({error}); remove it, it is made again") from error

    def _make(self) -> None:
        for table in ("runs", "pieces"):
            self._base.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _layout():
            self._base.execute(statement)
        self._base.execute(f"PRAGMA user_version={_version()}")

    def _refresh(self) -> None:
        """Reads the runs that are new or have changed, and forgets those that are gone."""
        known = dict(self._base.execute("SELECT path, stamp FROM runs"))
        self._known, read = {row[1] for row in self._base.execute("PRAGMA table_info(runs)")}, 0
        for path, stamp in self.store.stamps():
            if known.pop(printable(path), None) == stamp:
                continue
            self._forget(path)
            try:
                self._read(path, stamp)
            except StoreError as error:
                if self.damaged is None:
                    raise
                self._forget(path)
                self.damaged.append(error)
            read += 1
            if read % OFTEN == 0:
                self._base.execute("COMMIT")
                self._base.execute("BEGIN IMMEDIATE")
        for path in known:
            self._forget(path)

    def _forget(self, path: str) -> None:
        path = printable(path)
        self._base.execute("DELETE FROM pieces WHERE of = (SELECT rowid FROM runs WHERE path = ?)", (path,))
        self._base.execute("DELETE FROM runs WHERE path = ?", (path,))

    def _read(self, path: str, stamp: str) -> None:
        content = self.store.read(self.store.root / path)
        if (
            content is None or content[1]["stage"] != "trained"
        ):  # nothing for a table yet; its stamp is kept all the same
            self._insert("runs", {"path": path, "stamp": stamp})
            return
        run, manifest = content
        measures = self.store.measures(run)
        # Numbers of an analysis with parameters have a table of their own, not a column.
        usual = [values for stem, values in measures.items() if "," not in stem]
        row = _row(run, manifest) | {name: value for values in usual for name, value in values.items()}
        for name in row.keys() - self._known:
            self._base.execute(f'ALTER TABLE runs ADD COLUMN "{name}"')
            self._known.add(name)
        dense = run.root.id if run.level else None
        row_id = self._insert("runs", {"path": path, "stamp": stamp, "slug": run.slug, "dense": dense, **row})
        pieces = {"history": self.store.history(run, manifest)}
        for stem, values in measures.items():
            pieces[f"measures/{stem}"] = [{name: _cell(value) for name, value in values.items()}]
            pieces[f"measures/{stem}-details"] = self.store.details(run, stem)
        for kind, rows in pieces.items():
            if rows:
                header = json.dumps(list(rows[0]))
                text = _lines([run.id, run.level, *each.values()] for each in rows)
                self._insert("pieces", {"of": row_id, "kind": kind, "header": header, "text": text})

    def _insert(self, table: str, row: Mapping[str, Any]) -> int | None:
        names = ", ".join(f'"{name}"' for name in row)
        values = [_storable(value) for value in row.values()]
        statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})"
        return self._base.execute(statement, values).lastrowid

    @property
    def columns(self) -> list[str]:
        """The columns of the results: fields, chain, run, metrics, and the numbers of analyses, by their names."""
        known = sorted(row[1] for row in self._base.execute("PRAGMA table_info(runs)"))
        further = [name for name in known if name not in ("path", "stamp", "slug", "dense", *COLUMNS)]
        used = 'SELECT EXISTS(SELECT 1 FROM runs WHERE "{}" IS NOT NULL)'
        return [*COLUMNS, *(name for name in further if self._base.execute(used.format(name)).fetchone()[0])]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The results, a tuple of `columns` each, sorted; a dense run under each chain that grew from it."""
        names = self.columns
        plain = ", ".join(f'"{name}"' for name in names)
        branch = {*CHAINED, "chain"}
        under = ", ".join(f'{"grown" if name in branch else "runs"}."{name}"' for name in names)
        chains = f"SELECT DISTINCT dense, chain, {', '.join(CHAINED)} FROM runs WHERE dense IS NOT NULL"
        order = ", ".join(str(names.index(name) + 1) for name in ORDER)
        yield from self._base.execute(
            f"SELECT {plain} FROM runs WHERE dense IS NOT NULL"
            f' UNION ALL SELECT {under} FROM ({chains}) AS grown JOIN runs ON runs."run" = grown.dense'
            f' UNION ALL SELECT {plain} FROM runs WHERE dense IS NULL AND "run" IS NOT NULL'
            f' AND "run" NOT IN (SELECT dense FROM runs WHERE dense IS NOT NULL) ORDER BY {order}'
        )

    def results(self) -> Iterator[str]:
        """`rows` as CSV, its header first."""
        yield _lines([self.columns])
        rows = self.rows()
        while piece := list(islice(rows, 1000)):
            yield _lines(piece)

    def runs(self, ids: Iterable[str]) -> Iterator[Run]:
        """The runs with these ids, of those that are finished. Raises StoreError where one cannot be read."""
        for id in ids:
            for (path,) in self._base.execute('SELECT path FROM runs WHERE "run" = ?', (id,)):
                content = self.store.read(self.store.root / path)
                if content:
                    yield content[0]

    def tables(self) -> list[str]:
        """The further tables that there are: "history", "measures/NAME", "measures/NAME-details"."""
        return [kind for (kind,) in self._base.execute("SELECT DISTINCT kind FROM pieces ORDER BY kind")]

    def lines(self, table: str) -> Iterator[str]:
        """One of `tables` as CSV, its header first, then runs in the order of their names and levels."""
        rows = self._base.execute("SELECT DISTINCT header FROM pieces WHERE kind = ?", (table,))
        headers = sorted((json.loads(header) for (header,) in rows), key=lambda names: (-len(names), names))
        names = list(dict.fromkeys(name for header in headers for name in header))
        yield _lines([["run", "level", *names]])
        # Sorted without their texts, of which there may be more than memory holds.
        for (row_id,) in self._base.execute('SELECT rowid FROM runs ORDER BY slug, chain, "level"'):
            pieces = self._base.execute("SELECT header, text FROM pieces WHERE of = ? AND kind = ?", (row_id, table))
            for header, text in pieces:
                own = json.loads(header)
                yield text if own == names else _spread(text, ["run", "level", *own], ["run", "level", *names])


def _layout() -> list[str]:
    """The statements that make the tables."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    return [
        f"CREATE TABLE runs (path TEXT PRIMARY KEY, stamp TEXT, slug, dense, {columns})",
        "CREATE TABLE pieces (of INTEGER, kind, header, text)",
        "CREATE INDEX whose ON pieces (of, kind)",
        "CREATE INDEX headers ON pieces (kind, header)",
        "CREATE INDEX grown ON runs (dense)",
        'CREATE INDEX by_id ON runs ("run")',
    ]


def _version() -> int:
    """The number of these tables, from all that they are made of: an index with another one is thrown away."""
    content = json.dumps([MEANING, _layout()])
    return int(hashlib.sha256(content.encode()).hexdigest()[:7], 16)  # SQLite keeps 31 bits of it


def _row(run: Run, manifest: Manifest) -> dict[str, Any]:
    fields = {name: getattr(run, name) for name in FIELDS}
    fields |= {name: run.seed_of(name.removesuffix("_seed")) for name in SUBSEEDS}
    metrics = {name: manifest["metrics"].get(name) for name in METRICS}
    return {**fields, "chain": run.chain, "run": run.id, **metrics}


def _storable(value: Any) -> Any:
    """What SQLite holds: a larger whole number as its digits; bytes of a file's name that are no UTF-8, written out."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return printable(value) if isinstance(value, str) else value


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _spread(text: str, own: Sequence[str], names: Sequence[str]) -> str:
    """Lines with the columns `own`, as lines with the columns `names`; empty where they have none."""
    with closing(io.StringIO(text)) as lines:
        rows = [dict(zip(own, row, strict=True)) for row in csv.reader(lines)]
    return _lines([row.get(name, "") for name in names] for row in rows)
