"""The conventional loop: how most people would write the same experiment, honestly and without tricks.

torchvision's transforms on PIL images, a DataLoader with two workers, single precision, the mask multiplied into
every forward pass, accuracy on the training and on the test set after each epoch. The network, the optimizer, the
batch size and the augmentation are those of our engine.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import datasets, transforms

from sddcli.core.models import ResNet
from sddcli.data import load

BATCH = 128


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a mask whenever it is used."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.register_buffer("mask", torch.ones(n_out, n_in))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n_in). Returns (B, n_out)."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedConv(nn.Conv2d):
    """A convolution whose weight is multiplied by a mask whenever it is used."""

    def __init__(self, *words: object, **more: object) -> None:
        super().__init__(*words, **more)  # type: ignore[arg-type]
        self.register_buffer("mask", torch.ones_like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        return self._conv_forward(x, self.weight * self.mask, self.bias)


def lenet() -> nn.Module:
    """LeNet-300-100 for MNIST."""
    layers = [MaskedLinear(784, 300), nn.ReLU(), MaskedLinear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def resnet18() -> nn.Module:
    """torchvision's ResNet-18 with the stem for small images."""
    from torchvision.models import resnet

    net = resnet.resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return masked(net)


def narrow_resnet18() -> nn.Module:
    """The same of width 16."""
    return masked(ResNet("basic", (2, 2, 2, 2), 16, 3, 10))


def convnet(channels: int) -> nn.Module:
    """The five-layer network of Nakkiran et al. (2020) of width 16, for images of so many channels."""
    layers, n_in = list[nn.Module](), channels
    for n_out, pooled in ((16, False), (32, True), (64, True), (128, False)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pooled else []
        n_in = n_out
    return masked(nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), MaskedLinear(n_in, 10)))


def masked(net: nn.Module) -> nn.Module:
    """The same network with masks in its convolutions."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                words = (child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
                setattr(parent, name, MaskedConv(*words, bias=child.bias is not None))
    return net


def mnist(folder: Path) -> tuple[Dataset[object], Dataset[object]]:
    """MNIST as torchvision gives it, normalized by transforms."""
    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train, test = (datasets.MNIST(str(folder), train=train, transform=change) for train in (True, False))
    return train, test


def digits(folder: Path) -> tuple[Dataset[object], Dataset[object]]:
    """The digits that ship with scikit-learn, as tensors; folder is of no use."""
    parts = load("digits")
    train, test = (TensorDataset(part.x, part.y) for part in (parts.train, parts.test))
    return train, test


def plain_photographs(folder: Path) -> tuple[Dataset[object], Dataset[object]]:
    """A folder of images, normalized by transforms and not augmented."""
    usual = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    train, test = (datasets.ImageFolder(str(folder / part), transforms.Compose(usual)) for part in ("train", "test"))
    return train, test


def photographs(folder: Path) -> tuple[Dataset[object], Dataset[object]]:
    """A folder of images, augmented and normalized by transforms."""
    usual = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    train = datasets.ImageFolder(str(folder / "train"), transforms.Compose([*crop, *usual]))
    return train, datasets.ImageFolder(str(folder / "test"), transforms.Compose(usual))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[Path], tuple[Dataset[object], Dataset[object]]], float]] = {
    "lenet-300-100": (lenet, mnist, 0.0),
    "resnet18": (resnet18, photographs, 0.9),
    "convnet-digits": (partial(convnet, 1), digits, 0.9),
    "convnet-photographs": (partial(convnet, 3), plain_photographs, 0.9),
    "narrow-resnet18": (narrow_resnet18, photographs, 0.9),
}


def epoch_seconds(
    model: str,
    folder: Path,
    device: str,
    train_size: int = 0,
    batch: int = BATCH,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Seconds of one epoch: training alone, and with both evaluations. train_size: of a part of the data."""
    make, read, momentum = CASES[model]
    train, test = read(folder)
    if train_size:
        train = torch.utils.data.Subset(train, range(0, len(train), len(train) // train_size))  # type: ignore[arg-type]
    net = make().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-4 if momentum else 0)
    workers = 0 if isinstance(test, TensorDataset) else 2
    loaders = [DataLoader(part, batch, shuffle=part is train, num_workers=workers) for part in (train, test)]
    for images, labels in loaders[0]:  # warm up: workers, allocators, kernels
        F.cross_entropy(net(images.to(device)), labels.to(device)).backward()
        break
    _wait(device)
    began = clock()
    net.train()
    for images, labels in loaders[0]:
        optimizer.zero_grad()
        F.cross_entropy(net(images.to(device)), labels.to(device)).backward()
        optimizer.step()
    _wait(device)
    trained = clock() - began
    net.eval()
    with torch.no_grad():
        for loader in loaders:
            correct = 0
            for images, labels in loader:
                correct += int((net(images.to(device)).argmax(1) == labels.to(device)).sum())
    _wait(device)
    return trained, clock() - began


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
