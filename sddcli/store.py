"""Store: the only room that touches runs/. One folder a run, whole files, no pickle.

runs/<slug>-<hash>/               a dense run
runs/<chain slug>-<hash>/level-07/ one level of a chain
    manifest.json        written last: what is not in it does not count
    weights.safetensors  kept weights only, masks packed to bits
    initial.safetensors  of a dense run: its weights before training
    pruned.safetensors   of a pruned run not yet retrained: where it starts from
    checkpoint.json      of a run in training: where it was last saved, checkpoint-STEP.safetensors
    failed.json          why a run failed, and its traceback
    .lock                held by the process that works on the run
    history.csv          one row per evaluation
    fitted.safetensors   which training labels were fitted at each evaluation; of runs that an older sdd made, none
    measures/NAME.json   the numbers of an analysis; NAME.csv its details, where it has any
runs/code/net@<hash>.py          a user's own code that runs were made with; never run unasked
runs/labels/NAME@<hash>.csv      labels of a file that runs were trained on
runs/pairs/<id>-<id>/            the analyses of two runs
    manifest.json        which runs these are
    measures/NAME.json   as of a run
"""

import csv
import errno
import hashlib
import io
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sddcli import locks
from sddcli.core import own
from sddcli.core.words import UsageError
from sddcli.files import StoreError as StoreError  # as: other rooms have these two from here
from sddcli.files import Unwritable as Unwritable
from sddcli.files import clear_torn, make_folder, must_stay_within, plain_bytes, share, unique, within, write_within
from sddcli.folders import Known, split, tidied
from sddcli.locks import Claim
from sddcli.packing import pack, pack_fitted, pack_masks, rows_to_csv, unpack, unpack_fitted, unpack_masks
from sddcli.pairs import Pair
from sddcli.spec import FIELDS, Run, from_dict, to_dict

if TYPE_CHECKING:
    from torch import Tensor

    from sddcli.core.types import Begun, Measurement, Record, Tensors

SCHEMA = 1
KEEPS = ("all", "masks", "last")
"""What is kept of a chain's levels once nothing is pruned from them: all, their masks, or only the last level."""
Manifest = dict[str, Any]


CHAIN, LEVEL = re.compile(r"-[0-9a-f]{12}$"), re.compile(r"^level-\d+$")
"""How the folders of chains end, and how those of their levels are called: by this a damaged one is known as ours."""
MOST_CODE, MOST_LABELS, MOST_WORDS = 10**6, 500 * 10**6, 50 * 10**6
"""Bytes of a file of code, as written by hand, of one of labels, and of a manifest."""
Packed = TypeVar("Packed")


class Damaged(StoreError):
    """A run's folder is not as sdd left it. `sdd verify --repair` moves it out of the way; a sweep makes it again."""


