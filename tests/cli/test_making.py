"""Making runs: the shape of the curve, what a sweep says, how it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from sddcli.launchers import machine
from sddcli.store import Store
from tests.conftest import SMALL, Sdd, small
from tests.datasets.small import image_folder, picture, tiny_imagenet

# The default sweep with steps twice as large and one seed less: the same curve for a third of the price.
TWIN = ["--rate", "0.36", "--levels", "0-16", "--seeds", "0-2"]


def test_the_default_sweep_shows_sparse_double_descent(sdd: Sdd, tmp_path: Path) -> None:
    """The paper's main claim on real digits, from the CSV: C1a, C1b and C8a of the claims to test."""
    assert sdd("sweep", *TWIN, "--runs", tmp_path).code == 0
    frame = pd.read_csv(tmp_path / "results.csv")
    curve = frame.groupby("level")[["test_accuracy", "train_accuracy", "memorized", "learning_distance"]].mean()
    test, train = curve["test_accuracy"], curve["train_accuracy"]
    peak = test[8:].idxmax()
    valley = test[:peak].idxmin()
    fitted = train[train >= 0.99].index.max()
    assert frame["seed"].nunique() == 3 and train.max() >= 0.99
    assert test[0] - test[valley] >= 0.03 and test[peak] - test[valley] >= 0.10 and test[peak] - test.iloc[-1] >= 0.02
    assert abs(valley - (fitted + 1)) <= 2, "the valley lies where training labels stop being fitted"
    assert abs(curve["learning_distance"].idxmax() - valley) <= 2
    assert curve["memorized"][peak] < 0.2 < 0.9 < curve["memorized"][0], "noise is forgotten at the peak"


def test_the_table_says_mean_spread_and_n_within_80_columns(sdd: Sdd, trained: Path) -> None:
    said = sdd("sweep", *SMALL, "--runs", trained)
    assert said.code == 0 and said.err == ""  # all is there: nothing to train, nothing to report
    lines = said.out.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1]) and "±" in said.out
    assert lines[0] == "digits, lenet-300-100, 40% symmetric noise, magnitude, lottery"
    assert [line.split()[0] for line in lines[2:6]] == ["0", "1", "2", "3"]


