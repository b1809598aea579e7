"""Memory: how the numbers of images lie in it, where that decides how fast a network computes."""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """The same images, (B, channels, height, width), with their channels last in memory, where that is fast and safe.

    A network's convolutions then compute so from the first layer to the last, which on a CPU takes less time. Anything
    that is no batch of images, on another device, or in a process with several threads is returned as it is: with two
    threads torch (2.11, 2.15) writes to memory that is not its own when it differentiates such convolutions.
    """
    if x.dim() != 4 or x.device.type != "cpu" or torch.get_num_threads() > 1:
        return x
    # With one channel, torch's own conversion leaves strides as they are, and they say nothing of channels.
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
