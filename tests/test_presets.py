"""Presets: --protocol lth, renda, zhou, gst, nakkiran, ... have the settings of papers, and can be trained."""

import re
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from sddcli.data import outline
from sddcli.resolve import PROTOCOLS, runs
from sddcli.spec import Run
from sddcli.stages import setting
from tests.conftest import Sdd

PRESETS = PROTOCOLS[2:]
LENET = "lenet-300-100:prunable=all"
CONV_4, CONV_6 = ({"dataset": "cifar10", "model": model} for model in ("conv-4", "conv-6"))


def last(protocol: str, **words: str) -> Run:
    return max(runs(words, protocol=protocol), key=lambda run: run.level)


# METHODS of each: network, optimizer, rate, batch, length, scope, levels, seeds.
@pytest.mark.parametrize(
    ("protocol", "words", "expected"),
    [
        ("lth", {"dataset": "mnist"}, (LENET, "adam", 1.2e-3, 60, "50000it", "roles", 20, 5)),
        ("lth", {"dataset": "cifar10"}, ("conv-2", "adam", 2e-4, 60, "20000it", "roles:conv=0.5", 20, 5)),
        ("lth", CONV_4, ("conv-4", "adam", 3e-4, 60, "25000it", "roles:conv=0.5", 20, 5)),
        ("lth", CONV_6, ("conv-6", "adam", 3e-4, 60, "30000it", "roles:conv=0.75", 20, 5)),
        ("lth-code", {"dataset": "mnist"}, (LENET, "sgd", 0.1, 64, "50000it", "roles", 30, 5)),
        ("renda", {"dataset": "cifar10"}, ("resnet20", "sgd", 0.1, 128, "182ep", "global", 20, 3)),
        ("zhou", {"dataset": "mnist"}, (LENET, "adam", 1.2e-3, 60, "55ep", "roles", 24, 5)),
        ("zhou", {"dataset": "cifar10"}, ("conv-2", "adam", 2e-4, 60, "27ep", "roles:conv=0.5", 24, 5)),
        ("zhou", CONV_6, ("conv-6", "adam", 3e-4, 60, "40ep", "roles:conv=0.75", 24, 5)),
        ("lth", {"dataset": "digits"}, (LENET, "adam", 1.2e-3, 60, "55ep", "roles", 20, 5)),
    ],
)  # fmt: skip
def test_presets_are_the_papers(protocol: str, words: dict[str, str], expected: tuple[object, ...]) -> None:
    run, every = last(protocol, **words), runs(words, protocol=protocol)
    length = run.length or f"{run.epochs}ep"
    own = (run.model, run.optimizer, run.lr, run.batch_size, length, run.scope, run.level)
    assert (*own, len({each.seed for each in every})) == expected
    plain = (run.noise, run.criterion, run.pruning, run.rate, run.momentum, run.count)
    assert plain == (0, "magnitude", "iterative", 0.2, 0.9 if protocol == "renda" else 0, "prunable")
    kinds = {each.retraining for each in every if each.level}
    assert kinds == ({"lottery", "lr-rewind", "finetune"} if protocol == "renda" else {"lottery"})
    held = round(run.validation * len(outline(run.dataset).train.y))
    assert held == (0 if protocol == "renda" else 108 if run.dataset == "digits" else 5000)


def test_weights_left_are_the_printed_percentages() -> None:
    """Frankle & Carbin (2019), figures of LeNet: after 3, 7, 9, 15, 18 and 20 rounds."""
    model = setting.model_of(last("lth", dataset="mnist"), outline("mnist"))
    printed = {3: "51.3", 7: "21.1", 9: "13.5", 15: "3.6", 18: "1.9", 20: "1.2"}
    sizes = {name: prod(model.shapes[name]) for name in model.prunable}
    assert sum(sizes.values()) == 266_200
    for level, share in printed.items():
        run = replace(last("lth", dataset="mnist"), level=level)
        assert f"{100 * sum(setting.counts(run, model).values()) / 266_200:.1f}" == share


