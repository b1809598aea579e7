"""Sources: own code makes runs as sdd's own does; its source is identity; it runs only where its user says so."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sddcli.core import labels, own
from sddcli.core.words import UsageError
from sddcli.data import load
from sddcli.events import Event, Failed
from sddcli.recipes import planning, prune_retrain, verifying
from sddcli.resolve import parse, runs
from sddcli.sources import changed, identified, keep, labelled, trust
from sddcli.spec import Run, with_parents
from sddcli.stages import setting
from sddcli.store import Store, StoreError
from tests.conftest import Sdd
from tests.datasets.small import image_folder

NET = """
from math import prod
import torch
from torch import nn

class Scaled(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_out, n_in))
        self.scale = nn.Parameter(torch.full((n_out,), 0.5))
    def forward(self, x):
        return x @ self.weight.T * self.scale

def Net(inputs, classes, width=16):
    layers = Scaled(prod(inputs), width), nn.BatchNorm1d(width), nn.ReLU(), nn.LayerNorm(width)
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, classes))
"""

IDEAS = '''
import numpy as np
import torch

def size(net, *, power=1.0):
    """The magnitude, by another name."""
    return {name: w.abs() ** power for name, w in net.final.items()}

def next_class(labels, rate, classes, generator):
    chosen = generator.random(len(labels)) < rate
    return np.where(chosen, (labels + 1) % classes.number, labels)

def squared(logits, labels):
    return (logits - torch.nn.functional.one_hot(labels, logits.shape[1])).square().sum(1).mean()

def half(shapes, draw):
    return {name: torch.from_numpy(draw(name).standard_normal(shape)).float() / 20 for name, shape in shapes.items()}

def mirrored(images, numbers):
    return torch.where(numbers[:, 0, None, None, None] < 0.5, images.flip(3), images)

def signs(weights, masks, draw):
    return {name: w.sign() * w.abs().mean() for name, w in weights.items()}

def lion(w, g, memory, update, beta=0.9):
    """Chen et al. 2023: the sign of a mean of gradients. The step is as long as the weights of the tensor are large."""
    step = (beta * memory["mean"] + (1 - beta) * g).sign() * w.norm().clamp(min=1)
    memory["mean"] = beta * memory["mean"] + (1 - beta) * g
    return w - update.lr * step / w.numel() ** 0.5
lion.memory = ("mean",)

def restless(w, g, memory, update):
    return w - update.lr * g + 1e-3

def flowers():
    generator = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = generator.integers(0, 255, (120, 3, 8, 8), dtype=np.uint8)
    x[np.arange(120), y] //= 4
    return x[:90], y[:90], x[90:], y[90:]
'''

QUICK = ("--levels", "0-1", "--seeds", "0", "--epochs", "1", "--workers", "1", "--train-size", "200")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's code, in which nothing may run yet."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "ideas.py").write_text(IDEAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "SOURCES", {})
    return tmp_path


def finished() -> list[Run]:
    return [run for run, _ in Store("runs").manifests()]


def test_a_network_of_ones_own_goes_from_sweep_to_report(sdd: Sdd, files: Path) -> None:
    """With a layer of its own, BatchNorm and LayerNorm; what it keeps is read again without the file."""
    assert sdd("sweep", "--model", "net.py:Net:width=12", *QUICK).code == 0
    dense, pruned = finished()
    assert dense.model == pruned.model == identified("net.py:Net:width=12")
    assert Path("runs/code", f"net@{dense.model[7:19]}.py").read_text() == NET
    (files / "net.py").unlink()
    own.SOURCES.clear()
    assert sdd("analyze", "signs,double-descent,untrained", "runs", "--trust").code == 0
    assert sdd("verify", "runs", "--evaluate", "--trust").code == 0
    assert sdd("report", "runs").code == 0 and "net.py@" in Path("report.html").read_text()


def test_ones_own_network_starts_as_its_code_says_where_no_initialization_does() -> None:
    run = Run("digits", identified("net.py:Net"))
    model = setting.model_of(run, load("digits"))
    assert model.prunable == ("1.weight", "5.weight") and model.statistics == {
        "2.running_mean": (16,),
        "2.running_var": (16,),
    }
    start = setting.fresh(run, model)
    assert (start["1.scale"] == 0.5).all() and (start["5.bias"] == 0).all() and start["1.weight"].std() > 0.1


def made(**words: str) -> Run:
    """Trains what these words ask for in this process; the last run."""
    asked = with_parents(runs({"level": "1", "seed": "0", "epochs": "2", "noise": "0.3", **words}))
    events = list[Event]()
    planning.check(asked)
    for run in asked:
        prune_retrain.work(Store("runs"), [run], {}, "cpu", events.append)
    assert not [event.reason for event in events if isinstance(event, Failed)]
    return asked[-1]


def test_ideas_of_ones_own_make_runs() -> None:
    words = {
        "noise_kind": "next_class",
        "loss": "squared",
        "init": "half",
        "start": "signs",
        "criterion": "size:power=2",
    }
    ideas = {name: f"ideas.py:{word}" for name, word in words.items()}
    run = made(model="lenet-16", train_size="300", **ideas)
    assert {name: getattr(run, name) for name in ideas} == {name: identified(word) for name, word in ideas.items()}
    assert [wrong for _, wrong in verifying.verified(Store("runs"), evaluate=True) if wrong] == []


@pytest.mark.parametrize("model", ["lenet-33-17", "net.py:Net:width=13"])
def test_an_optimizer_of_ones_own_trains_to_the_same_bits_in_any_company_and_after_any_interruption(
    model: str,
) -> None:
    """It looks at whole tensors, of sizes that end within a cache line. Its memory is part of what is saved."""
    words = {
        "model": model,
        "optimizer": "ideas.py:lion:beta=0.8",
        "lr": "0.02",
        "epochs": "3",
        "train_size": "200",
        "batch_size": "16",
    }
    dense, chain = (runs({"seed": "0-2", "noise": "0.3", **words, "level": level}) for level in ("0", "1"))
    prune_retrain.work(Store("together"), dense, {}, "cpu", lambda _: None)
    prune_retrain.work(Store("together"), chain, {}, "cpu", lambda _: None)
    for run in (*dense, *chain):
        stops = iter((False, False, True))  # before it begins, after its first epoch, after its second
        pace = prune_retrain.Pace(1e9, stops.__next__)
        prune_retrain.work(Store("alone"), [run], {}, "cpu", lambda _: None, pace)
        assert not Store("alone").finished(run)
        prune_retrain.work(Store("alone"), [run], {}, "cpu", lambda _: None)
        for name, w in Store("together").weights(run)[0].items():
            assert torch.equal(w, Store("alone").weights(run)[0][name]), (run.seed, run.level, name)
    assert all(Store("alone").manifest(run)["metrics"]["train_accuracy"] > 0.3 for run in dense)  # type: ignore[index]


def test_a_pruned_weight_stays_zero_whatever_an_optimizer_of_ones_own_does() -> None:
    run = made(model="lenet-16", optimizer="ideas.py:restless", lr="0.1", train_size="200", rate="0.5")
    weights, masks = Store("runs").weights(run)
    assert sum(int((~mask).sum()) for mask in masks.values()) > 400
    assert not any(weights[name][~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize(
    "source, says",
    [
        ("def mine(w, g, memory, update): return w[:1]", "of a weight of shape (16, 64) an optimizer of your own gave"),
        ("def mine(w, g, memory, update): w -= g", "gave a new weight: NoneType"),
        ("def mine(w, g, memory, update): memory['mean'] = g; return w", "gave mean: (16, 64)"),
        ("def mine(w, g, memory, update): return w\nmine.memory = 'mean'", "is a tuple of names"),
        ("def mine(w, g, memory, update): return w / nothing", "failed, line 1: NameError"),
    ],
)
def test_what_is_wrong_with_an_optimizer_is_said_in_one_line(files: Path, source: str, says: str) -> None:
    (files / "wrong.py").write_text(source)
    events = list[Event]()
    asked = runs({"model": "lenet-16", "optimizer": "wrong.py:mine", "level": "0", "seed": "0", "epochs": "1"})
    try:
        planning.check(asked)
        prune_retrain.work(Store("runs"), asked, {}, "cpu", events.append)
        (reason,) = (event.reason for event in events if isinstance(event, Failed))
    except UsageError as error:
        reason = str(error)
    assert says in reason and "\n" not in reason


def test_images_of_ones_own_are_augmented_by_ones_own() -> None:
    """Bytes stay bytes, and are normalized by the mean and deviation of their channels."""
    run = made(dataset="ideas.py:flowers", augment="ideas.py:mirrored", model="net.py:Net")
    data = load(run.dataset)
    x = np.asarray(data.train.x, dtype=float)
    assert data.classes == 3 and data.train.x.dtype == torch.uint8 and len(data.test.y) == 30
    assert np.allclose(data.mean, x.mean((0, 2, 3))) and np.allclose(data.deviation, x.std((0, 2, 3)))


SEEING = """
from matplotlib.figure import Figure
from sddcli.core.types import Measurement

