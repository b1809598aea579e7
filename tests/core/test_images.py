"""Images: normalization and augmentation, against torchvision's on the same images."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare, ks_2samp

from sddcli.core.images import AUGMENTATIONS, crop_flip, normalizing, resized_crop_flip
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
    draws = crop.draw(n, (32, 32), stream(0, "augment"))
    x = placed().expand(200, -1, -1, -1)
    ours = np.array(
        [outcome(image) for part in torch.from_numpy(draws).split(200) for image in crop.apply(x, part, (32, 32))]
    )
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
    draws = torch.from_numpy(crop.draw(40, (32, 24), stream(1)))
    for image, (top, left, flip), ours in zip(x, draws.tolist(), crop.apply(x, draws, (32, 24)), strict=True):
        theirs = functional.crop(functional.pad(image, [4, 4]), top, left, 32, 24)
        assert torch.equal(ours, functional.hflip(theirs) if flip else theirs)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_its_own_draw_only(name: str) -> None:
    found = AUGMENTATIONS[name]()
    if found is None:
        return
    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(10, 3, 16, 16), dtype=np.uint8))
    draws = torch.from_numpy(found.draw(10, (16, 16), stream(2)))
    whole = found.apply(x, draws, (16, 16))
    assert whole.dtype == x.dtype and whole.shape == x.shape and not torch.equal(whole, x)
    for k in (0, 3, 9):
        assert torch.equal(found.apply(x[k : k + 1], draws[k : k + 1], (16, 16))[0], whole[k])


@pytest.mark.parametrize("size", [(64, 64), (40, 96)])
def test_resized_crops_are_drawn_as_torchvision_draws_them(size: tuple[int, int]) -> None:
    """Kolmogorov-Smirnov tests of areas, ratios and places of 5,000 crops; a wide image's ratios are limited too."""
    from torchvision.transforms import RandomResizedCrop

    draws = resized_crop_flip().draw(5000, size, stream(0, "augment"))
    torch.manual_seed(0)
    image = torch.empty(3, *size)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(5000)])
    assert (draws[:, :2] >= 0).all() and (draws[:, :2] + draws[:, 2:4] <= size).all()
    measures = (lambda d: d[:, 2] * d[:, 3], lambda d: d[:, 3] / d[:, 2], lambda d: d[:, 0], lambda d: d[:, 1])
    for measure in measures:
        assert ks_2samp(measure(draws), measure(theirs)).pvalue > 1e-3
    assert abs(draws[:, 4].mean() - 0.5) < 0.03


def test_where_no_crop_fits_the_middle_is_taken() -> None:
    """A strip of 4 x 64 pixels holds no tenth of ratio 4 / 3 or less but by chance; torchvision's rule by hand."""
    draws = resized_crop_flip(smallest=0.9).draw(50, (4, 64), stream(3))
    assert (draws[:, :4] == [0, 29, 4, 5]).all()
    tall = resized_crop_flip(smallest=0.9).draw(50, (64, 4), stream(3))
    assert (tall[:, :4] == [29, 0, 5, 4]).all()


@pytest.mark.parametrize("size", [(32, 32), (16, 24)])
def test_each_resized_crop_is_what_torchvision_makes_of_the_same_draw(size: tuple[int, int]) -> None:
    """Up to the rounding of its 8-bit arithmetic, larger and smaller parts than the result."""
    from torchvision.transforms import functional

    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(60, 3, 64, 48), dtype=np.uint8))
    crop = resized_crop_flip()
    draws = torch.from_numpy(crop.draw(60, (64, 48), stream(1)))
    ours = crop.apply(x, draws, size)
    assert ours.dtype == torch.uint8 and ours.shape == (60, 3, *size) and len(set(draws[:, 4].tolist())) == 2
    for image, (top, left, height, width, flip), mine in zip(x, draws.tolist(), ours, strict=True):
        theirs = functional.resized_crop(image.float(), top, left, height, width, list(size), antialias=True)
        theirs = functional.hflip(theirs) if flip else theirs
        assert (mine.float() - theirs).abs().max() < 0.51
