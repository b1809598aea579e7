"""Inits: their distributions, by the formulas of their papers, for every network."""

from math import prod

import pytest
import torch

from sddcli.core.inits import INITS, fresh
from sddcli.core.models import MODELS, architecture
from sddcli.core.types import Model

FEATURES, CLASSES = (3, 32, 32), 10
WORDS = ("kaiming", "kaiming:bn=uniform:bias=uniform", "glorot")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("init", WORDS)
def test_distributions(name: str, init: str) -> None:
    model = architecture(name, FEATURES, CLASSES)
    weights = fresh(model, init, 0)
    assert {key: tuple(w.shape) for key, w in weights.items()} == {**model.shapes, **model.statistics}
    for key, w in weights.items():
        layer = model.shapes.get(key.removesuffix("bias") + "weight", ())
        if w.dim() > 1:
            fans = prod(w.shape[1:]), w.shape[0] * prod(w.shape[2:])
            deviation = (2 / (sum(fans) if init == "glorot" else fans[0])) ** 0.5
            assert abs(w.std() / deviation - 1) < 6 / (2 * w.numel()) ** 0.5, key
            assert abs(w.mean()) < 6 * deviation / w.numel() ** 0.5
        elif key.endswith("running_mean"):
            assert not w.any()
        elif key.endswith("running_var"):
            assert (w == 1).all()
        elif key.endswith("bias") and len(layer) > 1 and "uniform" in init:
            bound = prod(layer[1:]) ** -0.5
            assert w.abs().max() < bound and (len(w) < 50 or w.std() > 0.4 * bound)
        elif key.endswith("bias"):
            assert not w.any()
        else:  # BatchNorm's scale
            assert (0 < w.min() < 0.3 < 0.7 < w.max() < 1) if "uniform" in init else (w == 1).all()


@pytest.mark.parametrize("init", INITS)
def test_fresh_weights_depend_on_seed_and_name_only(init: str) -> None:
    model = architecture("convnet:width=2", FEATURES, CLASSES)
    again, other = fresh(model, init, 0), fresh(model, init, 1)
    for key, w in fresh(model, init, 0).items():
        assert torch.equal(w, again[key])
        assert w.dim() == 1 or not torch.equal(w, other[key])
    fewer = Model({key: model.shapes[key] for key in ("output.weight",)}, (), model.forward)
    assert torch.equal(fresh(fewer, init, 0)["output.weight"], again["output.weight"])


def test_words() -> None:
    model = architecture("lenet-4", FEATURES, CLASSES)
    with pytest.raises(ValueError, match="unknown start of init kaiming 'unifrom'; did you mean 'uniform'"):
        fresh(model, "kaiming:bn=unifrom", 0)
    with pytest.raises(ValueError, match="unknown init 'kaming'; did you mean 'kaiming'"):
        fresh(model, "kaming", 0)
