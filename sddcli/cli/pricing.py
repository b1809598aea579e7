"""Pricing: what a sweep would do and cost: its runs, epochs, files, hours, and the smallest dip that it would see."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sddcli import resolve
from sddcli.cli.launching import How
from sddcli.cli.progress import spoken_time
from sddcli.core.words import printable
from sddcli.spec import Run, last_level
from sddcli.store import Store, StoreError

if TYPE_CHECKING:
    from sddcli.sweeps import Progress


def price(store: Store, plan: Sequence[resolve.Table], how: How, as_json: bool, damaged: list[StoreError]) -> None:
    """Says what making the missing runs of these tables costs."""
    from sddcli import sweeps

    chosen = any(last_level(table) for table in plan)
    sweep = sweeps.progress(store, plan, set[Run]().__contains__, at_most=True)
    _estimate(store, sweep, how, as_json, chosen, damaged)


def _estimate(
    store: Store, sweep: "Progress", how: How, as_json: bool, chosen: bool, damaged: list[StoreError]
) -> None:
    """What a sweep would do: its runs, epochs, disk, and where runs of its kind are in this folder time and power."""
    from sddcli import sweeps
    from sddcli.launchers import machine
    from sddcli.recipes import planning

    runs, todo, asked = len(sweep.runs), sweep.left, sweep.asked
    epochs, size, files = planning.epochs(todo), planning.disk(todo), planning.files(todo)
    workers, split = _split(todo, how)
    notes = [*planning.notes(todo)]
    if faster := planning.faster_in_bf16(todo) if machine.multiplies_bf16(how.device) else ():
        notes.append(f"--precision bf16 is faster for {', '.join(faster)} on this processor: see docs/performance.md")
    alone = sweeps.seconds(todo, dict(store.manifests(damaged)) if store.root.is_dir() else {})
    seconds = None if alone is None else alone / workers
    if as_json:
        dip, _, _ = _power(store, asked)
        facts: dict[str, Any] = {
            "runs": runs,
            "done": runs - len(todo),
            "to do": len(todo),
            "epochs": epochs,
            "bytes": size,
        }
        facts |= {"files": files, "seconds": seconds, "workers": workers, "split": split}
        more = {"detectable_dip": dip, "notes": notes}
        print(json.dumps(facts | more, indent=1))
        return
    most = "at most " if chosen else ""
    print(f"{most}{runs} runs: {runs - len(todo)} done, {most}{len(todo)} to do")
    for note in notes:
        print(note)
    print(f"epochs to train: {epochs}")
    much = f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
    print(f"disk: about {much} in {files} files in {store.root}")
    print(f"split: {split}")
    when = "unknown until runs of this kind are timed here" if seconds is None else f"about {spoken_time(seconds)}"
    print(f"time on {workers} worker{'s' if workers > 1 else ''}: {when}")
    dip, seeds, basis = _power(store, asked)
    if dip is None:
        print("smallest dip that this sweep can detect: unknown until two seeds of this kind are here")
    else:
        print(
            f"with {seeds} seed{'s' * (seeds != 1)}, 4 of 5 such sweeps detect a dip of {100 * dip:.1f} points{basis}"
        )


def _split(todo: Sequence[Run], how: How) -> tuple[int, str]:
    """How many workers make these runs side by side, and in words how the runs are split among them."""
    from sddcli.launchers import agenda, machine, ray, slurm

    cluster, chains, gpus = how.cluster, agenda.width(todo), how.gpus
    if cluster.on == "slurm":
        jobs = slurm.jobs_for(todo, how.workers or 0)
        workers, device = jobs * max(int(gpus or 0), 1), "cuda" if gpus else "cpu"
        of = f"of {_counted(jobs, 'Slurm job')} of at most {spoken_time(60 * slurm.minutes_of(cluster.time))} each"
    elif cluster.on == "ray":
        share, capacity = ray.room(ray.Cluster(cluster.address, how.workers or 0, gpus, how.threads))
        workers, device = min(capacity, chains), "cuda" if share else "cpu"
        of = f"of a Ray cluster, {share:g} GPUs each"
    else:
        workers, device = how.crew(todo), machine.kind(how.device) if how.device == "auto" else how.device
        of = f"of this machine, on {' '.join(machine.devices(device))}"
    together = min(machine.most_side_by_side(device), -(-chains // workers))
    return workers, f"{_counted(chains, 'chain')} over {_counted(workers, 'worker')} {of}, {together} at once in each"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


KIN, CLOSER = ("dataset", "model"), ("noise", "train_size")  # whose scatter a sweep's is taken to be


def _power(store: Store, asked: Sequence[Run]) -> tuple[float | None, int, str]:
    """The dip that the sweep would detect, by how runs of its data and model in the folder scatter; its seeds.

    And what these runs are, in words, where they have other labels or examples than it.
    """
    from sddcli import judging, table
    from sddcli.verdicts import double_descent

    seeds, levels = len({run.seed for run in asked}), len({run.level for run in asked})
    try:
        frame = table.grown(table.results(store, damaged=[]))  # what cannot be read was named before
    except StoreError:
        return None, seeds, ""
    values = {name: {getattr(run, name) for run in asked} for name in (*KIN, *CLOSER)}
    values["dataset"] = {printable(str(word)) for word in values["dataset"]}
    alike = {name: frame[name].isin(values[name]) for name in values}
    kin = frame[alike["dataset"] & alike["model"]]
    close = frame[alike["dataset"] & alike["model"] & alike["noise"] & alike["train_size"]]
    scatter = [curves.test for curves in judging.curves(kin if close.empty else close)]
    dip = double_descent.detectable_by(scatter, seeds, levels)
    return dip, seeds, " (by runs of other noise or size)" if close.empty and dip is not None else ""
