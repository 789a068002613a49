"""A text classifier: embedding, bidirectional LSTM, one linear layer."""

import torch
from torch import nn


class TextClassifier(nn.Module):
    """Logits [N, num_classes] from token ids [N, length]; id 0 is padding."""

    def __init__(self, vocab_size: int = 5000, embed_dim: int = 128, num_classes: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.lstm = nn.LSTM(embed_dim, 64, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(128, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The last states of both directions go into the linear layer."""
        _, (hidden, _) = self.lstm(self.embedding(tokens))
        return self.fc(self.dropout(torch.cat((hidden[-2], hidden[-1]), dim=1)))
