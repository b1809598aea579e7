"""Families: a new member of a table is one entry, and is trained, saved and verified without a line anywhere else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import sddcli
from sddcli.core.allocation import ALLOCATIONS, Allocation
from sddcli.core.criteria import CRITERIA, Criterion
from sddcli.core.inits import INITS, kaiming
from sddcli.core.lessons import LESSONS, Teaching, supervised
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.maskings import MASKINGS, Masking
from sddcli.core.noise import NOISES
from sddcli.core.optimizers import OPTIMIZERS, Optimizer, sgd
from sddcli.core.regularization import REGULARIZATIONS, Change, Regularization
from sddcli.core.retraining import RETRAININGS, Origin, Retraining, lottery, ticket, untrained
from sddcli.core.starts import STARTS
from sddcli.core.timetables import TIMETABLES
from sddcli.core.types import Tensors
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


def patient(length: Any) -> dict[int, Callable[..., Any]]:
    return {3: lambda state, context: replace(state, masks=context.prune(state, context.targets))}


def frozen(weights: Any, prunable: Any, counts: Any, draw: Any) -> Any:
    learned = {name: w for name, w in weights.items() if name in prunable}
    return learned, {name: w for name, w in weights.items() if name not in prunable}


def of_masking(run: Run) -> Origin:
    return lottery(run)._replace(masks=lottery(run).masks._replace(run=ticket(run), masking="mine"))


def doubled(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Change:
    return lambda: torch._foreach_mul_(list(gradients.values()), 2.0)


MINE: dict[str, tuple[list[tuple[dict[str, Any], Any]], dict[str, str]]] = {
    # family -> (table, entry) and the field that names it
    "criterion": ([(CRITERIA, Criterion(smallest))], {"criterion": "mine"}),
    "allocation": ([(ALLOCATIONS, Allocation(lambda shapes, kept, _: dict.fromkeys(shapes, 16)))], {"scope": "mine"}),
    "unit": ([(UNITS, rows)], {"unit": "mine"}),  # type: ignore[list-item]
    "start": ([(STARTS, lambda weights, masks, draw: {n: 2 * w for n, w in weights.items()})], {"start": "mine"}),  # type: ignore[list-item]
    "noise": ([(NOISES, lambda labels, rate, classes, draw: (labels + 1) % classes.number)], {"noise_kind": "mine"}),
    "init": ([(INITS, lambda shapes, draw: {n: w / 2 for n, w in kaiming(shapes, draw).items()})], {"init": "mine"}),
    "loss": ([(LOSSES, lambda logits, y, parameters: 2 * cross_entropy(logits, y, parameters))], {"loss": "mine"}),
    "regularization": ([(REGULARIZATIONS, Regularization(doubled))], {"regularization": "mine"}),
    "optimizer": ([(OPTIMIZERS, Optimizer(sgd, ("velocity",)))], {"optimizer": "mine"}),
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


# folder of the package -> a file in it, the whole of what a new member takes
FILES = {
    "analyses": '''
"""Mine: the largest weight of a network."""
from sddcli.core.types import Measurement, Subject
UNITS = {"mine_largest": "number"}
def measure(subject: Subject, *, times: float = 1.0) -> Measurement:
    return Measurement({"mine_largest": times * max(float(w.abs().max()) for w in subject.net.final.values())})
''',
    "analyses/pairs": '''
"""Mine: by how much the largest weights of two networks differ."""
from sddcli.core.types import Measurement, Subject
def measure(a: Subject, b: Subject) -> Measurement:
    here, there = (max(float(w.abs().max()) for w in each.net.final.values()) for each in (a, b))
    return Measurement({"mine_difference": there - here})
''',
    "verdicts": '''
"""Mine: at which level networks are best."""
QUESTION = "Which level is best?"
NOTE = "Of the mean over seeds."
INDICES = ("best",)
def judge(test, train, density):
    best = int(test.mean(0).argmax())
    return {"best": best, "n": len(test), "halves": ["first" if k <= best else "second" for k in range(test.shape[1])]}
def marks(verdict):
    return {"mine_half": verdict["halves"]}
def sentences(row):
    yield f"best at {row.get('along') or 'level'} {row['best']}: {row['halves']}"
''',
    "verdicts/sizes": '''
"""Mine: what the largest training set adds to train accuracy."""
def judge(sizes, train, *, times: float = 1.0):
    return {"mine_gain": list(times * (train[-1] - train[0]))}
def cells(row):
    return {"gain of data": f"{row['mine_gain']:.3f}"}
''',
    "plots": '''
"""Mine: test loss against sparsity."""
from sddcli.plots.style import band, curves, headline, panels, placed, x_axis
NEEDS = ("test_loss",)
def draw(summary, varied, title, x="sparsity"):
    summary = placed(summary, x)
    with panels() as (figure, (ax,)):
        for _, colour, curve in curves(summary, varied):
            band(ax, curve, "test_loss", color=colour)
        x_axis(ax, summary, x)
        headline(ax, title, summary)
    return figure
''',
}  # fmt: skip
SAYS = {
    "analyses": [
        ("analyze mine", "mine largest"),
        ("analyze mine:times=2 --along train-size --where level=0", "mine "),
    ],
    "analyses/pairs": [("analyze mine", "mine difference")],
    "verdicts": [
        ("analyze mine", "best at level"),
        ("analyze mine --along train-size --where level=0", "best at training examples"),
    ],
    "verdicts/sizes": [("analyze mine", "gain of data"), ("analyze mine:times=2", "gain of data")],
    "plots": [("plot mine -o mine.svg", "mine.svg"), ("plot mine --along lr -o mine.svg", "do not differ along lr")],
}


@pytest.fixture(scope="module")
def several_sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two training sets, two seeds, three levels."""
    root = tmp_path_factory.mktemp("sizes")
    ends = [replace(RUN, train_size=n, seed=seed) for n, seed in product((100, 200), (0, 1))]
    for run in with_parents(ends):
        prune_retrain.work(Store(root), [run], {}, "cpu", lambda event: None)
    return root


