"""Runs in this process whose settings are the process's own."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _settings_as_before(monkeypatch):
    """What a deterministic run sets in its process is taken back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