class Store:
    """The runs below one folder, one at a time, without the M of the engine."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @classmethod
    def holding(cls, folder: Path) -> tuple["Store", Run]:
        """The store that a run's folder belongs to, and the run. Raises StoreError where it is none."""
        root = folder.absolute().parent.parent if folder.name.startswith("level-") else folder.absolute().parent
        store = cls(os.path.relpath(root) if not folder.is_absolute() else root)
        manifest = store._read_manifest(folder / "manifest.json")
        if manifest is None:
            raise StoreError(f"{folder} is no folder of a run: it has no manifest.json")
        return store, from_dict(manifest["run"])

    def folder(self, run: Run | Pair) -> Path:
        """Where `run`, or what is known of a pair, lives; a chain's folder carries the id of its level 1."""
        if isinstance(run, Pair):
            return self.root / "pairs" / f"{run.a.id}-{run.b.id}"
        chain = self.root / f"{run.slug}-{run.chain}"
        return chain / f"level-{run.level:02d}" if run.level else chain

    def prepare(self) -> None:
        """Makes the folder. Raises StoreError if nothing can be written there."""
        probe = self.root / f".probe-{unique()}"
        try:
            make_folder(self.root)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StoreError(f"cannot write to runs folder {self.root}: {error.strerror}; choose another") from None
        for folder in (self.root, self.root / "measures", self.root / "sweeps"):
            if within(self.root, folder):
                clear_torn(folder)

    def manifest(self, run: Run) -> Manifest | None:
        """What is known of `run`, or None before it is pruned or trained. Raises StoreError if unreadable."""
        manifest = self._read_manifest(self.folder(run) / "manifest.json")
        if manifest and manifest["run"] != to_dict(run):
            raise StoreError(f"{self.folder(run)} holds another run of the same id; move it away")
        return manifest

    def finished(self, run: Run) -> bool:
        """Whether `run` is trained and saved. One that cannot be read is not, and `manifest` says why."""
        try:
            manifest = self.manifest(run)
        except StoreError:
            return False
        return manifest is not None and manifest["stage"] == "trained"

    def manifests(self, damaged: list[StoreError] | None = None) -> Iterator[tuple[Run, Manifest]]:
        """Every finished run of the folder and its manifest, in the order of their paths.

        damaged: takes what is wrong with folders that cannot be read, which is raised otherwise.
        """
        self.must_exist()
        for _, content in self.survey():
            if isinstance(content, StoreError):
                if damaged is None:
                    raise content
                damaged.append(content)
            elif content[1]["stage"] == "trained":
                yield content

    def must_exist(self) -> None:
        """Raises StoreError where there is no such folder."""
        if self.root.is_file():
            raise StoreError(f"{self.root} is a file, not a runs folder")
        if not self.root.is_dir():
            raise StoreError(f"no runs folder at {self.root}; make one with: sdd sweep --runs {self.root}")

    def survey(self) -> "Iterator[tuple[Path, tuple[Run, Manifest] | StoreError]]":
        """Every folder of `stamps`: its run, finished or not, or why it cannot be read."""
        for path, _ in self.stamps():
            try:
                content = self.read(self.root / path)
                if content is not None:
                    yield self.root / path, content
            except StoreError as error:
                yield self.root / path, error

    def stamps(self) -> Iterator[tuple[str, str]]:
        """Every folder that has a manifest, below the root, sorted, and what changes whenever anything in it does.

        Also whatever has the name of a run's folder and cannot be looked into: `read` says why. Raises StoreError
        where the root cannot be.
        """
        try:
            chains = _folders(str(self.root), CHAIN) if self.root.is_dir() else []
        except OSError as error:
            raise StoreError(f"cannot read runs folder {self.root}: {error.strerror}") from None
        for chain in chains:
            try:
                levels = _folders(chain, LEVEL)
            except OSError:
                if CHAIN.search(chain):  # others' folders, such as lost+found, may be closed to us
                    yield os.path.relpath(chain, self.root), "unreadable"
                continue
            for folder in (chain, *(each for each in levels if "/level-" in each)):
                if stamp := _stamp(folder):
                    yield os.path.relpath(folder, self.root), stamp

    def read(self, folder: Path) -> tuple[Run, Manifest] | None:
        """The run of a folder and its manifest, None where it has none.

        Raises Damaged where it is not as sdd left it, StoreError where it cannot be read for another reason.
        """
        manifest = self._read_manifest(folder / "manifest.json")
        if manifest is None:
            _must_be_readable(folder)
            return None
        run = from_dict(manifest["run"])
        if folder != self.folder(run):
            where = self.folder(run)
            raise Damaged(f"{folder} is a copy or was renamed: the run in it belongs into {where}; {_repair(folder)}")
        return run, manifest

    def damaged(self, run: Run) -> list[StoreError]:
        """What is wrong with files of `run`: missing, not what its manifest says, or not to be read."""
        errors = []
        for name in (self.manifest(run) or {"files": ()})["files"]:
            try:
                self._verified(run, name)
            except StoreError as error:
                errors.append(error)
        try:
            self.measures(run)
        except StoreError as error:
            errors.append(error)
        return errors

    def set_aside(self, folder: Path) -> Path:
        """Moves a run's folder out of the way, into .damaged/, and returns where it is now.

        Raises StoreError where it cannot be moved.
        """
        target = self.root / ".damaged" / folder.relative_to(self.root)
        number = 1
        while (moved := target.with_name(f"{target.name}.{number}")).exists():
            number += 1
        must_stay_within(self.root, target)
        try:
            make_folder(moved.parent)
            folder.replace(moved)
        except OSError as error:
            raise StoreError(f"cannot move {folder} to {moved}: {error.strerror}") from None
        return moved

    def save_plan(self, command: str, tables: Sequence[Mapping[str, Any]]) -> None:
        """Records what a sweep was asked for, so that `sdd status` knows what is left to do."""
        content = json.dumps({"schema": SCHEMA, "command": command, "tables": tables}, indent=1) + "\n"
        name = hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:12]
        self._write(self.root / "sweeps" / f"{name}.json", content.encode())

    def plans(self, damaged: list[StoreError] | None = None) -> list[dict[str, Any]]:
        """What sweeps of this folder were asked for: command, tables.

        damaged: takes a StoreError for each record that cannot be read. Without it, raises the first.
        """
        plans = []
        for path in sorted((self.root / "sweeps").glob("*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                tables = [{str(name): values for name, values in table.items()} for table in record["tables"]]
                plans.append({"command": str(record["command"]), "tables": tables})
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                reason = getattr(error, "strerror", None) or "it is damaged"
                what = f"cannot read {path} ({reason}), the record of a sweep: the same sdd sweep writes it again"
                if damaged is None:
                    raise StoreError(what) from None
                damaged.append(StoreError(what))
        return plans

    def save_code(self, key: str, source: bytes) -> None:
        """Keeps a user's own code, net.py@HASH, that runs are made with."""
        path = self._code(key)
        if not path.exists():
            self._write(path, source)

    def code_names(self) -> list[str]:
        """The files of code that are kept here, as runs call them, sorted."""
        stems = [path.stem.rpartition("@") for path in sorted((self.root / "code").glob("*@*.py"))]
        return [f"{name}.py@{digest}" for name, _, digest in stems]

    def code(self) -> dict[str, bytes]:
        """All code that is kept here, net.py@HASH -> its bytes. Raises StoreError where a file is not what it was."""
        sources = {}
        for key in self.code_names():
            path = self._code(key)
            try:
                source = plain_bytes(path, MOST_CODE, follow=False)
            except OSError as error:
                raise StoreError(f"cannot read {path}: {error.strerror}") from None
            if own.key(key.rpartition("@")[0], source) != key:
                raise StoreError(f"{path} is not the code that its name says: remove it")
            sources[key] = source
        return sources

    def save_labels(self, key: str, lines: bytes) -> None:
        """Keeps the labels, labels@HASH, that runs are trained on."""
        path = self.root / "labels" / f"{key}.csv"
        if not path.exists():
            self._write(path, lines)

    def labels(self) -> dict[str, bytes]:
        """All labels that are kept here, labels@HASH -> lines. Raises StoreError where a file is not what it was."""
        kept = {}
        for path in sorted((self.root / "labels").glob("*@*.csv")):
            try:
                lines = plain_bytes(path, MOST_LABELS, follow=False)
            except OSError as error:
                raise StoreError(f"cannot read {path}: {error.strerror}") from None
            if own.key(path.stem.rpartition("@")[0], lines) != path.stem:
                raise StoreError(f"{path} is not the labels that its name says: remove it")
            kept[path.stem] = lines
        return kept

    def _code(self, key: str) -> Path:
        name, _, digest = key.rpartition("@")
        return self.root / "code" / f"{Path(name).stem}@{digest}.py"

    def image_folders(self) -> dict[str, Known]:
        """The folders of images of the runs here and of recorded sweeps: data set -> its hashes and paths."""
        facts: dict[str, list[dict[str, Any]]] = {}
        for plan in self.plans([]):
            for word in (word for table in plan["tables"] for word in table.get("dataset", ())):
                facts.setdefault(tidied(str(word)), [])
        for path in sorted(each for each in self.root.glob("folder_*") if each.is_dir()):
            for folder in (path, *sorted(path.glob("level-*"))):
                with suppress(StoreError):
                    if content := self.read(folder):
                        facts.setdefault(content[0].dataset, []).append(content[1]["data"])
        return {
            word: Known(
                frozenset(data["sha256"] for data in several),
                tuple(dict.fromkeys(str(data["folder"]) for data in several if data.get("folder"))),
            )
            for word, several in facts.items()
            if split(word)
        }

    def working(self, run: Run) -> bool:
        """Whether a process works on `run` now. Needs no right to write; without one to read the answer is no."""
        return locks.held(self.folder(run) / ".lock")

    def _read_manifest(self, path: Path) -> Manifest | None:
        try:
            manifest: Manifest = json.loads(plain_bytes(path, MOST_WORDS).decode("utf-8"))
            _check_manifest(manifest, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                _must_be_readable(path.parent)
            raise StoreError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if not _named_as_ours(path.parent):
                raise StoreError(f"{path} is not of sdd: {path.parent} is left out; keep it elsewhere") from None
            raise Damaged(f"{path} is damaged ({error or type(error).__name__}); {_repair(path.parent)}") from None
        return manifest

    def save_pruned(self, run: Run, start: "Tensors", masks: "Tensors", facts: Mapping[str, Any]) -> None:
        """Writes `run` as pruned, not yet retrained: the masked weights it starts from."""
        self._save(run, "pruned", {"pruned.safetensors": pack(start, masks)}, facts)

    def save_trained(
        self,
        run: Run,
        weights: "Tensors",
        masks: "Tensors",
        history: Sequence[Mapping[str, Any]],
        measures: "Mapping[str, Measurement]",
        facts: Mapping[str, Any],
        initial: "Tensors | None" = None,
        fitted: "Tensor | None" = None,
    ) -> None:
        """Writes `run` as trained. `facts` go into the manifest; `initial`, of a dense run, is kept for ever.

        fitted: (E, ceil(N / 8)) uint8, at each evaluation of `history` the examples it fitted, a bit each.
        """
        files = {"weights.safetensors": pack(weights, masks), "history.csv": rows_to_csv(history)}
        if initial is not None:
            files["initial.safetensors"] = pack(initial, {})
        if fitted is not None:
            files["fitted.safetensors"] = pack_fitted(fitted)
        for word, result in measures.items():
            self.save_measure(run, word, result)
        self._save(run, "trained", files, facts)
        self.tidy(run)

    def tidy(self, run: Run) -> None:
        """Removes what a finished run no longer needs: what it started from, checkpoints, torn writes."""
        must_stay_within(self.root, self.folder(run) / "measures" / "any")
        self._drop(run, "pruned.safetensors", "checkpoint.json", "checkpoint-*.safetensors", "failed.json")
        for folder in (self.folder(run), self.folder(run) / "measures"):
            clear_torn(folder)

    def _drop(self, run: Run, *patterns: str) -> None:
        must_stay_within(self.root, self.folder(run) / "any")
        for pattern in patterns:
            for path in self.folder(run).glob(pattern):
                path.unlink(missing_ok=True)

    def save_checkpoint(self, run: Run, begun: "Begun", facts: Mapping[str, Any]) -> None:
        """Writes where `run` is in its training; `facts` are words and numbers to go on with."""
        parts = {"learned": begun.learned, "fixed": begun.fixed, "masks": begun.masks, "aside": begun.aside}
        arrays = {f"{part}/{name}": w for part, tensors in parts.items() for name, w in tensors.items()}
        for kept, tensors in begun.memory.items():
            arrays |= {f"memory/{kept}/{name}": w for name, w in tensors.items()}
        if begun.fitted is not None:
            arrays["fitted"] = begun.fitted
        name, content = f"checkpoint-{begun.step}.safetensors", pack(arrays, {})
        self._write(self.folder(run) / name, content)
        record = {"schema": SCHEMA, "run": to_dict(run), "step": begun.step, "since": begun.since, **facts}
        record |= {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
        self._write(self.folder(run) / "checkpoint.json", (json.dumps(record, indent=1) + "\n").encode())
        for path in self.folder(run).glob("checkpoint-*.safetensors"):  # only now: until here the older one counted
            if path.name != name:
                path.unlink(missing_ok=True)
        if self.finished(run):  # by another process, while this one was cut off in mid-write
            self._drop(run, "checkpoint.json", name)

    def checkpoint(self, run: Run) -> "tuple[Begun, dict[str, Any]] | None":
        """Where `run` was last saved, and its facts; None where it was not, or where that is damaged.

        Its masks are {} where an older sdd saved it, which trained under the masks it started with.
        """
        from sddcli.core.types import STATISTICS, Begun

        try:
            record = json.loads((self.folder(run) / "checkpoint.json").read_text(encoding="utf-8"))
            content = (self.folder(run) / Path(record["file"]).name).read_bytes()
            whole = hashlib.sha256(content).hexdigest() == record["sha256"] and record["schema"] == SCHEMA
            if not whole or to_dict(from_dict(record["run"])) != to_dict(run):
                return None
            parts: dict[str, Tensors] = {"learned": {}, "fixed": {}, "masks": {}, "aside": {}}
            memory: dict[str, Tensors] = {}
            arrays = unpack(content)[0]
            fitted = arrays.pop("fitted", None)  # an older sdd did not record it
            for name, tensor in arrays.items():
                kind, _, rest = name.partition("/")
                if kind == "weights":  # so an older sdd called both
                    kind = "fixed" if rest.endswith(STATISTICS) else "learned"
                if kind == "memory":
                    kept, _, rest = rest.partition("/")
                    memory.setdefault(kept, {})[rest] = tensor
                else:
                    parts[kind][rest] = tensor
            return Begun(**parts, memory=memory, step=record["step"], since=record["since"], fitted=fitted), record
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def claim(self, run: Run) -> Claim | None:
        """The right to work on `run`, or None while another process has it. Ends with its process, or soon after.

        Whoever gets it looks again whether the run is finished. Raises StoreError where locks cannot be had.
        """
        path = self.folder(run) / ".lock"
        must_stay_within(self.root, path)
        try:
            make_folder(path.parent)
            return locks.claimed(path, share)
        except OSError as error:
            if os.path.lexists(path.parent):
                _must_be_readable(path.parent)
            raise StoreError(f"cannot lock {path}: {error.strerror or error}") from None

    def save_failure(self, run: Run, reason: str, trace: str) -> None:
        """Records why `run` failed, so that it is not tried again unasked."""
        record = {"schema": SCHEMA, "run": to_dict(run), "reason": reason, "trace": trace, "when": time.time()}
        self._write(self.folder(run) / "failed.json", (json.dumps(record, indent=1) + "\n").encode())

    def failure(self, run: Run) -> dict[str, Any] | None:
        """The record of its failure: run, reason, trace, when; None where it did not fail, or was finished since."""
        return self.failure_in(self.folder(run))

    def failure_in(self, folder: Path) -> dict[str, Any] | None:
        """The same by a run's folder."""
        try:
            record = json.loads((folder / "failed.json").read_text(encoding="utf-8"))
            facts = {"reason": str(record["reason"]), "trace": str(record["trace"]), "when": float(record["when"])}
            return facts | {"run": from_dict(record["run"])}
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def checkpoint_step_in(self, folder: Path) -> int | None:
        """The step at which the run of a folder was last saved in its training, or None."""
        try:
            return int(json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))["step"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def forget_failure(self, run: Run) -> None:
        """Removes the record of a failure: the run is tried again."""
        self._drop(run, "failed.json")

    def _save(self, run: Run, stage: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        folder = self.folder(run)
        for name, content in files.items():
            self._write(folder / name, content)
        manifest = {
            "schema": SCHEMA,
            "id": run.id,
            "chain": run.chain,
            "stage": stage,
            "run": to_dict(run),
            "parents": [parent.id for parent in run.parents],
            **facts,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }
        self._write_manifest(run, manifest)

    def verify(self, run: Run) -> None:
        """Raises StoreError naming the file where one of a finished run is missing or damaged."""
        manifest = self.manifest(run)
        for name in manifest["files"] if manifest else ():
            self._verified(run, name)

    def weights(self, run: Run) -> tuple["Tensors", "Tensors"]:
        """The trained weights of `run`, pruned ones 0, and its masks, each (*shape)."""
        return self._unpacked(run, "weights.safetensors")

    def masks(self, run: Run) -> "Tensors":
        """The masks of `run`, (*shape)."""
        manifest = self.manifest(run)
        dropped = manifest is not None and "masks.safetensors" in manifest["files"]
        name = "masks.safetensors" if dropped else "weights.safetensors"
        return self._of_ours(run, name, unpack_masks, self._verified(run, name))

    def drop(self, run: Run, keep: str) -> int:
        """Removes the weights of a finished run, or with keep="last" its masks, too; returns the bytes freed.

        Its numbers stay. The manifest is written before a file goes: what it names is always there.
        """
        manifest, folder = self.manifest(run), self.folder(run)
        must_stay_within(self.root, folder / "any")
        if manifest is None or keep == "all":
            return 0
        gone = {"weights.safetensors", "masks.safetensors"}.intersection(manifest["files"])
        files = {name: sha for name, sha in manifest["files"].items() if name not in gone}
        before = sum((folder / name).stat().st_size for name in gone if (folder / name).exists())
        if keep == "masks":
            if "weights.safetensors" not in gone:
                return 0
            kept = self.masks(run)
            content = pack_masks(kept)
            self._write(folder / "masks.safetensors", content)
            files["masks.safetensors"] = hashlib.sha256(content).hexdigest()
            before -= len(content)
        self._write_manifest(run, manifest | {"files": files, "kept": keep})
        for name in gone.difference(files):
            (folder / name).unlink(missing_ok=True)
        return before if gone else 0

    def pruned(self, run: Run) -> tuple["Tensors", "Tensors"] | None:
        """The start weights and masks of a run that is pruned and not yet retrained; None of any other."""
        manifest = self.manifest(run)
        if manifest is None or manifest["stage"] != "pruned":
            return None
        return self._unpacked(run, "pruned.safetensors")

    def initial(self, run: Run) -> "Tensors":
        """The weights before training of the dense run that `run` grew from."""
        return self._unpacked(run.root, "initial.safetensors")[0]

    def step(self, run: Run, step: int) -> "Tensors | None":
        """The weights of a dense run at one step of its training, or None where nobody has asked for them yet."""
        name, manifest = f"step-{step}.safetensors", self.manifest(run)
        return self._unpacked(run, name)[0] if manifest and name in manifest["files"] else None

    def save_step(self, run: Run, step: int, weights: "Tensors") -> None:
        """Keeps the weights of a finished dense run at one step, for the chains that rewind to it.

        Raises StoreError where the run is not there or cannot be written.
        """
        name, content, manifest = f"step-{step}.safetensors", pack(weights, {}), self.manifest(run)
        if manifest is None:
            raise StoreError(f"{self.folder(run)} has no manifest")
        while (claim := self.claim(run)) is None:  # several chains may add to the run they share
            time.sleep(0.05)
        try:
            self._write(self.folder(run) / name, content)
            manifest = self.manifest(run) or manifest
            files = manifest["files"] | {name: hashlib.sha256(content).hexdigest()}
            self._write_manifest(run, manifest | {"files": files})
        finally:
            claim.release(finished=True)

    def _write(self, path: Path, content: bytes) -> None:
        """Writes a file whole. Raises StoreError where it fails, and where a link leads out of the runs folder."""
        write_within(self.root, path, content)

    def _write_manifest(self, run: Run, manifest: Manifest) -> None:
        self._write(self.folder(run) / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())

    def _unpacked(self, run: Run, name: str) -> tuple["Tensors", "Tensors"]:
        return self._of_ours(run, name, unpack, self._verified(run, name))

    def _of_ours(self, run: Run, name: str, reader: Callable[[bytes], Packed], content: bytes) -> Packed:
        """What a reader makes of a file's content. Raises Damaged where sdd cannot have written it."""
        from safetensors import SafetensorError

        try:
            return reader(content)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, zlib.error, RecursionError) as error:
            path = self.folder(run) / name
            raise Damaged(f"{path} is no file of sdd ({error}); {_repair(path.parent)}") from None

    def _verified(self, run: Run, name: str, manifest: Manifest | None = None) -> bytes:
        path, manifest = self.folder(run) / name, manifest or self.manifest(run)
        if manifest and manifest.get("kept") in ("masks", "last") and name not in manifest["files"]:
            raise StoreError(f"{path} was dropped to save space; remove {path.parent} to train it again")
        try:
            content = plain_bytes(path)
        except OSError as error:
            gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
            raise (Damaged if gone else StoreError)(f"cannot read {path}: {error.strerror}") from None
        if manifest is None or manifest["files"].get(name) != hashlib.sha256(content).hexdigest():
            raise Damaged(f"{path} is damaged: its hash is not the manifest's; {_repair(path.parent)}")
        return content

    def save_measure(self, run: Run | Pair, word: str, result: "Measurement") -> None:
        """Writes the result of an analysis, `word` with its parameters, of a run or of a pair of runs."""
        folder, stem = self.folder(run) / "measures", stem_of(word)
        if isinstance(run, Pair):
            record = {"schema": SCHEMA, "runs": [to_dict(each) for each in run]}
            self._write(self.folder(run) / "manifest.json", (json.dumps(record, indent=1) + "\n").encode())
        rows = [{name: _finite(value) for name, value in row.items()} for row in result.rows]
        if rows:  # first: what has its values is measured
            self._write(folder / f"{stem}.csv", rows_to_csv(rows))
        values = {name: _finite(value) for name, value in result.values.items()}
        self._write(folder / f"{stem}.json", (json.dumps(values, indent=1) + "\n").encode())

    def pairs(self, damaged: list[StoreError] | None = None) -> Iterator[Pair]:
        """Every pair of runs that has the result of an analysis, in the order of their paths.

        damaged: takes what is wrong with those that cannot be read, which is raised otherwise.
        """
        for path in sorted((self.root / "pairs").glob("*/manifest.json")):
            try:
                a, b = map(from_dict, json.loads(path.read_text(encoding="utf-8"))["runs"])
            except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
                wrong = StoreError(f"{path} is damaged ({error}); remove {path.parent} to measure again")
                if damaged is None:
                    raise wrong from None
                damaged.append(wrong)
                continue
            yield Pair(a, b)

    def has_measure(self, run: Run | Pair, word: str) -> bool:
        """Whether `run` has the result of this analysis."""
        return (self.folder(run) / "measures" / f"{stem_of(word)}.json").exists()

    def measures(self, run: Run | Pair) -> dict[str, dict[str, float | None]]:
        """Analysis, as stem_of gives it -> its numbers, of all analyses of `run` so far.

        Raises Damaged where a file holds no numbers, StoreError where it cannot be read.
        """
        measures = {}
        for path in sorted((self.folder(run) / "measures").glob("*.json")):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):
                values = None
            except OSError as error:
                raise StoreError(f"cannot read {path}: {error.strerror}") from None
            if not isinstance(values, dict) or not all(map(_number, values.values())) or not all(map(_named, values)):
                raise Damaged(f"{path} is damaged; remove it to measure again")
            measures[path.stem] = values
        return measures

    def details(self, run: Run | Pair, word: str) -> list[dict[str, str]]:
        """The rows of an analysis of `run`, as words; [] where it has none, or was not made.

        Raises StoreError where they cannot be read.
        """
        try:
            text = (self.folder(run) / "measures" / f"{stem_of(word)}.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read the details of {word} of {self.folder(run)}: {error}") from None
        return list(csv.DictReader(io.StringIO(text)))

    def record(self, run: Run) -> "Record | None":
        """What was recorded of the training of a finished run, or None where nothing was."""
        import numpy as np
        import torch

        from sddcli.core.types import Record

        manifest = self.manifest(run)
        if manifest is None or "fitted.safetensors" not in manifest["files"]:
            return None
        epochs = [int(row["epoch"]) for row in self.history(run, manifest)]
        packed = self._verified(run, "fitted.safetensors", manifest)
        bits = self._of_ours(run, "fitted.safetensors", unpack_fitted, packed).numpy()
        fitted = np.unpackbits(bits, axis=1, count=manifest["metrics"]["examples"]).astype(bool)
        return Record(torch.tensor(epochs), torch.from_numpy(fitted))

    def history(self, run: Run, manifest: Manifest | None = None) -> list[dict[str, str]]:
        """The rows of `run`'s history.csv, as words; `manifest`, where it was read before."""
        return list(csv.DictReader(io.StringIO(self._verified(run, "history.csv", manifest).decode())))


def _folders(path: str, ours: "re.Pattern[str]") -> list[str]:
    """The folders in one, sorted, but for hidden ones; and what is no folder in spite of one of our names."""
    with os.scandir(path) as entries:
        return sorted(
            entry.path
            for entry in entries
            if not entry.name.startswith(".") and (ours.search(entry.name) or _is_folder(entry))
        )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _stamp(folder: str) -> str:
    """What changes with the run in a folder; "" where it has no manifest, since nothing of it is finished."""
    try:
        manifest = os.stat(f"{folder}/manifest.json")  # noqa: PTH116, a Path costs as much as the call
    except FileNotFoundError:
        return "" if os.path.isdir(folder) else "unreadable"  # noqa: PTH112
    except OSError:
        return "unreadable" if _named_as_ours(Path(folder)) else ""
    try:
        measures = os.stat(f"{folder}/measures").st_mtime_ns  # noqa: PTH116, files are renamed into it
    except OSError:
        measures = 0
    return f"{manifest.st_ino} {manifest.st_mtime_ns} {manifest.st_size} {measures}"


def _named_as_ours(folder: Path) -> bool:
    """Whether a folder has the name of a run's, which is all that is known of one without a manifest of ours."""
    return bool(CHAIN.search(folder.parent.name if LEVEL.search(folder.name) else folder.name))


def _must_be_readable(folder: Path) -> None:
    """Raises StoreError where a folder cannot be looked into, Damaged where it is none."""
    try:
        with os.scandir(folder):
            return
    except PermissionError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror}") from None
    except OSError as error:
        what = f"{folder} has the name of a run's folder and is none ({error.strerror})"
        raise Damaged(f"{what}; {_repair(folder)}") from None


def _repair(folder: Path) -> str:
    """What to do about a damaged run: its files are never removed unasked."""
    root = folder.parent.parent if LEVEL.search(folder.name) else folder.parent
    return f"sdd verify --repair {root} moves it out of the way"


def _check_manifest(manifest: Any, path: Path) -> None:
    """Raises UsageError, TypeError, KeyError or AttributeError where a manifest is not as sdd writes it.

    Raises StoreError where a later sdd wrote it.
    """
    if (schema := manifest["schema"]) > SCHEMA:
        raise StoreError(f"{path} has schema {schema}, this sdd reads up to {SCHEMA}: upgrade sdd")
    if later := [name for name in manifest["run"].keys() - FIELDS.keys() if _named_as_ours(path.parent)]:
        raise StoreError(f"{path} is of another version of sdd: a run has no {min(later)!r} in this one; upgrade sdd")
    manifest["run"] = to_dict(from_dict(manifest["run"]))
    if manifest["stage"] not in ("pruned", "trained"):
        raise UsageError(f"its stage is {manifest['stage']!r}")
    if strange := [name for name in manifest["files"] if not re.fullmatch(r"[\w-]+\.(safetensors|csv)", name)]:
        raise UsageError(f"it names a file {strange[0]!r}, and sdd writes none of that name")
    for key in ("files", "metrics", "data"):
        if not isinstance(manifest[key], dict):
            raise UsageError(f"its {key} are no table")
    if wrong := [name for name, value in manifest["metrics"].items() if not _number(value)]:
        raise UsageError(f"its {wrong[0]} is no number")
    if not isinstance(manifest["data"]["sha256"], str) or not manifest.setdefault("seconds", 0.0) >= 0:
        raise UsageError("its data or seconds are wrong")
    if not isinstance(manifest.get("versions") or {}, dict) or not isinstance(manifest.get("commit") or "", str):
        raise UsageError("its versions or commit are wrong")


def reason_of(error: BaseException) -> str:
    """Why something failed, in one line: our own words as they are, anything else as the bug that it may be."""
    line = " ".join(str(error).split())
    if isinstance(error, (StoreError, UsageError)):
        return line
    named = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return named if isinstance(error, (OSError, MemoryError)) else f"{named} (unexpected: it may be a bug in sdd)"


def stem_of(word: str) -> str:
    """How the files of an analysis with parameters are called: flatness:points=51 is flatness,points=51."""
    return word.replace(":", ",")


def _finite(value: Any) -> Any:
    # Neither JSON nor a CSV of numbers has a NaN: what is not known is empty.
    return None if isinstance(value, float) and not isfinite(value) else value


def _named(name: str) -> bool:
    """Whether a word can be the name of a number: a column of tables, and a letter of a database's language in none."""
    return re.fullmatch(r"[\w. ()/%+=:-]{1,200}", name) is not None


def _number(value: Any) -> bool:
    """Whether a value is a number, of those that a float can be, or empty."""
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**300)
