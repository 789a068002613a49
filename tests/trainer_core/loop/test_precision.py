"""Precision: what the device gains from, and a scaler that says when it left a step out."""

import json

import pytest
import torch
from torch import nn

from schemas.training import TrainingConfig
from trainer_core.loop.precision import Precision, build_precision

CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build(**options: object) -> Precision:
    return build_precision(TrainingConfig.model_validate(options), CPU)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_gradients_are_those_of_the_scaled_loss_and_add_up(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(5, 3).to(kind), torch.randn(7, 5, dtype=kind)
    precision = build(precision="fp32")
    found = []
    for backward in (lambda loss: precision.backward(loss, 1 / 7), lambda loss: (loss * (1 / 7)).backward()):
        model.zero_grad()
        for _ in range(2):
            backward(model(inputs).square().sum())
        assert model.weight.grad is not None
        found.append(model.weight.grad.clone())
    assert found[0].equal(found[1])


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_each_format_trains_a_convolution_on_a_cpu(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
    inputs, targets = torch.randn(16, 1, 8, 8), torch.randn(16, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    precision = build(precision=name)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        with precision.autocast():
            output = model(inputs)
        assert output.dtype == DTYPES[name]
        loss = nn.functional.mse_loss(output.float(), targets)
        precision.backward(loss)
        precision.unscale(optimizer)
        precision.step(optimizer)
        assert precision.scaled or not precision.skipped()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert (precision.name, precision.reason, precision.scaled) == (name, "asked for", name == "fp16")


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padded_sequences_are_evaluated_in_each_format_on_a_cpu(name: str) -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    inputs, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    with torch.no_grad():
        wanted = model(inputs, src_key_padding_mask=padding)
        with build(precision=name).autocast():
            output = model(inputs, src_key_padding_mask=padding)
    assert torch.allclose(output.float()[~padding], wanted[~padding], atol=0.1)
    assert torch.backends.mha.get_fastpath_enabled()


def test_null_form_is_fp32() -> None:
    precision = build()
    assert (precision.name, precision.reason) == ("fp32", "mixedPrecision is off")
    assert precision.state() == {}
    assert build(mixedPrecision=True, precision="fp32").name == "fp32"


def test_auto_takes_bf16_only_where_the_cpu_has_it() -> None:
    capabilities = torch.cpu.get_capabilities()
    has_it = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    for precision in (build(mixedPrecision=True), build(precision="auto")):
        assert precision.name == ("bf16" if has_it else "fp32")
        assert "bf16" in precision.reason


def overflow(precision: Precision, weight: nn.Parameter, optimizer: torch.optim.Optimizer, gradient: float) -> None:
    optimizer.zero_grad()
    precision.backward((weight * gradient).sum())
    precision.unscale(optimizer)
    precision.step(optimizer)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_with_an_infinite_gradient_is_left_out_and_said(fused: bool) -> None:
    precision = build(precision="fp16")
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5, fused=fused)
    overflow(precision, weight, optimizer, 1e38)
    assert precision.skipped()
    assert weight.item() == 1.0
    overflow(precision, weight, optimizer, 1.0)
    assert not precision.skipped()
    assert weight.item() == 0.5


def test_the_scale_goes_on_from_a_state_that_json_can_hold() -> None:
    precision = build(precision="fp16")
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    overflow(precision, weight, optimizer, 1e38)
    state = json.loads(json.dumps(precision.state()))
    restored = build(precision="fp16")
    restored.restore(state)
    assert restored.state() == precision.state()
    overflow(restored, weight, optimizer, 1.0)
    assert not restored.skipped()
    restored.restore({})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_on_a_gpu_is_what_the_gpu_computes() -> None:
    device = torch.device("cuda")
    precision = build_precision(TrainingConfig.model_validate({"mixedPrecision": True}), device)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    assert precision.name == ("bf16" if native else "fp16")
    with precision.autocast():
        assert nn.Linear(4, 4).to(device)(torch.ones(2, 4, device=device)).dtype == DTYPES[precision.name]
