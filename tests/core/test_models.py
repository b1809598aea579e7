"""Models: shapes, prunable weights and the forward pass of M models, against plain torch and torchvision modules."""

from math import prod
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from sddcli.core.activity import Watch
from sddcli.core.inits import fresh
from sddcli.core.models import MODELS, PoolOfReLU, architecture
from sddcli.core.modules import _one_after_the_other, of_module
from sddcli.core.seeds import stream

FEATURES, CLASSES = (3, 32, 32), 10


def weights_of(word: str, features: tuple[int, ...] = FEATURES) -> int:
    return sum(prod(shape) for shape in architecture(word, features, CLASSES).shapes.values())


def test_lenet_has_the_papers_weights() -> None:
    model = architecture("lenet-300-100", (1, 28, 28), 10)
    assert model.size == 265_200
    assert sum(prod(shape) for name, shape in model.shapes.items() if name.endswith("weight")) == 266_200
    assert model.prunable == ("hidden1.weight", "hidden2.weight")


def test_lenets_have_any_widths() -> None:
    model = architecture("lenet-7-5-3", (1, 2, 2), 10)
    assert [model.shapes[f"hidden{i}.weight"] for i in (1, 2, 3)] == [(7, 4), (5, 7), (3, 5)]
    assert architecture("lenet-300-100", FEATURES, 10).shapes == MODELS["lenet-300-100"](FEATURES, 10).shapes
    with pytest.raises(ValueError, match="unknown model 'lenet-0'"):
        architecture("lenet-0", FEATURES, 10)


# Parameters as their papers and torchvision count them: a stem of 3x3 instead of 7x7 saves 64 * 3 * 40 weights.
@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("resnet18", 11_689_512 - 64 * 3 * 40 - 990 * 513),
        ("resnet34", 21_797_672 - 64 * 3 * 40 - 990 * 513),
        ("resnet50", 25_557_032 - 64 * 3 * 40 - 990 * 2049),
        ("resnet101", 44_549_160 - 64 * 3 * 40 - 990 * 2049),
        # No BatchNorm behind the stem and in the shortcuts, and a block's first one is as wide as its input.
        ("preresnet18", 11_689_512 - 64 * 3 * 40 - 990 * 513 - 2 * (64 + 128 + 256 + 512) - 2 * (64 + 128 + 256)),
        ("vgg16", 14_728_266),
        ("vgg11", 14_728_266 - 9 * (64**2 + 128**2 + 256**2 + 2 * 512**2) - 3 * (64 + 128 + 256 + 2 * 512)),
        ("conv-2", 4_300_992 + 38_000 + 394),
        ("conv-4", 2_425_024 + 0),
    ],
)
def test_sizes(word: str, count: int) -> None:
    if word.startswith("conv-"):  # Frankle & Carbin (2019), figure 2: 4.3M and 2.4M
        assert round(weights_of(word) / 1e5) == {"conv-2": 43, "conv-4": 24}[word]
    else:
        assert weights_of(word) == count