def test_the_networks_of_renda_have_a_quarter_of_a_million_weights() -> None:
    run = last("renda", dataset="cifar10")
    assert setting.model_of(run, outline("cifar10")).parameters == 272_474
    assert setting.schedule(replace(run, retraining="finetune"), 50_000)[0][0] == pytest.approx(0.001), "the last rate"
    assert setting.schedule(replace(run, retraining="lr-rewind"), 50_000)[1] == 18 * 391


def test_gst_removes_filters_as_its_code_does() -> None:
    """The last four convolutions of VGG-11 lose 30, 30, 30 and 90 % of 512 filters each, up to epoch 275."""
    every = runs({"dataset": "cifar10", "level": "1"}, protocol="gst")
    assert {(run.model, run.epochs, run.optimizer, run.lr, run.milestones) for run in every} == {
        ("vgg11", 325, "adam", 1e-3, "150/300")
    }
    assert len(every) == 3 * 10 and not any(run.noise or run.weight_decay for run in every)
    run = next(run for run in every if "period=4ep" in run.retraining)
    model = setting.model_of(run, outline("cifar10"))
    assert [part.size for part in setting.unit_of(run, model).channels[-4:]] == [512] * 4
    steps = list(setting.timetable(run, model, 50_000))
    assert min(steps) == 3 * 391 and 266 * 391 < max(steps) <= 275 * 391 and {step % 391 for step in steps} == {0}


def test_nakkirans_networks_are_dense_and_of_many_widths() -> None:
    """A residual network with Adam at 1e-4; the five-layer one with SGD at 0.1 / sqrt(1 + floor(t / 512))."""
    every = runs({"dataset": "cifar10"}, protocol="nakkiran")
    assert {(run.optimizer, run.lr, run.epochs, run.batch_size, run.noise_kind, run.level) for run in every} == {
        ("adam", 1e-4, 4000, 128, "flip", 0)
    }
    widths = [setting.model_of(run, outline("cifar10")).width for run in every]
    assert widths[0] == 1 and widths[-1] == 64 and widths == sorted(set(widths))
    (convnet,) = runs({"dataset": "cifar10", "model": "convnet:width=64"}, protocol="nakkiran")
    assert (convnet.optimizer, convnet.momentum, convnet.length) == ("sgd", 0, "500000it")
    rates, _ = setting.schedule(convnet, 50_000)
    assert len(rates) == 500_000 and rates[0] == 0.1 and rates[-1] == pytest.approx(0.1 / 977**0.5)


def test_what_is_asked_for_and_what_released_code_has_lie_over_the_paper() -> None:
    paper, code = last("lth", dataset="mnist"), last("lth-code", dataset="mnist")
    assert replace(code, optimizer="adam", lr=1.2e-3, batch_size=60, level=20) == paper
    assert last("lth", dataset="mnist", epochs="3").length == "" and last("lth", dataset="mnist", lr="1").lr == 1
    assert last("lth", dataset="mnist", length="9it").length == "9it"


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
@pytest.mark.parametrize("protocol", PRESETS)
def test_each_can_be_made(sdd: Sdd, tmp_path: Path, protocol: str, dataset: str) -> None:
    dry = sdd("sweep", "--protocol", protocol, "--dataset", dataset, "--dry-run", "--json", "--runs", tmp_path)
    assert dry.code == 0 and dry.json["to do"] == len(runs({"dataset": dataset}, protocol=protocol)), dry.err


def test_one_is_trained(sdd: Sdd, tmp_path: Path) -> None:
    words = ["--protocol", "lth", "--dataset", "digits", "--levels", "0-2", "--seed", "0", "--length", "300it"]
    done = sdd("sweep", *words, "--json", "--runs", tmp_path)
    assert done.code == 0, done.err
    left = [row["weights"] for row in done.json]
    assert left == [50_200, 40_260, 32_298]  # 64 x 300 + 300 x 100 at 0.8, and 1,000 at 0.9, a round
    assert all(row["test_accuracy"] > 0.9 for row in done.json)


def test_the_page_names_every_protocol() -> None:
    page = (Path(__file__).parent.parent / "docs" / "protocols.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, flags=re.MULTILINE)) == set(PROTOCOLS)
