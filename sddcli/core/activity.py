"""Activity: what the ReLUs of a network let through, layer by layer, whatever the network is."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class Watch(TorchFunctionMode):
    """Calls `hear` with the layer and the outputs, (B, channels, ...), of each ReLU of one network (M = 1).

    names: the memory address of a layer's weights -> its name, so that no network has to say where its ReLUs are. A
    ReLU belongs to the first layer since the ReLU before it, so that a shortcut and the output have none.
    """

    def __init__(self, names: Mapping[int, str], hear: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.names, self.hear, self.layer, self.number = names, hear, "", 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Lets every operation happen, and looks at those that apply weights or are ReLUs."""
        result = func(*args, **(kwargs or {}))
        for argument in args[1:]:  # an operation whose first argument is a weight only takes a view of it
            if isinstance(argument, Tensor) and not self.layer:
                self.layer = self.names.get(argument.data_ptr(), "")
        if func in RELUS:
            self.number += 1
            with torch._C.DisableTorchFunction():
                self.hear(self.layer or f"relu{self.number}", result[0] if result.dim() == 3 else result)
            self.layer = ""
        return result
