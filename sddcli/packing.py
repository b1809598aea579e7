"""Packing: one model's tensors as bytes, and back. Safetensors; kept weights only, masks and records as bits."""

import csv
import io
import json
import zlib
from math import prod
from typing import TYPE_CHECKING, Any

from sddcli.core.words import UsageError

MOST_RECORDED = 2**31
"""Bytes of what is recorded of a training: 100,000 examples at 170,000 evaluations."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from sddcli.core.types import Tensors


def pack(weights: "Tensors", masks: "Tensors") -> bytes:
    """One model (*shape) as safetensors: masked tensors as their kept values and masks, a bit each; others whole."""
    import numpy as np
    from safetensors.numpy import save

    arrays = {}
    for name, weight in weights.items():
        values = weight.detach().cpu().numpy()
        if name in masks:
            mask = masks[name].cpu().numpy()
            arrays[f"{name}.mask"] = np.packbits(mask)
            values = values[mask]
        arrays[name] = np.ascontiguousarray(values)
    # Sorted, as safetensors sorts its tensors: equal weights are equal bytes, whatever order they came in.
    shapes = {name: list(weights[name].shape) for name in sorted(masks)}
    return save(arrays, metadata={"shapes": json.dumps(shapes)})


def pack_masks(masks: "Tensors", words: "Mapping[str, str] | None" = None) -> bytes:
    """The masks of one model, (*shape) bool, as safetensors: a bit for each weight; words: what else the file says."""
    import numpy as np
    from safetensors.numpy import save

    arrays: dict[str, Any] = {f"{name}.mask": np.packbits(mask.cpu().numpy()) for name, mask in masks.items()}
    shapes = json.dumps({name: list(masks[name].shape) for name in sorted(masks)})
    return save(arrays, metadata={"shapes": shapes, **(words or {})})


def unpack(content: bytes) -> tuple["Tensors", "Tensors"]:
    """The weights, pruned ones 0, and masks, both (*shape), that `pack` packed; the file does not keep their order."""
    import numpy as np
    import torch
    from safetensors.numpy import load

    arrays, masks, weights = load(content), unpack_masks(content), {}
    for name, values in arrays.items():
        if name in masks:
            full = np.zeros(tuple(masks[name].shape), values.dtype)
            full[masks[name].numpy()] = values
            weights[name] = torch.from_numpy(full)
        elif name.removesuffix(".mask") not in masks:
            weights[name] = torch.from_numpy(values.copy())
    return weights, masks


def unpack_masks(content: bytes) -> "Tensors":
    """The masks (*shape) that `pack` or `pack_masks` packed. Raises UsageError where it is none of them."""
    import numpy as np
    import torch
    from safetensors.numpy import load

    arrays = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    masks = {}
    for name, shape in json.loads(header["__metadata__"]["shapes"]).items():
        packed, size = arrays[f"{name}.mask"], prod(shape)
        if (
            packed.ndim != 1
            or not all(isinstance(side, int) and side >= 0 for side in shape)
            or len(packed) != -(-size // 8)
        ):
            raise UsageError(f"the mask of {name} has not the bits of its shape")  # before memory is asked for
        bits = np.unpackbits(packed, count=size)
        masks[name] = torch.from_numpy(bits.astype(bool).reshape(shape))
    return masks


def pack_fitted(bits: "Tensor") -> bytes:
    """(E, ceil(N / 8)) uint8 as safetensors: the bits that change from row to row, compressed; few do."""
    import numpy as np
    from safetensors.numpy import save

    rows = bits.cpu().numpy()
    changes = rows ^ np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    packed = np.frombuffer(zlib.compress(changes.tobytes(), 9), np.uint8)
    return save({"changes": packed}, metadata={"shape": json.dumps(list(rows.shape))})


def unpack_fitted(content: bytes) -> "Tensor":
    """The (E, ceil(N / 8)) uint8 that `pack_fitted` packed. Raises UsageError where it is none."""
    import numpy as np
    import torch
    from safetensors.numpy import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    shape = json.loads(header["__metadata__"]["shape"])
    if not all(isinstance(side, int) and side >= 0 for side in shape) or (size := prod(shape)) > MOST_RECORDED:
        raise UsageError(f"a record of shape {shape}")
    unpacked = zlib.decompressobj().decompress(load(content)["changes"].tobytes(), size + 1)  # no more than it says
    rows = np.frombuffer(unpacked, np.uint8).reshape(shape)
    return torch.from_numpy(np.bitwise_xor.accumulate(rows, axis=0))


def rows_to_csv(rows: "Sequence[Mapping[str, Any]]") -> bytes:
    """Rows with the same keys as CSV; None is an empty cell."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()