def largest(subject, times=1.0):
    return {"largest": times * max(float(w.abs().max()) for w in subject.net.final.values())}

def layers(subject):
    rows = [{"layer": name, "kept": int(mask.sum())} for name, mask in subject.net.masks.items()]
    return Measurement({"layers": len(rows)}, rows)

def apart(a, b, power=2.0):
    # How far two networks are from each other.
    both = ((w - b.net.final[name]).abs() ** power for name, w in a.net.final.items())
    return {"apart": sum(float(each.sum()) for each in both) ** (1 / power)}

def draw(summary, varied, title, x="sparsity"):
    figure = Figure()
    figure.subplots().plot(summary[x], summary["test_loss"])
    return figure
draw.NEEDS = ("test_loss",)
"""


def test_measures_and_figures_of_ones_own(sdd: Sdd, files: Path) -> None:
    made(model="lenet-16", train_size="200")
    (files / "see.py").write_text(SEEING)
    (rows, more) = sdd("analyze", "see.py:largest:times=2,see.py:layers", "runs", "--json").json.values()
    assert {row["largest"] > 0.1 for row in rows} == {True} and more[0]["layers"] == 1
    pairs = sdd("analyze", "see.py:apart", "runs", "--pairs", "levels", "--json").json
    assert [row["apart"] > 0.1 for row in pairs] == [True] and {"other", "other_level"} <= set(pairs[0])
    dense, pruned = (Store("runs").folder(run) for run in finished())
    assert sdd("analyze", "see.py:apart:power=1", "runs", "--between", dense, "--between", pruned).code == 0
    outcome = sdd("analyze", "see.py:largest", "runs")
    assert "largest" in outcome.out and outcome.code == 0
    assert sdd("plot", "see.py:draw", "runs").out == "see-draw.png\n" and Path("see-draw.png").stat().st_size > 5000


SMALL_VIT = """
from torchvision.models import VisionTransformer
def Net(inputs, classes):
    net = VisionTransformer(inputs[1], 4, 1, 2, 16, 32, num_classes=classes)
    return net
