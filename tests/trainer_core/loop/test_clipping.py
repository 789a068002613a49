"""Clipping: torch's own result, and always the norm before."""

import pytest
import torch
from torch import nn

from schemas.training import TrainingConfig
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.gradients import Gradients


def parameters(*gradients: list[float]) -> list[nn.Parameter]:
    found = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient)))
        parameter.grad = torch.tensor(gradient)
        found.append(parameter)
    return [*found, nn.Parameter(torch.zeros(2))]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, [0.6, 0.8]),
        ({"gradientClipping": 2.5}, [1.5, 2.0]),
        ({"gradientClipping": 4.9}, [2.94, 3.92]),
        ({"gradientClipping": 0.1}, [0.06, 0.08]),
        ({"gradientClipping": 5.001}, [3.0, 4.0]),
        ({"gradientClipping": 10}, [3.0, 4.0]),
        ({"gradientClipping": 0}, [3.0, 4.0]),
        ({"clipBy": "value"}, [1.0, 1.0]),
        ({"clipBy": "value", "gradientClipping": 3.5}, [3.0, 3.5]),
    ],
)
def test_gradients_are_bounded_and_the_norm_before_returned(document: dict[str, object], expected: list[float]) -> None:
    bounded = parameters([3.0], [4.0])
    norm = build_clipping(TrainingConfig.model_validate(document)).clip(Gradients(bounded))
    assert norm.item() == 5.0
    found = [parameter.grad.item() for parameter in bounded if parameter.grad is not None]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("document", [{}, {"gradientClipping": 0}, {"clipBy": "value"}])
def test_without_gradients_the_norm_is_zero(document: dict[str, object]) -> None:
    clipping = build_clipping(TrainingConfig.model_validate(document))
    assert clipping.clip(Gradients(parameters())).item() == 0.0


def test_parameters_may_come_from_a_generator() -> None:
    bounded = parameters([3.0, 4.0])
    assert build_clipping(TrainingConfig()).clip(Gradients(parameter for parameter in bounded)).item() == 5.0
    assert bounded[0].grad is not None
    assert bounded[0].grad.norm().item() == pytest.approx(1.0, rel=1e-5)


def test_a_gradient_that_is_not_finite_shows_in_the_norm() -> None:
    bounded = parameters([1.0, float("nan")])
    assert build_clipping(TrainingConfig()).clip(Gradients(bounded)).isnan()


@pytest.mark.parametrize(
    "types", [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float32, torch.float64)]
)
def test_norm_and_gradients_are_torchs_own(types: tuple[torch.dtype, ...]) -> None:
    ours, theirs = [], []
    for number, kind in enumerate(types):
        gradient = torch.randn(7, generator=torch.Generator().manual_seed(number), dtype=torch.float64).to(kind)
        for found in (ours, theirs):
            found.append(nn.Parameter(torch.zeros(7, dtype=kind)))
            found[-1].grad = gradient.clone()
    norm = build_clipping(TrainingConfig()).clip(Gradients(ours))
    assert norm == torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert one.grad.equal(other.grad)
