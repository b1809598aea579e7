"""CIFAR-100: 60,000 photographs of 32x32 pixels in 100 classes (Krizhevsky 2009)."""

from sddcli.core.noise import cycles
from sddcli.core.types import Data
from sddcli.datasets.reading import cifar
from sddcli.datasets.reading.files import Tell
from sddcli.datasets.reading.tensors import outlined, photographs

ARCHIVE = cifar.Archive(
    name="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    labels=b"fine_labels",
    classes=100,
)
# The superclass of each class, in the order of the labels.
COARSE = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10,
    12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16,
    12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14,
    13,
)  # fmt: skip
SIMILAR = cycles(COARSE)  # the next class of the superclass (He et al. 2022)


def read(tell: Tell) -> Data:
    """50,000 photographs to train on, 10,000 to test. x: (N, 3, 32, 32) bytes. Raises OSError as `cifar.read`."""
    return photographs(cifar.read(ARCHIVE, tell), ARCHIVE.classes, SIMILAR)


def outline() -> Data:
    """What `read` gives, without its content."""
    return outlined(50_000, (3, 32, 32), ARCHIVE.classes, SIMILAR)