"""


def test_a_small_vision_transformer_is_pruned(files: Path) -> None:
    """Attention's weights are prunable, its class token and positions are not, and start as its code has them."""
    (files / "vit.py").write_text(SMALL_VIT)
    run = made(dataset="ideas.py:flowers", model="vit.py:Net")
    model = setting.model_of(run, load(run.dataset))
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_weight" in model.prunable
    assert not {"class_token", "encoder.pos_embedding"} & set(model.prunable)
    weights, masks = Store("runs").weights(run)
    assert weights["class_token"].shape == (1, 1, 16) and sum(int(mask.sum()) for mask in masks.values()) < model.size


def test_networks_of_torchvision_have_the_classes_and_inputs_of_the_data() -> None:
    run = made(dataset="ideas.py:flowers", model="torchvision:shufflenet_v2_x0_5", augment="none", epochs="1")
    assert setting.model_of(run, load(run.dataset)).output == "fc.weight"
    for word, says in (
        ("torchvision:nothing", "Unknown model nothing"),
        ("torchvision:resnet18:depth=3", "unexpected keyword argument 'depth'"),
    ):
        with pytest.raises(UsageError, match=says):
            planning.check(runs({"dataset": "ideas.py:flowers", "model": word})[:1])


def test_a_criterion_of_ones_own_says_in_its_word_what_it_ranks() -> None:
    """So that which runs it needs is known where its code may not run."""
    word = identified("ideas.py:size:moment=initial")
    own.SOURCES.clear()
    run = Run("digits", "lenet-16", criterion=word, level=3, rate=0.2, retraining="lottery")
    assert run.parents == ()
    with pytest.raises(UsageError, match="unknown moment"):
        Run("digits", "lenet-16", criterion=f"{word[:-7]}later", level=3, rate=0.2, retraining="lottery").parents  # noqa: B018


def test_a_source_changed_by_one_character_is_another_run_and_that_is_said(files: Path) -> None:
    before = runs({"model": "net.py:Net"})
    keep(Store("runs"), before)
    assert changed(Store("runs"), before) == []
    (files / "net.py").write_text(NET + "\n")
    after = runs({"model": "net.py:Net"})
    assert not set(before) & set(after) and {run.slug for run in before} != {run.slug for run in after}
    was = before[0].model[:-4]
    assert changed(Store("runs"), after) == [f"net.py is another than before: these are other runs than those of {was}"]


