"""A small residual network for grey images of 8 x 8 pixels."""

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them; ``stride`` 2 halves height and width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.way_around = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels_in, H, W] -> [N, channels_out, H / stride, W / stride]."""
        return torch.relu(self.body(x) + self.way_around(x))


class ResidualNetwork(nn.Module):
    """Logits [N, num_classes] from images [N, 1, 8, 8]."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            ResidualBlock(1, width, 1), ResidualBlock(width, 2 * width, 2), ResidualBlock(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The mean over the remaining 2 x 2 places goes into the head."""
        return self.head(self.blocks(images).mean(dim=(2, 3)))


def build_model(num_classes: int = 10, width: int = 24) -> nn.Module:
    """The network; ``width`` is the number of channels of its first block."""
    return ResidualNetwork(num_classes, width)
