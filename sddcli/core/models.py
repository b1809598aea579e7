"""Models: the architectures, and the words that mean them."""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import prod
from typing import Any, Literal

from torch import Tensor, nn

from sddcli.core import channels, dense, own
from sddcli.core.modules import of_module, of_own
from sddcli.core.types import Model, Shape
from sddcli.core.words import UsageError, pick, unknown

Architecture = Callable[[Shape, int], Model]
"""(shape of an example, number of classes) -> the network for it. Raises UsageError for a shape it cannot take."""


def mlp(widths: tuple[int, ...], features: Shape, classes: int, *, prunable: str = "hidden") -> Model:
    """Fully connected ReLU layers of the given hidden widths; prunable are the hidden ones or all.

    Raises UsageError where `prunable` is neither of the words hidden and all.
    """
    if prunable not in ("hidden", "all"):
        raise unknown("prunable layers of lenet:", prunable, ("hidden", "all"))
    sizes = (prod(features), *widths, classes)
    layers = [f"hidden{i}" for i in range(1, len(widths) + 1)] + ["output"]
    shapes: dict[str, Shape] = {}
    for layer, n_in, n_out in zip(layers, sizes, sizes[1:], strict=False):
        shapes |= {f"{layer}.weight": (n_out, n_in), f"{layer}.bias": (n_out,)}
    names = tuple(f"{layer}.weight" for layer in (layers if prunable == "all" else layers[:-1]))
    neurons = channels.layered(sizes, layers)
    return Model(
        shapes,
        names,
        partial(dense.forward, layers),
        slopes=partial(dense.slopes, layers),
        channels=lambda: neurons,
        inputs=dict(zip(layers[1:], widths, strict=True)),
    )


def lenet_300_100(features: Shape, classes: int, *, prunable: str = "hidden") -> Model:
    """LeNet-300-100 (LeCun et al. 1998) as He et al. (2022) prune it; Frankle & Carbin (2019): prunable=all."""
    return mlp((300, 100), features, classes, prunable=prunable)


def _of_library(library: str, name: str, settings: str, features: Shape, classes: int) -> nn.Module:
    """A network of torchvision or timm, untrained, of the settings that its function takes, ":key=value:key=value".

    Raises UsageError where the library is not there, or has no such network.
    """
    if strange := [
        each for each in settings.split(":")[1:] if re.match(r"(pretrained|checkpoint|weights|cache)", each)
    ]:
        raise UsageError(f"networks are untrained here, and {strange[0]} would read a file of weights")
    pairs = (each.partition("=") for each in settings.split(":")[1:])
    given: dict[str, Any] = {key: _number(text) for key, _, text in pairs}
    try:
        if library == "timm":
            import timm

            made: nn.Module = timm.create_model(name, num_classes=classes, in_chans=_image(features), **given)
        else:
            from torchvision.models import get_model

            made = get_model(name, weights=None, num_classes=classes, **given)
    except ImportError:
        raise UsageError(f"{library} is not installed: pip install 'sddcli[{library}]'") from None
    return made


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class ResNet(nn.Module):
    """A residual network with the stem for small images: 3x3, stride 1, no max-pool. Blocks are torchvision's."""

    def __init__(self, block: str, depths: Sequence[int], width: int, channels: int, classes: int) -> None:
        from torchvision.models import resnet

        super().__init__()
        kind = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[block]
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        n_in = width
        for stage, depth in enumerate(depths):
            planes, blocks = width * 2**stage, []
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                n_out = planes * kind.expansion
                down = None
                if stride != 1 or n_in != n_out:
                    down = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
                blocks.append(kind(n_in, planes, stride, down))
                n_in = n_out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(n_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels, height, width). Returns (B, classes)."""
        h = self.bn1(self.conv1(x)).relu_()
        for name, stage in self.named_children():
            h = stage(h) if name.startswith("layer") else h
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits


def resnet(
    block: Literal["basic", "bottleneck"], depths: Sequence[int], features: Shape, classes: int, *, width: int = 64
) -> Model:
    """ResNet (He et al. 2016) as He et al. (2022) prune it; width: channels of its first stage.

    All convolutions and the last layer are prunable. Shortcuts between stages are 1x1 convolutions, also in resnet20,
    the network of a quarter of a million weights that Frankle & Carbin (2019) call Resnet-18.
    """
    n_in = _image(features)
    return of_module(lambda: ResNet(block, depths, width, n_in, classes), features)


class PreBlock(nn.Module):
    """Two 3x3 convolutions, each of what BatchNorm and ReLU make of its input, added to the block's own input.

    Where channels or resolution change, that is brought to them by a 1x1 convolution of the first ReLU's output.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        changes = stride != 1 or n_in != n_out
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n_in, height, width). Returns (B, n_out, height / stride, width / stride)."""
        h = self.bn1(x).relu_()
        inner: Tensor = self.conv2(self.bn2(self.conv1(h)).relu_())
        return inner + (x if self.shortcut is None else self.shortcut(h))


def preresnet(depths: Sequence[int], features: Shape, classes: int, *, width: int = 64) -> Model:
    """ResNet of pre-activation blocks (He et al. 2016b) as Nakkiran et al. (2020) widen it: k, 2k, 4k, 8k channels.

    As in their code, nothing stands between the last addition and the mean over the image. Every layer is prunable.
    """
    n_in = _image(features)

    def build() -> nn.Module:
        widths = [width, *(width * 2**stage for stage, depth in enumerate(depths) for _ in range(depth))]
        strides = [2 if stage and not i else 1 for stage, depth in enumerate(depths) for i in range(depth)]
        stem = nn.Conv2d(n_in, width, 3, padding=1, bias=False)
        blocks = [PreBlock(*each) for each in zip(widths, widths[1:], strides, strict=False)]
        return _classifier(nn.Sequential(stem, *blocks), nn.AdaptiveAvgPool2d(1), widths[-1], classes)

    return of_module(build, features)


def vgg(plan: str, features: Shape, classes: int, *, width: int = 64) -> Model:
    """VGG with BatchNorm and one linear layer, as in OpenLTH and He et al. (2022); its convolutions are prunable.

    The mean over what is left of the image takes the place of the last pool.
    """
    n_in = _image(features)

    def build() -> nn.Module:
        return _classifier(_plain(plan, width, n_in, normalized=True), nn.AdaptiveAvgPool2d(1), 8 * width, classes)

    return of_module(build, features, spared=("output.weight",))


def conv(plan: str, features: Shape, classes: int) -> Model:
    """Conv-2, Conv-4, Conv-6 (Frankle & Carbin 2019): 3x3 convolutions, max-pools, two hidden layers of 256.

    No BatchNorm; every layer is prunable.
    """
    n_in, pools = _image(features), plan.count("M")
    widest = max(int(piece) for piece in plan.split() if piece != "M")
    flat = 64 * widest * prod(side // 2**pools for side in features[1:])

    def build() -> nn.Module:
        hidden = nn.Sequential(nn.Flatten(), nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        return _classifier(_plain(plan, 64, n_in, normalized=False), hidden, 256, classes)

    return of_module(build, features)


def convnet(features: Shape, classes: int, *, width: int = 16) -> Model:
    """The five-layer network of Nakkiran et al. (2020): widths [k, 2k, 4k, 8k], BatchNorm, max-pools, one linear layer.

    Small enough for a CPU; every layer is prunable.
    """
    n_in = _image(features)

    def build() -> nn.Module:
        layers = _plain("1 2 M 4 M 8", width, n_in, normalized=True)[:-1]  # its last ReLU is that of the pool
        return _classifier(layers, PoolOfReLU(nn.AdaptiveMaxPool2d(1)), 8 * width, classes)

    return of_module(build, features)


class PoolOfReLU(nn.Module):
    """A max-pool of what a ReLU puts out.

    In training it pools first, for the same numbers and gradients: then the ReLU has a quarter of them. What looks at
    ReLUs, criteria and measures, does so in evaluation.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels, height, width), which is written to. Returns it pooled."""
        pooled: Tensor = self.pool(x).relu_() if self.training else self.pool(x.relu_())
        return pooled


def _plain(plan: str, width: int, channels: int, normalized: bool) -> nn.Sequential:
    """3x3 convolutions, so many times `width` channels each, with ReLU, and 2x2 max-pools, M: torchvision's VGG."""
    from torchvision.models.vgg import make_layers

    layers: list[str | int] = [piece if piece == "M" else width * int(piece) for piece in plan.split()]
    network: nn.Sequential = make_layers(layers, batch_norm=normalized)
    network[0] = nn.Conv2d(channels, width, 3, padding=1)  # torchvision's takes colours only
    for i, part in enumerate(network):
        if isinstance(part, nn.MaxPool2d):
            network[i - 1], network[i] = nn.Identity(), PoolOfReLU(part)
    return network