def test_where_a_file_lies_does_not_matter(files: Path) -> None:
    (files / "deep").mkdir()
    (files / "deep" / "net.py").write_text(NET)
    assert identified("deep/net.py:Net") == identified("net.py:Net") == identified(f"{files}/net.py:Net")
    assert parse("model", "net.py:Net, lenet-16") == [identified("net.py:Net"), "lenet-16"]


def test_code_of_a_folder_runs_only_when_that_is_said(sdd: Sdd, files: Path) -> None:
    """Its author's network wrote a file, and does so no more unless its reader says --trust."""
    (files / "net.py").write_text(NET + "\nfrom pathlib import Path\nPath('ran').touch()\n")
    sdd("sweep", "--model", "net.py:Net", *QUICK)
    Path("ran").unlink()
    own.SOURCES.clear()
    own._module.cache_clear()
    for words in (
        ["analyze", "flatness", "runs"],
        ["verify", "--evaluate", "runs"],
        ["report", "runs"],
        ["status", "runs"],
        ["list", "runs"],
        ["plot", "double-descent", "runs"],
        ["logs", str(next(Path("runs").glob("*dense*")))],
    ):
        outcome = sdd(*words)
        assert not Path("ran").exists(), words
        if words[0] in ("analyze", "verify"):
            assert outcome.code and "only if you say so: read it in the folder code/" in outcome.err
    assert sdd("analyze", "flatness", "runs", "--trust").code == 0 and Path("ran").exists()


def test_a_file_of_settings_may_not_name_code_unless_that_is_said(sdd: Sdd, files: Path) -> None:
    (files / "sweep.toml").write_text('model = "net.py:Net"\nepochs = 1\nlevel = 0\nseed = 0\n')
    outcome = sdd("sweep", "sweep.toml")
    assert outcome.code == 2 and "names code, net.py:Net" in outcome.err and not own.SOURCES
    assert sdd("sweep", "sweep.toml", "--trust").code == 0


def test_kept_code_is_what_its_name_says(tmp_path: Path) -> None:
    store = Store("runs")
    keep(store, runs({"model": "net.py:Net"}))
    assert list(store.code().values()) == [NET.encode()]
    (copy,) = Path("runs/code").iterdir()
    copy.write_text("print('other')")
    with pytest.raises(StoreError, match="is not the code that its name says"):
        trust(store)
    copy.unlink()
    copy.symlink_to(tmp_path / "net.py")
    with pytest.raises(StoreError, match="cannot read"):
        trust(store)


