"""Importing: a folder in OpenLTH's layout, written by hand from its format, becomes a table plotted beside ours."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from sddcli.recipes.importing import open_lth
from sddcli.store import StoreError
from sddcli.table import read
from tests.conftest import Sdd

HPARAMS = """Dataset Hyperparameters
    * dataset_name => cifar10
    * batch_size => 128
    * random_labels_fraction => 0.2
Model Hyperparameters
    * model_name => cifar_resnet_20
    * model_init => kaiming_normal
    * batchnorm_init => uniform
Training Hyperparameters
    * optimizer_name => sgd
    * lr => 0.1
    * training_steps => 160ep
    * momentum => 0.9
    * milestone_steps => 80ep,120ep
    * gamma => 0.1
    * weight_decay => 0.0001
Hyperparameters for Sparse Global Pruning
    * pruning_strategy => sparse_global
    * pruning_fraction => 0.2
Pretraining Dataset Hyperparameters
    * dataset_name => cifar10
    * batch_size => 128
Pretraining Training Hyperparameters
    * optimizer_name => sgd
    * lr => 0.1
    * training_steps => 1000it
"""


PUBLISHED = """Dataset Hyperparameters
    * dataset_name => mnist
    * batch_size => 128
    * noisy_labels_fraction => 0.4
    * noisy_labels_type => pairflip
    * num_workers => 2
Finetuning Hyperparameters
    * optimizer_name => sgd
    * lr => 0.01
    * training_steps => 20ep
Model Hyperparameters
    * model_name => mnist_lenet_300_100
    * model_init => kaiming_normal
    * batchnorm_init => uniform
Hyperparameters for Unstructured Magnitude-Gradient Pruning
    * pruning_strategy => gradient
    * freeze_pruned_weights => zero
    * pruning_fraction => 0.2
    * pruning_scope => layer
Training Hyperparameters
    * optimizer_name => sgd
    * lr => 0.1
    * training_steps => 160ep
"""


def written(root: Path, experiment: str = "lottery_0a1b", hparams: str = HPARAMS) -> Path:
    """A folder of OpenLTH: two replicates of levels 0 to 2; of a third level nothing is finished."""
    for replicate in (1, 2):
        begun = root / experiment / f"replicate_{replicate}"
        for level in ("pretrain", 0, 1, 2, 3):
            (folder := begun / f"level_{level}" / "main").mkdir(parents=True)
            if level != 3:
                k_and_rest = (
                    (k, 0.5 + 0.01 * (level or 0) + k / 1e6) for k in (0, 62560, 31280) if level != "pretrain"
                )
                lines = [f"test_loss,{k},1.5\ntest_accuracy,{k},{accuracy}" for k, accuracy in k_and_rest]
                (folder / "logger").write_text("\n".join(lines) or "test_accuracy,0,0.1")
            if level != "pretrain":
                (folder / "mask.pth").write_bytes(b"never looked at")
                sizes = {"total": 1000.0, "unpruned": 1000 * 0.8 ** int(level)}
                (folder / "sparsity_report.json").write_text(json.dumps(sizes))
        (begun / "level_0" / "main" / "hparams.log").write_text(hparams)  # of all levels
    return root


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return written(tmp_path / "open_lth")


def test_a_row_says_what_the_texts_say(theirs: Path) -> None:
    rows, left_out = open_lth(theirs)
    assert len(rows) == 6 and len(left_out) == 2 and {row["seed"] for row in rows} == {1, 2}
    row = rows[2]
    assert row | {"chain": "", "run": ""} == {
        "dataset": "cifar10", "model": "openlth:cifar_resnet_20", "noise": 0.2,
        "noise_kind": "symmetric", "augment": "crop-flip",
        "init": "kaiming_normal", "criterion": "magnitude", "scope": "global", "rate": 0.2, "retraining": "lottery",
        "rewind": "1000it", "epochs": 160, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9,
        "weight_decay": 0.0001, "milestones": "80/120", "gamma": 0.1, "level": 2, "seed": 1, "chain": "", "run": "",
        "sparsity": pytest.approx(0.36), "density": pytest.approx(0.64), "weights": 640, "test_loss": 1.5,
        "test_accuracy": pytest.approx(0.58256), "best_test_accuracy": pytest.approx(0.58256),
    }  # fmt: skip
    assert len({row["chain"] for row in rows}) == 2 and len({row["run"] for row in rows}) == 6


@pytest.mark.parametrize(
    "kind, retraining",
    [("lottery", "lottery"), ("finetune", "finetune"), ("rewindLR", "lr-rewind"), ("scratch", "scratch")],
)
def test_the_papers_own_code_has_more_kinds_of_experiments(kind: str, retraining: str, tmp_path: Path) -> None:
    hparams = PUBLISHED if kind == "finetune" else re.sub(r"(?s)Finetuning.*?(?=Model)", "", PUBLISHED)
    rows, left_out = open_lth(written(tmp_path / "theirs", f"{kind}_0a1b", hparams))
    assert len(rows) == 6 and len(left_out) == 2 and [row["level"] for row in rows] == [0, 1, 2] * 2
    common = {
        "noise": 0.4,
        "noise_kind": "pairflip",
        "criterion": "gradient",
        "scope": "layer",
        "retraining": retraining,
    }
    assert all(row | common == row for row in rows)
    expected = [(0.1, 160), (0.01, 20), (0.01, 20)] if kind == "finetune" else [(0.1, 160)] * 3
    assert [(row["lr"], row["epochs"]) for row in rows[:3]] == expected


def test_it_is_listed_and_plotted_beside_ours(theirs: Path, trained: Path, sdd: Sdd, tmp_path: Path) -> None:
    table, picture = tmp_path / "theirs.csv", tmp_path / "both.svg"
    said = sdd("import", theirs, "-o", table)
    assert said.code == 0 and said.out == f"{table}\n" and said.err.count("left out, not finished") == 2
    assert "openlth" in sdd("list", table).out and len(read(table)) == 6
    assert sdd("plot", "double-descent", trained, "--beside", table, "-o", picture).code == 0
    text = picture.read_text()
    assert "openlth" in text and "lenet-300-100" in text
    assert len(pd.read_csv(trained / "results.csv")) == 12, "ours stay as they are"


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("logger", "test_accuracy,10,0.5\ntest_acc", "line 2 is not NAME,ITERATION,VALUE"),
        ("logger", "test_loss,10,0.5", "logger is cut or not of OpenLTH ('test_accuracy')"),
        ("sparsity_report.json", '{"total": 10', "sparsity_report.json is cut or not of OpenLTH"),
        ("sparsity_report.json", '{"total": 10, "unpruned": 11}', "11 of 10 weights are left"),
        ("hparams.log", HPARAMS[:300], "hparams.log is cut or not of OpenLTH"),
    ],
)
def test_a_cut_or_wrong_file_is_named_in_one_line(theirs: Path, name: str, text: str, says: str, sdd: Sdd) -> None:
    (
        theirs / "lottery_0a1b" / "replicate_1" / ("level_0" if name == "hparams.log" else "level_1") / "main" / name
    ).write_text(text)
    with pytest.raises(StoreError, match=re.escape(says)) as error:
        open_lth(theirs)
    assert "\n" not in str(error.value) and sdd("import", theirs).code == 4


def test_another_folder_is_none_of_openlth(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no finished runs of OpenLTH, or .*: it looks for KIND_HASH/replicate_R"):
        open_lth(tmp_path)
