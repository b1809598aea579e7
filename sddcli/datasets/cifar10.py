"""CIFAR-10: 60,000 photographs of 32x32 pixels in 10 classes (Krizhevsky 2009)."""

from sddcli.core.types import Data
from sddcli.datasets.reading import cifar
from sddcli.datasets.reading.files import Tell
from sddcli.datasets.reading.tensors import outlined, photographs

ARCHIVE = cifar.Archive(
    name="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    labels=b"labels",
    classes=10,
)
SIMILAR = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)  # bird -> plane, deer -> horse, truck -> car, cat <-> dog (He et al. 2022)


def read(tell: Tell) -> Data:
    """50,000 photographs to train on, 10,000 to test. x: (N, 3, 32, 32) bytes. Raises OSError as `cifar.read`."""
    return photographs(cifar.read(ARCHIVE, tell), ARCHIVE.classes, SIMILAR)


def outline() -> Data:
    """What `read` gives, without its content."""
    return outlined(50_000, (3, 32, 32), ARCHIVE.classes, SIMILAR)