@pytest.mark.parametrize("word", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions_with_another_stem(word: str) -> None:
    from torchvision.models import resnet

    model = architecture(word, FEATURES, CLASSES)
    theirs = getattr(resnet, word)(num_classes=CLASSES)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    named = {name: tuple(p.shape) for name, p in theirs.named_parameters()}
    assert named == model.shapes
    weights = fresh(model, "kaiming:bn=uniform", 0)
    x = torch.randn(2, *FEATURES, generator=torch.Generator().manual_seed(0))
    together = {name: w.unsqueeze(0) for name, w in weights.items()}
    expected = functional_call(theirs.eval(), weights, (x,))
    torch.testing.assert_close(model.forward(together, x.unsqueeze(0), False)[0], expected, rtol=1e-3, atol=1e-4)


def test_preresnet_normalizes_before_each_convolution_and_adds_what_is_not_normalized() -> None:
    """The network of Nakkiran et al. (2020) step by step, in training mode: BatchNorm by the batch's own statistics."""
    model = architecture("preresnet18:width=3", (2, 16, 16), CLASSES)
    w = fresh(model, "kaiming:bn=uniform", 0)
    x = torch.randn(6, 2, 16, 16, generator=torch.Generator().manual_seed(0))

    def normalized(h: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (w[f"{name}.{end}"].view(1, -1, 1, 1) for end in ("weight", "bias"))
        return ((h - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp_min(0)

    h = nn.functional.conv2d(x, w["features.0.weight"], padding=1)
    for i, (channels, stride) in enumerate([(3, 1), (3, 1), (6, 2), (6, 1), (12, 2), (12, 1), (24, 2), (24, 1)], 1):
        name = f"features.{i}"
        first = normalized(h, f"{name}.bn1")
        changes = h.shape[1] != channels
        skipped = nn.functional.conv2d(first, w[f"{name}.shortcut.weight"], stride=stride) if changes else h
        inner = nn.functional.conv2d(first, w[f"{name}.conv1.weight"], stride=stride, padding=1)
        h = skipped + nn.functional.conv2d(normalized(inner, f"{name}.bn2"), w[f"{name}.conv2.weight"], padding=1)
        assert h.shape == (6, channels, *2 * [16 // (channels // 3)])
    expected = h.mean((2, 3)) @ w["output.weight"].T + w["output.bias"]
    together = {name: each.unsqueeze(0) for name, each in w.items()}
    torch.testing.assert_close(model.forward(together, x.unsqueeze(0), True)[0], expected, rtol=1e-4, atol=1e-4)
    assert model.width == 3 and not {name for name, shape in model.shapes.items() if len(shape) > 1} - {*model.prunable}


@pytest.mark.parametrize("word", MODELS)
def test_every_network_takes_images_of_m_models_and_its_statistics_are_the_batchs(word: str) -> None:
    features = (3, 16, 16) if word != "vgg16" else FEATURES
    word = f"{word}:width=2" if word[:3] in ("res", "pre", "vgg") or word == "convnet" else word
    model = architecture(word, features, CLASSES)
    nets = [fresh(model, "kaiming", seed) for seed in range(2)]
    together = {name: torch.stack([net[name] for net in nets]) for name in model.weights}
    x = torch.randn(2, 5, *features, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        before = {name: w.clone() for name, w in together.items()}
        logits = model.forward(together, x, training)
        assert logits.shape == (2, 5, CLASSES)
        for m in range(2):
            alone = {name: w[m : m + 1].clone() for name, w in before.items()}
            assert torch.equal(model.forward(alone, x[m : m + 1], training)[0], logits[m])
            assert all(torch.equal(alone[name][0], together[name][m]) for name in model.weights)
        changed = {name for name in model.weights if not torch.equal(before[name], together[name])}
        assert changed == (set(model.statistics) if training else set())


@pytest.mark.parametrize(
    ("word", "spared"),
    [("lenet-300-100", 1), ("vgg16", 1), ("resnet18", 0), ("convnet", 0), ("conv-4", 0)],
)
def test_what_is_prunable(word: str, spared: int) -> None:
    model = architecture(word, FEATURES, CLASSES)
    others = {name for name, shape in model.shapes.items() if len(shape) > 1} - set(model.prunable)
    assert others == ({"output.weight"} if spared else set())


def test_forward_is_that_of_torchs_layers() -> None:
    model = architecture("lenet-300-100", (64,), CLASSES)
    nets = [fresh(model, "kaiming", seed) for seed in range(3)]
    together = {name: torch.stack([net[name] for net in nets]) for name in model.shapes}
    x = torch.randn(3, 7, 64, generator=torch.Generator().manual_seed(0))
    for m, net in enumerate(nets):
        plain = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
        for parameter, name in zip(plain.parameters(), model.shapes, strict=True):
            parameter.data = net[name]
        torch.testing.assert_close(model.forward(together, x, True)[m], plain(x[m]))


def test_any_module_is_a_network() -> None:
    model = of_module(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 10)), (1, 3, 3)
    )
    assert model.prunable == ("0.weight", "3.weight") and list(model.statistics) == ["1.running_mean", "1.running_var"]


@pytest.mark.parametrize("channels", [3, 6, 12, 20])
def test_a_stride_over_few_channels_is_taken_before_its_convolution(channels: int) -> None:
    """Where it is a 1x1 one, torch may write beyond its memory in its gradient; which is that of double precision."""
    strides = list[list[int]]()

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.convolution_backward.default:
                strides.append(args[4])
            return func(*args, **(kwargs or {}))

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 24, 1, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 10)
        )

    model, plain = of_module(build, (channels, 8, 8)), build()
    x = torch.from_numpy(stream(0, "x").standard_normal((20, channels, 8, 8), dtype="float32"))
    weights = {name: w.detach()[None].requires_grad_() for name, w in plain.named_parameters()}
    with Seen():
        ours = torch.autograd.grad(model.forward(weights, x[None], True).square().sum(), list(weights.values()))
    assert strides == [[1, 1] if channels < 16 else [2, 2]]
    plain = plain.double()
    exact = torch.autograd.grad(plain(x.double()).square().sum(), list(plain.parameters()))
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one[0].double(), other, rtol=1e-4, atol=1e-2)


def test_what_a_network_cannot_take() -> None:
    with pytest.raises(ValueError, match="takes images"):
        architecture("resnet18", (64,), 10)
    with pytest.raises(ValueError, match=r"cannot take inputs of shape \(1, 8, 8\)"):
        architecture("vgg16", (1, 8, 8), 10)
    with pytest.raises(ValueError, match="unknown parameter of model 'resnet18': 'widht'; did you mean 'width'"):
        architecture("resnet18:widht=3", FEATURES, 10)


class Tied(nn.Module):
    """Two layers of one matrix, and a BatchNorm in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.middle = nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, 6)."""
        if x.isnan().any():
            raise ArithmeticError
        h = self.middle(self.first(x)[:, None, None])
        logits: torch.Tensor = self.second(h[:, 0, 0])
        return logits


def test_weights_take_all_their_places_in_a_network_and_leave_them_again() -> None:
    """As torch's functional_call: for a matrix that two layers share, after an error, for statistics as they change."""
    module, plain = Tied(), Tied()
    module.middle.num_batches_tracked = plain.middle.num_batches_tracked = None
    own = [*module.named_parameters(), *module.named_buffers()]
    forward = _one_after_the_other(module, lambda x: x)
    draw = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(1, *w.shape, generator=draw) for name, w in plain.state_dict().items()}
    del weights["second.weight"]
    weights = {name: w.requires_grad_(not name.startswith("middle.running")) for name, w in weights.items()}
    x = torch.randn(1, 5, 6, generator=draw)
    alone = {name: w[0].clone() for name, w in weights.items()}
    expected = functional_call(plain, alone, (x[0],))
    logits = forward(weights, x, True)
    assert torch.equal(logits[0], expected)
    assert torch.equal(weights["middle.running_mean"][0], alone["middle.running_mean"])
    learned = [name for name, w in weights.items() if w.requires_grad]
    ours = torch.autograd.grad(logits.square().sum(), [weights[name] for name in learned])
    theirs = torch.autograd.grad(expected.square().sum(), [weights[name] for name in learned])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)) and "first.weight" in learned
    with pytest.raises(ArithmeticError):
        forward(weights, torch.full_like(x, torch.nan), True)
    after = [*module.named_parameters(), *module.named_buffers()]
    assert all(a is b for (_, a), (_, b) in zip(own, after, strict=True)) and module.second.weight is own[0][1]
    assert torch.equal(forward(weights, x, False)[0], functional_call(plain.eval(), alone, (x[0],)))
    assert not module.training and not module.middle.training


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1)], ids=["2x2", "all"])
def test_a_pool_comes_before_its_relu_in_training_for_the_same_bits(pool: nn.Module) -> None:
    """Where all of a window is negative too, or its greatest numbers are equal; in evaluation the ReLU has them all."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (6, 5, 8, 8), generator=draw).float().to(memory_format=torch.channels_last)
    x[0], x[1] = -x[0].abs() - 1, 2.0
    both, last = PoolOfReLU(pool), nn.Sequential(nn.ReLU(), pool)
    results = []
    for network in (both.train(), both.eval(), last.train()):
        leaf = x.clone().requires_grad_()
        slope = torch.randn(network(leaf * 1).shape, generator=torch.Generator().manual_seed(1))
        results.append((network(leaf * 1), torch.autograd.grad(network(leaf * 1), leaf, slope)[0]))
    assert all(torch.equal(a, b) for each in results[:2] for a, b in zip(each, results[2], strict=True))
    heard = list[torch.Size]()
    for training in (True, False):
        with Watch({}, lambda _, outputs: heard.append(outputs.shape)):
            both.train(training)(x.clone())
    assert heard == [results[0][0].shape, x.shape]


@pytest.mark.parametrize("word", ["convnet:width=2", "vgg16:width=2", "resnet18:width=2", "preresnet18:width=2"])
def test_the_channels_of_a_network_are_seen_through_its_pools_and_relus(word: str) -> None:
    model = architecture(word, FEATURES, CLASSES)
    shared = {name for part in model.channels() for name in part.outputs}
    assert shared == set(model.prunable) - {model.output}
