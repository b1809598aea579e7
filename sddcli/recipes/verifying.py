"""Verifying: is what lies in a store what its manifests say, and do its runs follow from each other."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sddcli.core import masks
from sddcli.core.maskings import MASKINGS
from sddcli.core.retraining import masks_of
from sddcli.core.stacking import stacked
from sddcli.core.types import Tensors
from sddcli.core.words import UsageError
from sddcli.recipes import starting
from sddcli.recipes.measuring import data_of
from sddcli.spec import Run
from sddcli.stages import setting, training
from sddcli.store import Damaged, Manifest, Store, StoreError

NEAR = 0.005
"""How far an accuracy may be from the recorded one where another machine made it."""


def verified(store: Store, evaluate: bool = False) -> Iterator[tuple[Path, list[StoreError]]]:
    """Each folder of a run and the list of what is wrong in it, a Damaged where making the run again mends that.

    Checked are the hashes of all files; that as many weights are kept as recorded, and that they are finite; that masks
    follow from those of the run they were made from, as the retraining says. evaluate: accuracies are computed again,
    too.
    """
    for folder, content in store.survey():
        if isinstance(content, StoreError):
            yield folder, [content]
            continue
        run, manifest = content
        wrong = store.damaged(run)
        if not wrong and manifest["stage"] == "trained":
            try:
                wrong = _inside(store, run, manifest)
                if evaluate and "weights.safetensors" in manifest["files"]:
                    wrong += _again(store, run, manifest)
            except StoreError as error:
                wrong = [error]
            except UsageError as error:
                wrong = [Damaged(f"{folder}: {error}")]
        yield folder, wrong


def _inside(store: Store, run: Run, manifest: Manifest) -> list[StoreError]:
    wrong, stored = (
        list[StoreError](),
        set(manifest["files"]).intersection(("weights.safetensors", "masks.safetensors")),
    )
    if not stored:  # dropped by sdd gc
        return []
    kept = store.masks(run)
    if "weights.safetensors" in stored:
        weights = store.weights(run)[0]
        if not all(w.isfinite().all() for w in weights.values()):
            wrong.append(Damaged(f"{store.folder(run)}: its weights are not all numbers"))
    density = masks.density(kept)
    opened = run.level == 0 or (masks_of(run).masking == "open" and not setting.moves(run))
    recorded = 1.0 if opened else manifest["metrics"].get("density")
    if recorded is None or abs(density - recorded) > 1e-12:
        kept_share = f"{density:.6%} of its weights are kept, and its manifest says {recorded}"
        wrong.append(Damaged(f"{store.folder(run)}: {kept_share}"))
    return wrong + (_nested(store, run, kept) if run.level else [])


def _nested(store: Store, run: Run, kept: Tensors) -> list[StoreError]:
    source, masking, moment = masks_of(run)
    try:
        above = store.masks(source)
    except StoreError:  # it is reported with that run, or the run is not there
        return []
    rule = MASKINGS[masking]
    if moment == "fresh" or rule.follows(kept, above):  # fresh weights differ from level to level
        return []
    return [Damaged(f"{store.folder(run)}: {rule.otherwise.format(other=store.folder(source))}")]


def _again(store: Store, run: Run, manifest: Manifest) -> Sequence[StoreError]:
    try:
        data = data_of(store, run)
    except (UsageError, OSError, StoreError) as error:  # which no run is to blame for
        return [StoreError(f"{store.folder(run)} cannot be evaluated: {error}")]
    model, weights = setting.model_of(run, data), store.weights(run)[0]
    starting.must_fit(run, model, weights)
    together = stacked([weights], model.weights)
    accuracies, recorded = training.metrics([run], model, together, data)[0], dict(manifest["metrics"])
    # Where networks are drawn, metrics are means over them, and these of the one that is kept.
    recorded |= {name.removeprefix("stored_"): value for name, value in recorded.items() if name.startswith("stored_")}
    wrong = []
    for name in ("train_accuracy", "test_accuracy"):
        if abs(accuracies[name] - recorded[name]) > NEAR:
            now = f"its {name} is {accuracies[name]:.4f} now, and its manifest says {recorded[name]}"
            wrong.append(Damaged(f"{store.folder(run)}: {now}"))
    return wrong
