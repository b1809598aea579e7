"""Units: whole ones are kept or removed, as many as come nearest to the level's weights, nested."""

from functools import partial
from math import prod

import pytest
import torch
from torch import Tensor

from sddcli.core import channels, masks, units
from sddcli.core.models import architecture
from sddcli.core.seeds import stream
from sddcli.core.types import Channels, Model, Tensors
from sddcli.core.units import Layout, unit
from sddcli.core.words import UsageError

SHAPES = {"a": (6, 9), "b": (4, 3, 3, 3)}
FLAT = Layout(SHAPES)
NETWORKS = [
    *("lenet-12-8:prunable=all", "convnet:width=4", "vgg16:width=2", "resnet18:width=4", "resnet50:width=2"),
    "preresnet18:width=4",
]
STRUCTURED = ["channel", "filter", "2:4", "1:8"]


def network(word: str) -> tuple[Model, Layout]:
    model = architecture(word, (3, 16, 16), 10)
    return model, Layout({name: model.shapes[name] for name in model.prunable}, model.channels())


def scores(layout: Layout, seed: int) -> Tensors:
    return {name: torch.from_numpy(stream(seed, name).random(shape)) for name, shape in layout.shapes.items()}


def size(kept: Tensors) -> int:
    return sum(int(mask.sum()) for mask in kept.values())


@pytest.mark.parametrize("word", ["weight", "block", "block:size=2", "block:size=27"])
def test_units_are_kept_whole_as_many_as_fit_and_nest(word: str) -> None:
    before, least = masks.full(scores(FLAT, 0)), int(word.partition("=")[2] or "4") if "block" in word else 1
    rule = unit(word, FLAT)
    assert rule.unable({"": least - 1}) and not rule.unable({"": least}) and not rule.unable({"a": 27, "b": 27})
    for level, count in enumerate((162, 130, 90, 50, 27)):
        kept = rule.keep(scores(FLAT, level), before, {"": count}, None)
        assert count - least < size(kept) <= count
        for name, mask in kept.items():
            assert not (mask & ~before[name]).any()
            members = units.blocks_of(SHAPES[name], least)
            for number in members.unique():
                assert mask[members == number].sum() in (0, before[name][members == number].sum())
        before = kept