def test_results_have_no_times_and_dense_rows_under_each_chain(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    assert sdd("sweep", *small("--levels", "0-1"), "--runs", root, "--criterion", "random", "--workers", 1).code == 0
    frame = pd.read_csv(root / "results.csv")
    dense = frame[frame["level"] == 0]
    assert len(frame) == 12 + 6 and len(dense) == 6 and dense["run"].nunique() == 3
    assert sorted(dense["criterion"]) == ["magnitude"] * 3 + ["random"] * 3
    assert not {"seconds", "machine", "device", "finished", "commit", "engine"} & set(frame.columns)
    assert set(pd.read_csv(root / "history.csv")["epoch"]) == {2, 3}
    assert len(pd.read_csv(root / "measures" / "learning-distance.csv")) == 15


def test_dry_run_counts_and_writes_nothing(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    said = sdd("sweep", *SMALL, "--dry-run", "--json", "--runs", tmp_path / "none").json
    assert (said["runs"], said["done"], said["to do"], said["epochs"]) == (12, 0, 12, 36)
    assert said["seconds"] is None and not (tmp_path / "none").exists()
    said = sdd("sweep", *small("--levels", "0-4"), "--dry-run", "--json", "--runs", trained).json
    assert (said["done"], said["to do"]) == (12, 3) and said["seconds"] > 0
    actual = sum(path.stat().st_size for path in trained.rglob("level-0[13]/*") if path.is_file())
    estimate = sdd("sweep", *small("--levels", "1,3"), "--dry-run", "--json", "--runs", tmp_path / "none").json["bytes"]
    whole = sum(path.stat().st_size for path in trained.rglob("*") if path.is_file() and path.suffix != ".csv")
    assert actual < estimate and estimate == pytest.approx(whole, rel=0.2)
    assert "unknown until runs of this kind" in sdd("sweep", *SMALL, "--dry-run", "--runs", tmp_path / "none").out


SPLITS = {
    "--workers 2": "3 chains over 2 workers of this machine, on cpu, 2 at once in each",
    "--workers 1 --device cpu": "3 chains over 1 worker of this machine, on cpu, 3 at once in each",
    "--device cuda:0,2": "3 chains over 2 workers of this machine, on cuda:0 cuda:2, 2 at once in each",
    "--on slurm --time 2-0": "3 chains over 3 workers of 3 Slurm jobs of at most 48 h 0 min each, 1 at once in each",
    "--on slurm --workers 1 --gpus-per-task 2": "3 chains over 2 workers of 1 Slurm job of at most 60 min each, "
    "2 at once in each",
    "--on ray --workers 1 --gpus-per-task 0": "3 chains over 1 worker of a Ray cluster, 0 GPUs each, 3 at once in each",
}


@pytest.mark.parametrize("words", SPLITS)
def test_dry_run_says_how_chains_are_split_and_how_many_files_there_will_be(
    sdd: Sdd, trained: Path, tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: 0)
    dry = sdd("sweep", *SMALL, *words.split(), "--dry-run", "--json", "--runs", tmp_path / "none").json
    assert dry["split"] == SPLITS[words]
    there = [path for path in trained.rglob("*-*/**/*") if path.is_file() and path.name[0] != "."]
    assert dry["files"] == len(there)


def test_dry_run_says_where_bf16_would_be_faster(sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def notes(*words: str) -> list[str]:
        dry = sdd("sweep", *words, "--device", "cpu", "--dry-run", "--json", "--runs", tmp_path / "none")
        return dry.json["notes"]  # type: ignore[no-any-return]

    def faster(models: str) -> list[str]:
        return [f"--precision bf16 is faster for {models} on this processor: see docs/performance.md"]

    monkeypatch.setattr(machine, "multiplies_bf16", lambda device: device == "cpu")
    assert notes("--model", "convnet:width=8") == faster("convnet:width=8")
    assert notes("--model", "lenet-300-100,convnet:width=8") == faster("convnet:width=8, lenet-300-100")
    assert notes("--model", "convnet:width=8", "--precision", "bf16") == notes("--model", "lenet-100-30") == []
    assert notes("--loss", "mse") == [], "its gradient is not written out"
    monkeypatch.setattr(machine, "multiplies_bf16", lambda device: False)
    assert notes("--model", "convnet:width=8") == []


def test_dry_run_says_what_dip_its_seeds_would_detect(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    dips = [
        sdd("sweep", *small("--seeds", seeds), "--dry-run", "--json", "--runs", trained).json["detectable_dip"]
        for seeds in ("0", "0-2", "0-8")
    ]
    assert dips[0] is None and 0 < dips[2] < dips[1] < 1
    said = sdd("sweep", *SMALL, "--dry-run", "--runs", trained).out
    assert f"with 3 seeds, 4 of 5 such sweeps detect a dip of {100 * dips[1]:.1f} points" in said
    assert "unknown until two seeds" in sdd("sweep", *SMALL, "--dry-run", "--runs", tmp_path / "none").out
    other = sdd("sweep", *SMALL, "--noise", "0.1", "--train-size", "300", "--dry-run", "--runs", trained).out
    assert "points (by runs of other noise or size)" in other and "unknown until runs of this kind" in other
    assert "by runs of other" not in said


@pytest.mark.parametrize(
    "words",
    ["--dataset cifar10 --noise 0.2 --criterion magnitude", "--dataset cifar10 --levels auto --seeds 0-4",
     "--dataset cifar10 --levels 0 --seeds 0", "--model lenet-16-8 --train-size 500 --noise 0", "--dataset mnist"],
)  # fmt: skip
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_dry_run_beside_other_runs_only(sdd: Sdd, trained: Path, words: str, form: list[str]) -> None:
    """Nothing like the sweep is in the folder: time and power are unknown, and no library complains."""
    said = sdd("sweep", *words.split(), "--dry-run", *form, "--runs", trained)
    assert said.code == 0 and said.err == ""
    if form:
        assert said.json["seconds"] is None and said.json["detectable_dip"] is None
    else:
        assert "unknown until two seeds" in said.out and "unknown until runs of this kind" in said.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--dataset digitz", 2, "did you mean 'digits'?"),
        ("--dataset cifar10 --model lenet-0 --dry-run", 2, "unknown model 'lenet-0'"),
        ("--model resnet18:widht=2 --dry-run", 2, "did you mean 'width'?"),
        ("--augment crop-flip --dry-run", 2, "is for images that are held as bytes, and digits is not"),
        ("--optimizer adm --dry-run", 2, "did you mean 'adam'?"),
        ("--precision fp64 --dry-run", 2, "unknown precision 'fp64'"),
        ("--dataset folder:none --dry-run", 4, "no folder of images at none"),
        ("--protocol quik --dry-run", 2, "did you mean 'quick'?"),
        ("--device gpu", 2, "known: auto, cpu, cuda"),
        ("--device cuda:99", 2, "no device cuda:99 here"),
        ("--validation 0.0001 --dry-run", 2, "leaves none on one side"),
        ("--noise 1.5", 2, "noise 1.5 is outside [0, 1]"),
        ("--noise -0.1", 2, "noise -0.1 is outside [0, 1]"),
        ("--noise x", 2, "noise takes numbers"),
        ("--nois 0.2", 2, "--noise"),
        ("--set epoch=3", 2, "did you mean 'epochs'?"),
        ("--retraining lotery", 2, "did you mean 'lottery'?"),
        ("--workers 0", 2, "--workers"),
        ("sweep.toml", 4, "sweep.toml: No such file"),
        ("extra words", 2, "unexpected extra argument"),
        # These need the tables, and so a worker or the heavy imports.
        ("--criterion magnitud", 2, "did you mean 'magnitude'?"),
        ("--levels 0-60", 2, "level 52 leaves none of 49200 weights; the last possible is 51"),
        ("--criterion magnitude:x=1 --dry-run", 2, "takes no parameters"),
        ("--noise-kind flop --dry-run", 2, "did you mean 'flip'?"),
        ("--model lenet --dry-run", 2, "did you mean 'lenet-300-100'?"),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_written(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = sdd("sweep", *words.split())
    assert said.code == code and message in said.err
    assert said.err.count("\n") == 1 and said.err.startswith("sdd: ") and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_papers_protocol_and_its_cost_need_no_data(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "none"))
    said = sdd("sweep", *["--dataset", "cifar10", "--noise", "0.2", "--criterion", "magnitude", "--dry-run", "--json"])
    assert said.code == 0 and (said.json["runs"], said.json["epochs"]) == (3 * 28, 3 * 28 * 160)
    dense = 2 * 4 * 11_173_962  # two copies of ResNet-18's weights of each seed's dense run
    assert 3 * dense < said.json["bytes"] < 3 * 4 * dense and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_of_a_folder_of_images(sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded with progress, augmented, held out in part; everything is recorded, and gone on with."""
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    settings = (
        "--model convnet:width=2 --protocol quick --runs runs --epochs 2 --levels 0-1 --seed 0-1 --augment crop-flip "
        "--validation 0.2 --batch-size 4 --optimizer adam --lr 0.01 --loss mse --init glorot --precision bf16 "
        "--device cpu"
    )
    words = ["--dataset", image_folder(tmp_path), *settings.split()]
    monkeypatch.chdir(tmp_path)
    said = sdd("sweep", *words, "--set", "eval_every=1")
    assert said.code == 0 and "reading train images: 100%" in said.err
    rows = pd.read_csv(tmp_path / "runs" / "results.csv")
    assert len(rows) == 4 and (rows["examples"] == 8).all() and rows["validation_accuracy"].between(0, 1).all()
    (first, *_) = Store(tmp_path / "runs").manifests()
    assert first[1]["device"] == "cpu" and first[0].slug.startswith("folder_pictures_mine-convnet_width=2-")
    history = pd.read_csv(tmp_path / "runs" / "history.csv")
    for run, evaluated in history.groupby("run"):
        best = evaluated.loc[evaluated["validation_accuracy"].idxmax(), "test_accuracy"]
        assert best == rows.set_index("run").loc[run, "chosen_test_accuracy"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}
    assert sdd("sweep", *words, "--set", "eval_every=1").code == 0
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


@pytest.mark.slow
def test_tiny_imagenet_is_cropped_and_brought_to_size_as_in_the_paper(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on random parts of images of 64 pixels, evaluated at 32."""
    monkeypatch.setenv("SDD_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tiny_imagenet(tmp_path)
    settings = "--dataset tiny-imagenet:size=32 --model convnet:width=2 --batch-size 4 --seed 0-1 --rewind 2it"
    words = settings.split()
    assert sdd("sweep", *words, "--levels", "0-1", "--epochs", 2, "--set", "eval_every=1").code == 0
    runs = [run for run, _ in Store("runs").manifests()]
    assert {run.augment for run in runs} == {"resized-crop-flip"} and len(runs) == 4
    other = sdd("sweep", *words, "--levels", "0", "--epochs", 2, "--augment", "crop-flip", "--runs", "other")
    assert other.code == 0
    (one,), (two,) = (Path(root).glob("*dense-seed0*/weights.safetensors") for root in ("runs", "other"))
    assert one.read_bytes() != two.read_bytes()
    assert sdd("verify", "runs", "--evaluate").code == 0


@pytest.mark.slow
def test_what_cannot_be_is_said_before_images_are_read(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    data = f"{image_folder(tmp_path)}:size=8"
    words = ["--dataset", data, "--epochs", 2, "--levels", "0-1", "--runs", tmp_path / "runs"]
    for wrong, message in (
        (["--model", "convnet:width=2", "--rewind", "1000it"], "rewind 1000it is not before the end"),
        (["--model", "resnet18:width=2", "--batch-size", 1], "have one example alone in a batch"),
        (["--model", "convnet:width=2", "--train-size", 99], "train_size 99 is more than the 10 examples"),
    ):
        for form in ([], ["--dry-run"]):
            said = sdd("sweep", *words, *wrong, *form)
            assert said.code == 2 and message in said.err and said.err.splitlines()[-1].startswith("sdd: ")
            assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "data").exists()


def test_own_images_need_no_settings(sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what makes it short is said: 8 epochs of five steps, of which a tenth is rewound, in a sweep and by hand."""
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    words = [
        "--dataset",
        image_folder(tmp_path),
        "--model",
        "lenet-16-8",
        "--epochs",
        8,
        "--batch-size",
        2,
        "--seeds",
        0,
    ]
    said = sdd("sweep", *words, "--levels", "0-2", "--runs", tmp_path / "runs")
    assert (
        said.code == 0
        and "rewinding to 4it: the 1ep of the protocol is more than a tenth of the 40 steps of training" in said.err
    )
    made = {run.id for run, _ in Store(tmp_path / "runs").manifests()}
    assert len(made) == 3 and {run.rewind for run, _ in Store(tmp_path / "runs").manifests()} == {"0it", "4it"}
    (dense,) = (tmp_path / "runs").glob("*dense*")
    assert sdd("prune", dense).out.strip().endswith("level-01")
    assert {run.id for run, _ in Store(tmp_path / "runs").manifests()} == made


def test_one_class_is_refused_before_images_are_read(sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    word = image_folder(tmp_path)
    for split in Path(word.removeprefix("folder:")).iterdir():
        for known in sorted(each for each in split.iterdir() if each.is_dir())[1:]:
            shutil.rmtree(known)
    for noise in ("0", "0.5 --noise-kind flip"):
        words = ["--dataset", word, "--model", "lenet-8", "--noise", *noise.split(), "--runs", tmp_path / "runs"]
        said = sdd("sweep", *words)
        assert said.code == 4 and "has one class only" in said.err
    assert not (tmp_path / "data").exists() and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_damaged_image_stops_before_anything_is_written(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    word = image_folder(tmp_path)
    (Path(word.removeprefix("folder:")) / "train" / "cat" / "1.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    said = sdd("sweep", "--dataset", word, "--model", "convnet", "--level", "0")
    assert said.code == 4 and "1.jpg is damaged" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_unknown_key_of_a_sweeps_file(sdd: Sdd, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("epoch = 3")
    said = sdd("sweep", tmp_path / "sweep.toml", "--runs", tmp_path / "runs")
    assert said.code == 2 and "unknown key 'epoch'; did you mean 'epochs'?" in said.err and said.err.count("\n") == 1


def test_an_unwritable_runs_folder(sdd: Sdd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = sdd("sweep", *SMALL, "--runs", tmp_path / "file" / "runs")
    assert said.code == 4 and "cannot write to runs folder" in said.err and said.err.count("\n") == 1


def test_a_damaged_parent_is_named_and_the_other_chains_go_on(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    path = next(path for path in root.rglob("level-03/weights.safetensors") if "seed1" in str(path))
    path.write_bytes(path.read_bytes()[:-7])
    said = sdd("sweep", *small("--levels", "0-4"), "--runs", root, "--workers", 1)
    assert said.code == 4 and f"{path} is damaged" in said.err and "Traceback" not in said.err
    assert {run.seed for run, _ in Store(root).manifests() if run.level == 4} == {0, 2}


def test_damage_of_a_finished_run_is_named_though_nothing_is_to_do(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    path = next(root.rglob("level-03/weights.safetensors"))
    path.write_bytes(path.read_bytes() + b"x")
    said = sdd("sweep", *SMALL, "--runs", root)
    assert said.code == 4 and f"{path} is damaged" in said.err and said.err.count("\n") == 1


@pytest.mark.slow
def test_when_all_that_grows_from_it_fails_the_dense_run_is_still_shown(sdd: Sdd, tmp_path: Path) -> None:
    words = ["--seeds", "0", "--epochs", "1", "--workers", "1"]
    assert sdd("sweep", *words, "--levels", "0", "--runs", tmp_path).code == 0
    next(tmp_path.rglob("initial.safetensors")).write_bytes(b"x")
    said = sdd("sweep", *words, "--levels", "0-1", "--runs", tmp_path)
    assert said.code == 4 and "initial.safetensors is damaged" in said.err and "0.00%" in said.out


def test_a_terminal_without_plus_minus_loses_no_table(trained: Path) -> None:
    command = [sys.executable, "-m", "sddcli", "sweep", *SMALL, "--runs", str(trained)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    said = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert said.returncode == 0 and "48.80%" in said.stdout


def test_other_data_under_the_same_name_is_refused(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("level-03/manifest.json"):
        if "seed1" in str(path):
            path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0'))
    said = sdd("sweep", *small("--levels", "0-4"), "--runs", root, "--workers", 1)
    assert said.code == 4 and "was made from other digits data" in said.err


def test_a_run_that_diverges_fails_alone(sdd: Sdd, tmp_path: Path) -> None:
    words = ["--levels", "0-1", "--seeds", "0", "--epochs", "2", "--lr", "0.1,1e30", "--workers", "1"]
    said = sdd("sweep", *words, "--runs", tmp_path)
    assert said.code == 3 and "diverged" in said.err and "which failed" in said.err
    assert {run.lr for run, _ in Store(tmp_path).manifests()} == {0.1}


def gone(processes: list[str]) -> bool:
    """Whether all of them end within 20 seconds."""
    deadline = time.monotonic() + 20
    while (alive := any(Path(f"/proc/{each}").exists() for each in processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_says_how_to_go_on(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    words = ["sweep", *small("--epochs", "2000"), "--runs", str(tmp_path / "runs")]
    # A test run that was itself started in the background hands down an ignored SIGINT.
    sweep = subprocess.Popen(
        [sys.executable, "-m", "sddcli", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "runs").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    workers = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    sweep.send_signal(sent)
    _, err = sweep.communicate(timeout=30)
    assert sweep.returncode == code and f"go on with: sdd {' '.join(words)}" in err and "Traceback" not in err
    assert len(workers) >= 2 and gone(workers)


@pytest.mark.slow
def test_workers_end_with_their_sweep(tmp_path: Path) -> None:
    words = ["sweep", *small("--epochs", "2000"), "--runs", str(tmp_path / "runs")]
    sweep = subprocess.Popen([sys.executable, "-m", "sddcli", *words], stderr=subprocess.DEVNULL)
    while not (tmp_path / "runs").exists():
        time.sleep(0.05)
    workers = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    assert len(workers) >= 2 and gone(workers)


def test_a_chain_made_by_hand_is_the_sweeps_bit_for_bit(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    made = sdd("train-dense", "--epochs", 3, "--set", "eval_every=2", "--seed", 1, "--runs", root).out.strip()
    for level in (1, 2):
        child = sdd("prune", made).out.strip()
        assert sdd("prune", made).out.strip() == child  # which is there already
        manifest = json.loads((Path(child) / "manifest.json").read_text())
        assert manifest["stage"] == "pruned" and 0 < manifest["metrics"]["pruned_test_accuracy"] < 1
        made = sdd("retrain", child).out.strip()
        assert made == child and made.endswith(f"level-0{level}")
    assert sdd("retrain", made).out.strip() == made  # finished: nothing to do
    files = [path.relative_to(root) for path in root.rglob("*") if path.suffix in (".safetensors", ".csv", ".json")]
    others = [path for path in files if path.name != "manifest.json"]
    assert len(others) == 3 * 5 + 1 and all((root / p).read_bytes() == (trained / p).read_bytes() for p in others)
    for path in set(files).difference(others):
        ours, theirs = (json.loads((base / path).read_text()) for base in (root, trained))
        assert all(ours[key] == theirs[key] for key in ("id", "run", "stage", "metrics", "files", "parents", "data"))


def test_pruning_by_hand_leaves_a_run_alone_that_another_process_works_on(
    sdd: Sdd, trained: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    dense = next(root.glob("*dense-seed1*"))
    child = Path(sdd("prune", dense, "--rate", 0.5).out.strip())
    shutil.rmtree(child)
    child.mkdir()
    with FileLock(child / ".lock"):
        said = sdd("prune", dense, "--rate", 0.5)
        assert said.code == 4 and "another process works on" in said.err and said.err.count("\n") == 1
        assert [path.name for path in child.iterdir()] == [".lock"]
    assert sdd("prune", dense, "--rate", 0.5).out.strip() == str(child) and (child / "manifest.json").exists()


def test_pruning_by_hand_takes_every_option_of_the_child(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    dense, second = next(root.glob("*dense-seed1*")), next(root.glob("*lottery-seed1*/level-02"))
    words = [
        "--criterion",
        "gradient:batches=2",
        "--retraining",
        "finetune:lr=0.01",
        "--rate",
        "0.5",
        "--scope",
        "layer",
    ]
    child = sdd("prune", dense, *words).out.strip()
    manifest = json.loads((Path(child) / "manifest.json").read_text())
    assert manifest["metrics"]["sparsity"] == 0.5 and manifest["run"]["retraining"] == "finetune:lr=0.01"
    assert sdd("prune", second, "--retraining", "reinit").out.strip().endswith("level-02")
    assert sdd("prune", dense, "--pruning", "one-shot", "--level", 9).out.strip().endswith("level-09")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("prune none", 4, "none is no folder of a run"),
        ("retrain none", 4, "none is no folder of a run"),
        ("prune DENSE --criterion magnitud", 2, "did you mean 'magnitude'?"),
        ("prune DENSE --level 3", 2, "is pruned from another parent"),
        ("prune LEVEL --criterion random", 2, "with criterion 'random', and this one has criterion 'magnitude'"),
        ("prune DENSE --set noise=0.1", 2, "with noise 0.1, and this one has noise 0.4"),
        ("prune DENSE --level 1,2", 2, "level has several values"),
        ("prune DENSE --rate 0.99999", 2, "leaves none of 49200 weights"),
        ("retrain DENSE --epochs 3", 2, "No such option"),
    ],
)
def test_errors_of_stages_are_one_line(sdd: Sdd, trained: Path, words: str, code: int, message: str) -> None:
    before = sorted(trained.rglob("*"))
    places = {"DENSE": next(trained.glob("*dense-seed1*")), "LEVEL": next(trained.glob("*lottery-seed1*/level-02"))}
    said = sdd(*(str(places.get(word, word)) for word in words.split()))
    assert said.code == code and message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(trained.rglob("*")) == before


@pytest.mark.slow
def test_names_that_are_no_utf8_are_taken_by_every_command(sdd: Sdd, root: Path, tmp_path: Path) -> None:
    """Of folders of images and their classes, of runs, of data sets and of figures."""
    odd = os.fsdecode(b"caf\xe9")
    place, runs = tmp_path / odd / "images", tmp_path / f"runs {odd}"
    for split, n in (("train", 4), ("test", 2)):
        for name in ("cat", odd):
            for k in range(n):
                picture(place / split / name / f"{k}{odd}.png", (6, 6))
    words = "--model lenet-8-4 --epochs 1 --seeds 0-1 --levels 0-4 --noise 0 --batch-size 4 --workers 1"
    sweep = ["sweep", "--dataset", f"folder:{place}", *words.split(), "--data-dir", f"{root}{odd}", "--runs", runs]
    first = sdd(*sweep)
    assert first.code == 0 and r"caf\xe9/images, lenet-8-4" in first.out, first.err
    assert sdd(*sweep, "--dry-run", "--json").json["detectable_dip"] is not None, "of the runs that are there"
    for command in (
        *(["status", runs], ["verify", runs, "--evaluate"], ["report", runs, "-o", tmp_path / f"{odd}.html"]),
        *(["list", runs, "--where", f"dataset=folder:{place}"], ["list", runs / "results.csv"]),
        *(["plot", "double-descent", runs, "-o", tmp_path / f"{odd}.{ending}"] for ending in ("png", "pdf", "svg")),
        *(["analyze", measure, runs] for measure in ("double-descent", "flatness:points=3")),
    ):
        said = sdd(*command)
        assert said.code == 0 and not said.err, f"{command}: {said.err}"
    assert all((tmp_path / f"{odd}.{ending}").stat().st_size > 3000 for ending in ("png", "pdf", "svg", "html"))
    dense = next(runs.glob("*dense-seed0*"))
    command = [sys.executable, "-m", "sddcli", "prune", dense, "--criterion", "random", "--rewind", "0it"]
    printed = subprocess.run(command, check=True, capture_output=True).stdout.removesuffix(b"\n")
    assert Path(os.fsdecode(printed), "manifest.json").exists(), "the next command takes what this one prints"


@pytest.mark.parametrize(
    ("content", "message"), [(b'dataset = "caf\xe9"', r"15 is \xe9"), ("level = 0".encode("utf-16"), r"1 is \xff")]
)
def test_a_sweeps_file_that_is_no_utf8(sdd: Sdd, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "sweep.toml").write_bytes(content)
    said = sdd("sweep", tmp_path / "sweep.toml", "--runs", tmp_path / "runs")
    assert said.code == 2 and f"sweep.toml is not UTF-8 (its byte {message})" in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--noise", "0", "--noise", "0.4"],
            "--noise is given 2 times: the last one counts, 0.4; several values are written as a list: --noise 0,0.4",
        ),
        (
            ["--level", "1", "--levels", "2"],
            "--level is given 2 times: the last one counts, 2; several values are written as a list: --level 1,2",
        ),
    ],
)
def test_of_an_option_given_twice_the_last_one_counts_and_that_is_said(
    sdd: Sdd, tmp_path: Path, words: list[str], line: str
) -> None:
    twice = sdd("sweep", *words, "--dry-run", "--runs", tmp_path / "runs")
    once = sdd("sweep", *words[2:], "--dry-run", "--runs", tmp_path / "runs")
    assert twice.code == 0 and twice.err.strip() == f"sdd: {line}" and not once.err and twice.out == once.out


def test_an_option_for_one_value_given_twice(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    dense = next(shutil.copytree(trained, tmp_path / "runs").glob("*dense-seed0*"))
    said = sdd("prune", dense, "--level", "2", "--level", "1")
    assert said.code == 0 and said.err.strip() == "sdd: --level is given 2 times: the last one counts, 1"
    assert Path(said.out.strip()).name == "level-01"
