"""A perceptron with two hidden layers for rows of numbers."""

import torch
from torch import nn


class Perceptron(nn.Module):
    """Logits [N, num_classes] from rows [N, num_features]."""

    def __init__(self, num_features: int, num_classes: int, hidden: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """One row of logits per row of numbers."""
        return self.layers(rows)
