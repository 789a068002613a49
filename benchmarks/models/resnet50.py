"""ResNet-50 (He et al. 2016), the stride in the 3 x 3 convolution: 25.6 million parameters."""

import torch
from torch import nn


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, and a way around them."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels = 4 * width
        self.body = nn.Sequential(
            *_convolution(channels_in, width, 1, 1),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, channels, 1, 1),
        )
        plain = stride == 1 and channels_in == channels
        self.way_around = nn.Identity() if plain else nn.Sequential(*_convolution(channels_in, channels, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels_in, H, W] -> [N, 4 width, H / stride, W / stride]."""
        return torch.relu(self.body(x) + self.way_around(x))


def _convolution(channels_in: int, channels_out: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out)]


def build_model(num_classes: int = 1000, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> nn.Module:
    """Logits [N, num_classes] from images [N, 3, H, W]."""
    blocks: list[nn.Module] = []
    channels = width
    for stage, depth in enumerate(depths):
        for number in range(depth):
            blocks.append(Bottleneck(channels, width << stage, 2 if stage and not number else 1))
            channels = 4 * (width << stage)
    stem = [*_convolution(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