COMMANDS = """
import json, sys
from sddcli.cli.app import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["sdd", *words]
    try:
        main()
    except SystemExit:
        print("=====", flush=True)
from pathlib import Path
from sddcli import table
from sddcli.cli.kinds import summarized
print(*summarized(table.grown(table.read(Path("runs")))))
"""


@pytest.mark.parametrize("folder", FILES)
def test_a_new_member_is_one_file(folder: str, several_sizes: Path, tmp_path: Path) -> None:
    """In a copy of the package with this one file more: commands, help, tables and the page know it."""
    package, runs = tmp_path / "sddcli", shutil.copytree(several_sizes, tmp_path / "runs")
    shutil.copytree(Path(str(sddcli.__file__)).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / folder / "mine.py").write_text(FILES[folder].lstrip())
    asked = [[*words.split(" ")[:2], "runs", *words.split(" ")[2:]] for words, _ in SAYS[folder]]
    asked.append(["plot" if folder == "plots" else "analyze", "--help"])
    asked += [["report", "runs", "-o", "report.html"]] if folder == "verdicts" else []
    command = [sys.executable, "-c", COMMANDS, json.dumps(asked)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    *outs, columns = ended.stdout.split("=====\n")
    assert ended.returncode == 0 and "Traceback" not in ended.stdout, ended.stdout
    for out, (words, says) in zip(outs, [*SAYS[folder], ("--help", "mine")], strict=False):
        assert says in out, f"{words}: {out}"
    if folder.startswith("analyses"):
        assert any("mine" in path.name for path in (runs / "measures").iterdir())
    if folder.startswith("verdicts"):
        assert "mine_" in columns, "figures can draw it"
    if folder == "verdicts":
        page = (tmp_path / "report.html").read_text()
        assert "Which level is best?" in page and "best at level" in page and "Of the mean" in page
