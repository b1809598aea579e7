"""The conventional loop: how most people would write the same experiment, honestly and without tricks.

torchvision's transforms on PIL images, a DataLoader with two workers, single precision, the mask multiplied into
every forward pass, accuracy on the training and on the test set after each epoch. The network, the optimizer, the
batch size and the augmentation are those of our engine.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

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
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                words = (child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
                setattr(parent, name, MaskedConv(*words, bias=False))
    return net


def mnist(folder: Path) -> tuple[Dataset[object], Dataset[object]]:
    """MNIST as torchvision gives it, normalized by transforms."""
    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train, test = (datasets.MNIST(str(folder), train=train, transform=change) for train in (True, False))
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
}


def epoch_seconds(model: str, folder: Path, device: str, train_size: int = 0) -> tuple[float, float]:
    """Seconds of one epoch: training alone, and with both evaluations. train_size: of a part of the data."""
    make, read, momentum = CASES[model]
    train, test = read(folder)
    if train_size:
        train = torch.utils.data.Subset(train, range(0, len(train), len(train) // train_size))  # type: ignore[arg-type]
    net = make().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-4 if momentum else 0)
    loaders = [DataLoader(part, BATCH, shuffle=part is train, num_workers=2) for part in (train, test)]
    for images, labels in loaders[0]:  # warm up: workers, allocators, kernels
        F.cross_entropy(net(images.to(device)), labels.to(device)).backward()
        break
    _wait(device)
    began = time.perf_counter()
    net.train()
    for images, labels in loaders[0]:
        optimizer.zero_grad()
        F.cross_entropy(net(images.to(device)), labels.to(device)).backward()
        optimizer.step()
    _wait(device)
    trained = time.perf_counter() - began
    net.eval()
    with torch.no_grad():
        for loader in loaders:
            correct = 0
            for images, labels in loader:
                correct += int((net(images.to(device)).argmax(1) == labels.to(device)).sum())
    _wait(device)
    return trained, time.perf_counter() - began


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