def test_blocks_lie_along_the_inputs_of_one_neuron() -> None:
    assert units.blocks_of((2, 5), 2).tolist() == [[0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    with pytest.raises(UsageError, match="takes a size of 2 or more, got 1"):
        unit("block:size=1", FLAT)


def test_a_unit_scores_the_mean_of_its_weights_that_are_left() -> None:
    score, mask = {"a": torch.tensor([[1.0, 5.0, 3.0, 9.0]])}, {"a": torch.tensor([[True, False, True, True]])}
    means = units.averaged(score, mask, {"a": units.blocks_of((1, 4), 2)})
    assert means["a"].tolist() == [[1.0, 1.0, 6.0, 6.0]]


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_channel_nothing_else_of_a_network_depends_on_it(name: str) -> None:
    """Of a network that has lost some channels, all weights that are theirs may be anything: outputs stay the same."""
    model, layout = network(name)
    assert layout.channels and model.output not in {each for part in layout.channels for each in part.outputs}
    draw = torch.Generator().manual_seed(1)
    weights = {key: torch.randn(model.shapes.get(key) or model.statistics[key], generator=draw).abs() * 0.1 + 0.05
               for key in model.weights}  # fmt: skip
    kept = masks.full({key: weights[key] for key in model.prunable})
    lost = {}
    for part in layout.channels:
        left = torch.arange(part.size) % 2 == 0
        kept = channels.cut(kept, part, left)
        lost |= dict.fromkeys(part.vectors, left)
    whole = channels.completed(kept, layout.channels)
    assert all(torch.equal(whole[key], left) for key, left in lost.items())
    x = torch.randn(1, 3, 3, 16, 16, generator=draw)

    def outputs(others: float) -> Tensor:
        """Of the network whose weights that read lost channels are so."""
        cut = masks.apply({key: whole[key] for key in whole}, weights)
        for part in layout.channels:
            for key in part.inputs:
                rows = cut[key].view(cut[key].shape[0], part.size, -1)
                rows[:, 1::2] = others
        return model.forward({key: w.unsqueeze(0) for key, w in cut.items()}, x, False)

    assert torch.equal(outputs(0.0), outputs(7.0)) and outputs(0.0).std() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_masks_of_channels_are_those_of_a_smaller_network(name: str) -> None:
    """Nested, nearest to the counts, never an empty layer; the weights left are those of a network of such widths."""
    model, layout = network(name)
    rule, before, total = unit("channel", layout), masks.full(scores(layout, 0)), model.size
    for level in range(1, 6):
        count = masks.kept(total, 0.35, level)
        if rule.unable({"": count}):
            break
        kept = rule.keep(scores(layout, level), before, {"": count}, None)
        assert all(not (mask & ~before[key]).any() for key, mask in kept.items())
        widths = {part: int(channels.living(kept, part).sum()) for part in layout.channels}
        assert min(widths.values()) > 0
        shapes = {key: list(shape) for key, shape in layout.shapes.items()}
        for part, width in widths.items():
            for key in part.outputs:
                shapes[key][0] = width
            for key in set(part.inputs) & set(shapes):
                shapes[key][1] = shapes[key][1] // part.size * width
        assert size(kept) == sum(map(prod, shapes.values()))
        largest = max(
            size(kept) - size(channels.cut(kept, part, torch.arange(part.size) != int(first)))
            for part in layout.channels
            if (first := channels.living(kept, part).int().argmax()) is not None
        )
        assert abs(size(kept) - count) <= 2 * largest
        before = kept
    assert level > 3


def test_the_channels_with_the_lowest_mean_of_their_rows_go() -> None:
    """Against NumPy: two layers, of which the ladder keeps as nearly as whole neurons allow."""
    _, layout = network("lenet-6-4")
    given = scores(layout, 3)
    kept = unit("neuron", layout).keep(given, masks.full(given), {"": 768 * 4 + 4 * 3}, None)
    first, second = (given[f"hidden{i}.weight"].numpy().mean(1) for i in (1, 2))
    ranked = sorted([(v, 0, i) for i, v in enumerate(first)] + [(v, 1, i) for i, v in enumerate(second)])
    gone = {0: set[int](), 1: set[int]()}
    options = [(abs(6 * 768 + 24 - 3084), {0: set[int](), 1: set[int]()})]
    for _, layer, i in ranked:
        if len(gone[layer]) < (5, 3)[layer]:
            gone = {k: v | ({i} if k == layer else set()) for k, v in gone.items()}
            left = (6 - len(gone[0])) * 768 + (6 - len(gone[0])) * (4 - len(gone[1]))
            options.append((abs(left - 3084), gone))
    best = min(options, key=lambda option: option[0])[1]
    for i, name in enumerate(("hidden1.weight", "hidden2.weight")):
        assert set((~kept[name].any(1)).nonzero().flatten().tolist()) == best[i]
    assert size(kept) == 768 * (6 - len(best[0])) + (6 - len(best[0])) * (4 - len(best[1]))


def test_layers_lose_channels_in_proportion_where_they_have_counts_of_their_own() -> None:
    _, layout = network("lenet-40-20:prunable=all")
    given = scores(layout, 5)
    counts = {name: prod(shape) // 2 for name, shape in layout.shapes.items()}
    kept = unit("neuron", layout).keep(given, masks.full(given), counts, None)
    first, second = (int(kept[f"hidden{i}.weight"].any(1).sum()) for i in (1, 2))
    assert abs(first - 2 * second) <= 2 and abs(size(kept) - sum(counts.values())) <= 768


@pytest.mark.parametrize("shape", [(5, 8), (4, 10), (3, 8, 3, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 8), (3, 5)])
def test_exactly_n_of_each_m_inputs_are_kept_and_the_best(shape: tuple[int, ...], n: int, m: int) -> None:
    """Against a loop over all groups; inputs that m does not divide stay."""
    layout = Layout({"a": shape, "b": (3, 2 * m)})
    given, before = scores(layout, 2), masks.full(scores(layout, 0))
    rule, total = unit(f"{n}:{m}", layout), sum(map(prod, layout.shapes.values()))
    kept = rule.keep(given, before, {"": round(total * n / m)}, None)
    other = rule.keep(given, before, {name: round(prod(s) * n / m) for name, s in layout.shapes.items()}, None)
    for name, mask in kept.items():
        assert torch.equal(mask, other[name])
        values = [column.flatten(1) if column.dim() > 1 else column.unsqueeze(1) for column in given[name].unbind(1)]
        columns = [column.flatten(1) if column.dim() > 1 else column.unsqueeze(1) for column in mask.unbind(1)]
        whole = len(columns) // m * m
        assert all(column.all() for column in columns[whole:])
        for first in range(0, whole, m):
            chosen = torch.stack(columns[first : first + m])
            assert (chosen.sum(0) == n).all()
            assert torch.equal(
                chosen, torch.stack(values[first : first + m]).argsort(0, descending=True).argsort(0) < n
            )


def test_n_of_m_goes_down_the_ladder_to_its_n_and_no_further() -> None:
    """Of 16 weights a level keeps what is nearest to 16 * 0.8^k: masks nest, and the level after 2 of 16 cannot be."""
    layout = Layout({"a": (10, 32)})
    rule, before = unit("2:16", layout), masks.full(scores(layout, 0))
    for level in range(1, 10):
        kept = rule.keep(scores(layout, level), before, {"": masks.kept(320, 0.2, level)}, None)
        assert (kept["a"].view(10, 2, 16).sum(2) == round(16 * 0.8**level)).all()
        assert not (kept["a"] & ~before["a"]).any()
        before = kept
    assert not rule.unable({"": 40}) and rule.unable({"": 20}) == "keeps 1 of each 16 weights, and unit 2:16 at least 2"


def test_equal_scores_are_told_apart_by_what_was_drawn_where_it_is_given() -> None:
    layout = Layout({"a": (200, 4)})
    equal, drawn = {"a": torch.zeros(200, 4)}, scores(layout, 1)
    first = unit("2:4", layout).keep(equal, masks.full(equal), {"": 400}, None)
    some = unit("2:4", layout).keep(equal, masks.full(equal), {"": 400}, drawn)
    assert first["a"][:, :2].all() and torch.equal(some["a"], drawn["a"].argsort(1).argsort(1) >= 2)


@pytest.mark.parametrize(
    ("word", "model", "message"),
    [
        ("4:2", "lenet-12-8", "unit 4:2 keeps 4 of each 2 weights: N:M takes an N from 1 to M - 1, such as 2:4"),
        ("4:4", "lenet-12-8", "unit 4:4 keeps 4 of each 4 weights"),
        ("0:4", "lenet-12-8", "unit 0:4 keeps 0 of each 4 weights"),
        ("2:4000", "lenet-12-8", "unit 2:4000 needs a layer of 4000 inputs or more, and this network has none"),
        ("filter", "lenet-12-8", "unit filter needs a convolution, and this network has none"),
        ("neuron", "vgg16:width=2", "unit neuron needs a hidden linear layer that can be pruned, and this network has"),
        ("filters", "vgg16:width=2", "unknown unit 'filters'; did you mean 'filter'"),
    ],
)
def test_units_that_a_network_has_not_are_refused_in_a_line(word: str, model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        unit(word, network(model)[1])


def test_a_count_that_would_empty_a_layer_is_refused() -> None:
    rule = unit("neuron", network("lenet-12-8")[1])
    assert rule.unable({"": 768}) == "keeps 768 weights, and one neuron of each layer leaves 769"
    assert rule.unable({"": 769}) == ""
    given = scores(network("lenet-12-8")[1], 1)
    assert size(rule.keep(given, masks.full(given), {"": 769}, None)) == 769


def test_scores_that_are_not_numbers_are_refused() -> None:
    for word in ("neuron", "2:4"):
        _, layout = network("lenet-12-8")
        given = scores(layout, 1)
        given["hidden1.weight"][0, 0] = torch.nan
        with pytest.raises(UsageError, match="not numbers"):
            unit(word, layout).keep(given, masks.full(given), {"": 5000}, None)


def test_shortcuts_tie_filters_whose_outputs_are_added() -> None:
    layout = network("resnet18:width=4")[1]
    stem = next(part for part in layout.channels if "conv1.weight" in part.outputs)
    assert set(stem.outputs) == {"conv1.weight", "layer1.0.conv2.weight", "layer1.1.conv2.weight"}
    assert set(stem.inputs) == {f"layer{b}.conv1.weight" for b in ("1.0", "1.1", "2.0")} | {
        "layer2.0.downsample.0.weight"
    }
    assert isinstance(stem, Channels) and {"bn1.weight", "layer1.1.bn2.bias"} <= set(stem.vectors)


@pytest.mark.parametrize("word", ["shuffle", "permute"])
def test_blocks_move_whole_to_places_of_blocks_of_their_size(word: str) -> None:
    """A row of layer a has blocks of 4, 4 and 1 weights, one of layer b blocks of 4 and of 3."""
    rule, draws = unit("block:size=4", FLAT), scores(FLAT, 3)
    above = rule.keep(draws, masks.full(draws), {"": 90}, None)
    moved = (rule.moves or {})[word](above, partial(stream, 5))
    ids = {name: units.blocks_of(shape, 4) for name, shape in SHAPES.items()}
    for name, mask in moved.items():
        for block in range(int(ids[name].max()) + 1):
            of_block = mask[ids[name] == block]
            assert of_block.all() or not of_block.any()
        assert not torch.equal(mask, above[name]) and (word == "permute" or mask.sum() == above[name].sum())
    ends = [int(kept["a"][:, 8].sum()) for kept in (above, moved)]
    assert size(moved) == size(above) and ends[0] == ends[1], "the last block of a's rows is of one weight alone"


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_move_whole_within_their_layers(name: str) -> None:
    _, layout = network(name)
    rule, draws = unit("channel", layout), scores(layout, 4)
    above = rule.keep(draws, masks.full(draws), {"": size(masks.full(draws)) // 3}, None)
    moved, again = ((rule.moves or {})["shuffle"](above, partial(stream, seed)) for seed in (5, 5))
    assert {n: int(mask.sum()) for n, mask in moved.items()} == {n: int(mask.sum()) for n, mask in above.items()}
    assert all(torch.equal(mask, again[n]) for n, mask in moved.items()) and any(
        not torch.equal(mask, above[n]) for n, mask in moved.items()
    )
    kept = masks.full(draws)
    for each in layout.channels:
        alive = channels.living(moved, each)
        assert alive.sum() == channels.living(above, each).sum()
        kept = channels.cut(kept, each, alive)
    assert all(torch.equal(mask, kept[n]) for n, mask in moved.items()), "whole rows and columns, and nothing else"


def test_two_neurons_of_five_by_hand() -> None:
    layout = Layout({"a.weight": (5, 3), "b.weight": (2, 5)}, [Channels(5, ("a.weight",), ("a.bias",), ("b.weight",))])
    above = masks.full({name: torch.zeros(shape) for name, shape in layout.shapes.items()})
    above["a.weight"][2:], above["b.weight"][:, 2:] = False, False
    order = stream(5, "shuffle", "a.weight").permutation(5)
    left = torch.tensor([index < 2 for index in order])
    moved = (unit("neuron", layout).moves or {})["shuffle"](above, partial(stream, 5))
    assert torch.equal(moved["a.weight"], left.unsqueeze(1).expand(5, 3))
    assert torch.equal(moved["b.weight"], left.expand(2, 5))


def test_weights_move_one_by_one_and_patterns_of_groups_not_at_all() -> None:
    assert unit("weight", FLAT).moves is None and unit("2:4", FLAT).moves == {}
