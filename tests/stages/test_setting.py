"""Setting: labels, learning rates, lessons and fresh weights of real digits; what cannot be trained is refused."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from sddcli.core.types import Data, Examples, Tensors
from sddcli.core.words import UsageError
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training
from tests.stages.digits import DATA, DENSE, MODEL, PRUNED, beginning_of, dense


@pytest.mark.parametrize(
    ("retraining", "rewind", "rates", "first"),
    [
        ("lottery", "0it", [0.1] * 4 + [0.01] * 4, 0),
        ("lottery", "3it", [0.1] * 4 + [0.01] * 4, 3),
        ("lr-rewind", "1ep", [0.1] * 4 + [0.01] * 4, 2),
        ("finetune", "0it", [0.01] * 8, 0),
        ("redense", "3it", [0.01] * 8, 0),
        ("redense:lr=0.05", "3it", [0.05] * 8, 0),
        ("finetune:lr=0.5", "0it", [0.5] * 8, 0),
        ("lottery-finetune", "3it", [0.01] * 8, 0),
        ("cyclic", "0it", [0.1, 0.1, 0.01, 0.01] * 2, 0),
        ("scratch", "0it", [0.1] * 4 + [0.01] * 4, 0),
        ("reinit", "3it", [0.1] * 4 + [0.01] * 4, 0),
    ],
)
def test_schedules(retraining: str, rewind: str, rates: list[float], first: int) -> None:
    run = replace(PRUNED, retraining=retraining, rewind=rewind, epochs=4, batch_size=700, milestones="0.5")
    found, start = setting.schedule(run, 1297)
    assert found == pytest.approx(rates) and start == first
    with pytest.raises(ValueError, match="is not before the end of training, step 8"):
        setting.schedule(replace(run, retraining="lottery", rewind="8it"), 1297)


def test_fresh_weights_differ_by_level_and_follow_their_own_seed() -> None:
    scratch = replace(PRUNED, retraining="scratch")
    first, second = setting.fresh(scratch, MODEL), setting.fresh(replace(scratch, level=2), MODEL)
    assert not torch.equal(first["hidden1.weight"], second["hidden1.weight"])
    assert not torch.equal(first["hidden1.weight"], dense()[0]["hidden1.weight"])
    other = setting.fresh(replace(DENSE, init_seed=5), MODEL)
    assert torch.equal(other["hidden1.weight"], setting.fresh(replace(DENSE, seed=5), MODEL)["hidden1.weight"])


def test_each_seed_moves_its_own_thing() -> None:
    base = setting.noisy_labels(DENSE, DATA)
    assert torch.equal(base, setting.noisy_labels(replace(DENSE, init_seed=9, order_seed=9), DATA))
    assert torch.equal(
        setting.noisy_labels(replace(DENSE, noise_seed=9), DATA), setting.noisy_labels(replace(DENSE, seed=9), DATA)
    )
    assert not torch.equal(base, setting.noisy_labels(replace(DENSE, noise_seed=9), DATA))


def test_models_take_images_as_they_are() -> None:
    x = torch.randn(3, 5, 1, 8, 8)
    weights = {name: torch.randn(3, *shape) * 0.05 for name, shape in MODEL.shapes.items()}
    assert torch.equal(MODEL.forward(weights, x, True), MODEL.forward(weights, x.flatten(2), False))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", [{"loss": "mse"}, {"loss": "cross-entropy:smoothing=0.1"}, {"model": "convnet"}])
def test_gradients_are_written_out_for_mlps_and_plain_cross_entropy(change: dict[str, str], precision: str) -> None:
    written: list[str] = []

    def spied(layers: object, *tensors: Tensors) -> object:
        written.append("once")
        return lambda x, y: None

    dense = replace(MODEL, slopes=partial(spied, ()))
    other = replace(DENSE, **change)  # type: ignore[arg-type]
    model = dense if change.get("model") is None else setting.model_of(other, DATA)
    for run, network, times in ((replace(DENSE, precision=precision), dense, 1), (other, model, 1)):
        state = training._state(network, DATA, [beginning_of(run, network)])
        setting.lesson_of(run, network, DATA)(state.learned, state.fixed, dict(state.learned))
        assert len(written) == times


def test_noise_is_that_of_the_seed_and_leaves_the_data_alone() -> None:
    before = DATA.train.y.clone()
    labels = setting.noisy_labels(DENSE, DATA)
    assert 0.3 < (labels != DATA.train.y).double().mean() < 0.4  # 0.4 * (1 - 1/10) in expectation
    assert torch.equal(labels, setting.noisy_labels(replace(DENSE, epochs=9, lr=0.5), DATA))
    assert not torch.equal(labels, setting.noisy_labels(replace(DENSE, seed=2), DATA))
    assert torch.equal(before, DATA.train.y)
    assert torch.equal(setting.noisy_labels(replace(DENSE, noise=0), DATA), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model="lenet"), "unknown model 'lenet'; did you mean 'lenet-300-100'"),
        (dict(noise_kind="flop"), "unknown noise_kind 'flop'; did you mean 'flip'"),
        (dict(criterion="magnitud"), "unknown criterion 'magnitud'; did you mean 'magnitude'"),
        (dict(level=60), "level 60 leaves none of 49200 weights; the last possible is 51"),
        (dict(level=18, count="all"), "level 18 leaves none of 49200 weights; the last possible is 17"),
        (dict(level=50, scope="layer"), "level 50 leaves none of hidden[12].weight; the last possible is 47"),
        (
            dict(level=11, scope="uniform-plus"),
            "level 11 keeps 4226 weights.*keeps 6000 or more; the last possible is 9",
        ),
        (dict(scope="roles"), "output.weight of this network is never pruned: take roles:output=1"),
        (dict(criterion="synflow:rounds=0"), "criterion 'synflow' cannot read 'rounds=0': it takes 1 or more"),
        (dict(rewind="99ep"), "rewind 99ep is not before the end"),
    ],
)
def test_check_finds_words_and_levels_that_cannot_be(change: dict[str, str], message: str) -> None:
    setting.check(PRUNED, DATA)
    with pytest.raises(ValueError, match=message):
        setting.check(replace(PRUNED, **change), DATA)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["resnet18:width=2", "convnet:width=2", "vgg16:width=2", "lenet-8", "conv-2:width=2"])
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_a_batch_of_one_is_refused_exactly_where_the_network_cannot_train_on_it(model: str, size: int) -> None:
    examples = Examples(torch.zeros(17, 3, size, size), torch.arange(17) % 2)
    data, run = Data(examples, examples, 2, ""), Run("folder:x", model, batch_size=16, epochs=1)
    try:
        network = setting.model_of(run, data)
    except UsageError:  # images too small for it
        return
    start = setting.fresh(run, network)
    begun = training.beginning(run, network, data, start, pruning.full_masks(network, start))
    try:
        list(training.train([run], network, data, [begun], [start]))
        possible = True
    except ValueError:
        possible = False
    if possible:
        setting.check(run, data)
    else:
        with pytest.raises(UsageError, match="17 examples in batches of 16 have one example alone.* --batch-size 15"):
            setting.check(run, data)
        setting.check(replace(run, batch_size=15), data)


def test_every_batch_size_that_leaves_an_example_alone() -> None:
    x = torch.zeros(17, 3, 8, 8)
    data = Data(Examples(x, torch.arange(17) % 2), Examples(x, torch.arange(17) % 2), 2, "")
    refused = []
    for size in range(1, 20):
        try:
            setting.check(Run("folder:x", "resnet18:width=2", batch_size=size), data)
        except UsageError:
            refused.append(size)
    assert refused == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("noise_kind", ["symmetric", "flip", "pairflip"])
def test_one_class_is_refused(noise_kind: str) -> None:
    examples = Examples(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    run = Run("folder:x", "convnet:width=2", noise=0.5, noise_kind=noise_kind)
    with pytest.raises(UsageError, match="folder:x has one class only"):
        setting.check(run, Data(examples, examples, 1, ""))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterion": "slimming"}, "criterion slimming ranks by BatchNorm scales, and lenet-300-100 has none"),
        ({"unit": "filter"}, "unit filter needs a convolution, and this network has none"),
        ({"unit": "4:2"}, "unit 4:2 keeps 4 of each 2 weights"),
        (
            {"unit": "2:4", "level": 9},
            "level 9 keeps 1 of each 4 weights, and unit 2:4 at least 2; the last possible is 4",
        ),
        ({"retraining": "permute", "unit": "neuron"}, "permute cannot move whole units of neuron .*: take shuffle"),
        ({"retraining": "shuffle", "unit": "2:4"}, "shuffle cannot move whole units of 2:4 .*: take --unit weight"),
        ({"regularization": "slimming"}, "regularization slimming is of BatchNorm scales, and lenet-300-100 has none"),
        ({"regularization": "distance", "retraining": "supermask"}, "is of weights, and supermask learns masks alone"),
        (
            {"level": 30, "scope": "uniform-plus"},
            "level 30 keeps 61 weights, and scope uniform-plus",
        ),
        ({"unit": "neuron", "level": 40}, "level 40 keeps 7 weights, and one neuron of each layer leaves 65; the last"),
        ({"retraining": "freeze:pruned=zero"}, "unknown pruned weights 'zero'; did you mean 'zero-all-fallen'"),
        ({"start": "constant:sign=moved"}, "start 'constant' cannot read 'sign=moved': it takes kept or random"),
    ],
)
def test_pruning_that_a_network_has_not_what_for_is_refused_in_a_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        setting.check(replace(PRUNED, **change), DATA)


def test_weights_of_other_classes_keep_all_but_the_output_layer() -> None:
    other = setting.models.architecture("lenet-300-100", (1, 8, 8), 7)
    given = {name: torch.ones(shape) for name, shape in other.shapes.items()}
    own = setting.adapted(PRUNED, MODEL, given)
    fresh = setting.fresh(PRUNED.root, MODEL)
    for name in MODEL.shapes:
        assert torch.equal(own[name], fresh[name] if name.startswith("output") else given[name])
    with pytest.raises(UsageError, match=r"ticket does not fit: its hidden1.weight is \(300, 49\).* \(300, 64\)"):
        setting.fitting(MODEL, setting.models.architecture("lenet-300-100", (1, 7, 7), 10).shapes)