def _classifier(features: nn.Module, hidden: nn.Module, n_in: int, classes: int) -> nn.Module:
    named = {"features": features, "hidden": hidden, "flat": nn.Flatten(), "output": nn.Linear(n_in, classes)}
    return nn.Sequential(OrderedDict(named))


def _image(features: Shape) -> int:
    if len(features) != 3:
        raise UsageError(f"a convolutional network takes images (channels, height, width), not {tuple(features)}")
    return features[0]


MODELS: dict[str, Architecture] = {
    "lenet-300-100": lenet_300_100,
    "convnet": convnet,
    "conv-2": partial(conv, "1 1 M"),
    "conv-4": partial(conv, "1 1 M 2 2 M"),
    "conv-6": partial(conv, "1 1 M 2 2 M 4 4 M"),
    "vgg11": partial(vgg, "1 M 2 M 4 4 M 8 8 M 8 8"),
    "vgg16": partial(vgg, "1 1 M 2 2 M 4 4 4 M 8 8 8 M 8 8 8"),
    "resnet18": partial(resnet, "basic", (2, 2, 2, 2)),
    "resnet20": partial(resnet, "basic", (3, 3, 3), width=16),
    "resnet34": partial(resnet, "basic", (3, 4, 6, 3)),
    "resnet50": partial(resnet, "bottleneck", (3, 4, 6, 3)),
    "resnet101": partial(resnet, "bottleneck", (3, 4, 23, 3)),
    "preresnet18": partial(preresnet, (2, 2, 2, 2)),
}


@cache
def architecture(word: str, features: Shape, classes: int) -> Model:
    """The network that a word of MODELS means; lenet-H-H, fully connected layers of any widths; torchvision:NAME and
    timm:NAME, networks of theirs; or the user's own code.

    Raises UsageError for an unknown word, or inputs that it cannot take.
    """
    if library := re.fullmatch(r"(torchvision|timm):([^:]+)(:.*)?", word):
        name, settings = library[2], library[3] or ""
        made: Model = own.calling(word, of_own, partial(_of_library, library[1], name, settings), features, classes)
        return made
    if own.key_of(word):
        model: Model = own.calling(word, of_own, pick("model", word, {}), features, classes)
        return model
    if lenet := re.fullmatch(r"(lenet(?:-[1-9]\d{0,5})+)(?::.*)?", word):
        widths = tuple(int(width) for width in lenet[1].split("-")[1:])
        return pick("model", word, {lenet[1]: partial(mlp, widths)})(features, classes)
    return pick("model", word, MODELS)(features, classes)
