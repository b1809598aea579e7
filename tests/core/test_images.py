"""Images: normalization and augmentation, against torchvision's on the same images."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from sddcli.core.images import AUGMENTATIONS, crop_flip, normalizing
from sddcli.core.seeds import stream


def test_normalized_is_torchvisions() -> None:
    from torchvision.transforms import functional

    x = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(3, 4, 5)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = functional.normalize(x.float() / 255, list(mean), list(deviation))
    ours = normalizing([255 * m for m in mean], [255 * d for d in deviation])(x.view(1, 1, 3, 4, 5))
    torch.testing.assert_close(ours[0, 0], theirs)


def placed(size: int = 32) -> torch.Tensor:
    """An image in which each pixel says where it was: its row, its column, and 255."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([row + 100, column + 100, torch.full_like(row, 255)]).to(torch.uint8)


def outcome(image: torch.Tensor) -> tuple[int, int, int]:
    """(rows cropped from above, columns from the left, flipped) of an augmented `placed` image, from its middle."""
    flipped = int(image[1, 16, 15]) > int(image[1, 16, 16])
    column = int(image[1, 16, 15 if flipped else 16]) - 100
    return int(image[0, 16, 16]) - 100 - 16 + 4, (column - (31 - 15 if flipped else 16)) + 4, int(flipped)


def test_crop_and_flip_are_drawn_as_torchvision_draws_them() -> None:
    """Chi-square tests of 20,000 outcomes: ours uniform, and not to be told from torchvision's."""
    from torchvision import transforms

    n, crop = 20_000, crop_flip()
    draws = crop.draw(n, stream(0, "augment"))
    x = placed().expand(200, -1, -1, -1)
    ours = np.array([outcome(image) for part in torch.from_numpy(draws).split(200) for image in crop.apply(x, part)])
    torch.manual_seed(0)
    both = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])
    theirs = np.array([outcome(both(placed())) for _ in range(n // 4)])
    for column, kinds in ((0, 9), (1, 9), (2, 2)):
        counts = [np.bincount(found[:, column], minlength=kinds) for found in (ours, theirs)]
        assert len(counts[0]) == kinds and chisquare(counts[0]).pvalue > 1e-3
        assert chi2_contingency(counts).pvalue > 1e-3
    joint = np.bincount(ours @ np.array([18, 2, 1]), minlength=162)
    assert len(joint) == 162 and chisquare(joint).pvalue > 1e-3, "row, column and flip are independent"


def test_each_image_is_what_torchvision_makes_of_the_same_draw() -> None:
    from torchvision.transforms import functional

    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(40, 3, 32, 24), dtype=np.uint8))
    crop = crop_flip()
    draws = torch.from_numpy(crop.draw(40, stream(1)))
    for image, (top, left, flip), ours in zip(x, draws.tolist(), crop.apply(x, draws), strict=True):
        theirs = functional.crop(functional.pad(image, [4, 4]), top, left, 32, 24)
        assert torch.equal(ours, functional.hflip(theirs) if flip else theirs)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_its_own_draw_only(name: str) -> None:
    found = AUGMENTATIONS[name]()
    if found is None:
        return
    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(10, 3, 16, 16), dtype=np.uint8))
    draws = torch.from_numpy(found.draw(10, stream(2)))
    whole = found.apply(x, draws)
    assert whole.dtype == x.dtype and whole.shape == x.shape and not torch.equal(whole, x)
    for k in (0, 3, 9):
        assert torch.equal(found.apply(x[k : k + 1], draws[k : k + 1])[0], whole[k])
