"""A transformer of the size of GPT-2 small: 124 million parameters."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Attention to what came before, then two linear layers, each normalised first and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_linear = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, width] -> the same."""
        samples, length, width = x.shape
        parts = self.qkv(self.norm_attention(x)).view(samples, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(samples, length, width))
        return x + self.down(functional.gelu(self.up(self.norm_linear(x)), approximate="tanh"))


class GPT(nn.Module):
    """Logits [N, T, vocabulary] from token ids [N, T]; the output layer shares the embedding's weights."""

    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[N, T] -> [N, T, vocabulary]."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def build_model(
    vocabulary: int = 50304, length: int = 1024, layers: int = 12, heads: int = 12, width: int = 768
) -> nn.Module:
    """GPT-2 small, its vocabulary rounded up to a multiple of 64."""
    return GPT(vocabulary, length, layers, heads, width)