@pytest.mark.parametrize(
    "source, says",
    [
        ("def Net(inputs, classes):\n    return 1 / 0", "line 2: ZeroDivisionError"),
        ("def Net(inputs, classes)", "line 1: SyntaxError"),
        ("def Other(): pass", "unknown model of net.py@"),
        ("def Net(inputs, classes): return 3", "a network is a torch.nn.Module, and this is int"),
        ("import nothing_there", "ModuleNotFoundError: No module named 'nothing_there'"),
        ("from torch.nn import Flatten\ndef Net(inputs, classes): return Flatten()", "(2, 64), and not (2, 10)"),
    ],
)
def test_what_is_wrong_with_code_is_said_in_one_line(files: Path, source: str, says: str) -> None:
    (files / "net.py").write_text(source)
    with pytest.raises(UsageError) as error:
        planning.check(runs({"model": "net.py:Net"})[:1])
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "word, says",
    [
        ("nowhere.py:Net", "cannot read nowhere.py: No such file or directory"),
        ("net.py", "say which function or class of it, as in net.py:Net"),
        ("net.py:Net:depth=3", "unknown parameter of model"),
    ],
)
def test_a_wrong_name_of_code_is_wrong_usage(word: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        planning.check(runs({"model": word})[:1])


def test_a_retraining_cannot_be_ones_own() -> None:
    """What a run grows from must be known where its code may not run."""
    with pytest.raises(
        UsageError, match="retraining takes no code of your own, such as net.py:Net; what does: dataset"
    ):
        runs({"retraining": "net.py:Net"})


def test_ids_of_runs_with_own_code_stay(files: Path) -> None:
    (files / "net.py").write_text("pinned")
    run = Run("digits", identified("net.py:Net"))
    assert (run.model, run.id) == ("net.py@3fab5c181bd2:Net", "23c8f39e7750")


def test_labels_of_a_file_take_the_place_of_the_true_ones(files: Path) -> None:
    """By an example's number in the whole training set, also in a part; where the file is silent they are true."""
    truth = load("digits").train.y
    wrong = {3: 1, 500: 7, 1296: 9}
    (files / "people.csv").write_text("index,label\n" + "".join(f"{k},{label}\n" for k, label in wrong.items()))
    word = labelled("file:people.csv")
    labels = setting.noisy_labels(Run("digits", "lenet-16", noise=1.0, noise_kind=word), load("digits"))
    expected = truth.clone()
    for k, label in wrong.items():
        expected[k] = label
    assert torch.equal(labels, expected)
    part, run = load("digits", 400, 0.25), Run("digits", "lenet-16", 1.0, word, train_size=400, validation=0.25)
    held = setting.held_labels(run, part)
    assert torch.equal(setting.noisy_labels(run, part), expected[part.rows])
    assert held is not None and torch.equal(held, expected[part.held_rows])


def test_a_file_of_labels_says_itself_how_many_are_wrong(files: Path, sdd: Sdd) -> None:
    """Its runs are trained, kept and measured without the file; the table has noise and confusion."""
    truth = load("digits").train.y
    (files / "people.txt").write_text("\n".join(str((int(y) + (k % 4 == 0)) % 10) for k, y in enumerate(truth)))
    assert sdd("sweep", "--noise-kind", "file:people.txt", "--model", "lenet-16", *QUICK[:-2]).code == 0
    assert {(run.noise, run.noise_kind) for run in finished()} == {(1.0, labelled("file:people.txt"))}
    (files / "people.txt").unlink()
    labels.FILES.clear()
    rows = sdd("analyze", "label-noise", "runs", "--json").json
    assert rows[0]["label_noise"] == pytest.approx(325 / 1297)
    table = Path("runs/measures/label-noise-details.csv").read_text()
    assert table.startswith("run,level,class,called,examples,share\n") and ",0,1," in table


@pytest.mark.parametrize("old", [False, True])
def test_cifar_10n_is_read_from_its_own_file(files: Path, old: bool) -> None:
    """CIFAR-10_human.pt of Wei et al. (2022): a dictionary of arrays; nothing of it is run."""
    columns = {name: np.arange(20) % 10 for name in ("clean_label", "aggre_label", "worse_label", "random_label1")}
    columns["worse_label"] = (columns["worse_label"] + 1) % 10
    torch.save(columns, files / "CIFAR-10_human.pt", _use_new_zipfile_serialization=not old)
    word = labelled("file:CIFAR-10_human.pt:column=worse_label")
    assert word.startswith("file:CIFAR-10_human-worse_label@")
    assert labels.FILES[word[5:]].decode().splitlines()[:2] == ["0,1", "1,2"]
    with pytest.raises(
        UsageError, match="has several columns, clean_label, aggre_label, worse_label, random_label1: name"
    ):
        labelled("file:CIFAR-10_human.pt")


def test_labels_of_images_go_by_the_names_of_their_files(files: Path) -> None:
    """In folders of classes their names are not unique: then they stand with the folder."""
    word = image_folder(files)
    data = load(word)
    assert data.names[0] == "cat/0.jpg" and len(data.names) == 10
    (files / "mine.csv").write_text("file;annotator\ncat/0.jpg;1\n")
    run = Run(word, "convnet", noise=1.0, noise_kind=labelled("file:mine.csv"))
    assert (setting.noisy_labels(run, data) != data.train.y).tolist() == [True] + 9 * [False]


@pytest.mark.parametrize(
    "text, says",
    [
        ("index,label\n1,cat\n", "label 1 of labels.csv, 'cat', is no class"),
        ("1,2\n1,3\n", "has two labels of one example, such as '1'"),
        ("1,2\n1\n", "line 2 of labels.csv has not the 2 columns"),
        ("", "has no labels"),
        ("index,a,b\n1,2,3\n", "has several columns, a, b: name one, as in :column=b"),
        ("index,label\n1,77\n", "has the label 77, and classes go from 0 to 9"),
        ("name,label\nx.png,7\n", "they have no names such as 'x.png'"),
    ],
)
def test_wrong_files_of_labels_say_what_is_wrong(files: Path, text: str, says: str) -> None:
    (files / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=re.escape(says)):
        run = Run("digits", "lenet-16", noise=1.0, noise_kind=labelled("file:labels.csv"))
        setting.noisy_labels(run, load("digits"))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_named_as_labels_runs_nothing(files: Path) -> None:
    (files / "labels.pt").write_bytes(pickle.dumps({"worse_label": Evil()}))
    with pytest.raises(UsageError, match="is no file of labels .it wants to run"):
        labelled("file:labels.pt")
    assert not Path("ran").exists()
