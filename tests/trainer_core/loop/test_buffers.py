"""Buffers that are put back: their values and shapes, in the same tensors, however they were changed."""

import pytest
import torch
from torch import Tensor, nn

from trainer_core.loop.buffers import KeptBuffers, keeping_buffers


class Model(nn.Module):
    """Buffers of two types, one that has a gradient, one that no element may be written to, statistics, and what cannot be
    kept."""

    plain: Tensor
    learnt: Tensor
    whole: Tensor
    spread: Tensor
    sparse: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.lazy = nn.BatchNorm1d(2), nn.LazyBatchNorm1d()
        self.register_buffer("plain", torch.ones(2))
        self.register_buffer("learnt", torch.ones(2, requires_grad=True))
        self.register_buffer("whole", torch.ones(3, dtype=torch.int64))
        self.register_buffer("spread", torch.ones(1).expand(4))
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        self.register_buffer("none", None)


def values(model: Model) -> list[list[float]]:
    """Of what is kept."""
    kept = (
        model.plain,
        model.learnt,
        model.whole,
        model.spread,
        model.norm.running_mean,
        model.norm.num_batches_tracked,
    )
    return [buffer.flatten().tolist() for buffer in kept if buffer is not None]


def change(model: Model, number: float) -> None:
    """In place. Batch normalisation writes without torch's count of writes."""
    model.plain.fill_(number)
    model.learnt.detach().fill_(number)
    model.whole.fill_(int(number))
    model.norm.train()(torch.full((3, 2), number))


def test_values_are_put_back_into_the_same_tensors():
    model = Model()
    kept, before, tensors = KeptBuffers(model), values(model), list(model.buffers())
    kept.put_back()
    for number in (5.0, 6.0):
        kept.take()
        change(model, number)
        assert values(model) != before
        kept.put_back()
        assert values(model) == before
    assert all(one is other for one, other in zip(model.buffers(), tensors, strict=True))
    assert [name for name, buffer in model.named_buffers() if buffer.requires_grad] == ["learnt"]


def test_the_latest_values_are_kept():
    model = Model()
    kept = KeptBuffers(model)
    kept.take()
    change(model, 5.0)
    latest = values(model)
    kept.take()
    change(model, 6.0)
    kept.put_back()
    assert values(model) == latest
    # And again, after a look at tensors that nobody has written to since.
    kept.take()
    change(model, 7.0)
    kept.put_back()
    assert values(model) == latest


@pytest.mark.parametrize("before", ["nothing", "written", "put back"])
def test_only_what_may_have_been_written_is_copied_again(before):
    """Seen by a write that torch does not count, and that is not kept therefore."""
    model = Model()
    kept = KeptBuffers(model)
    kept.take()
    if before != "nothing":
        model.plain.fill_(5.0)
    if before == "put back":
        kept.put_back()
    kept.take()
    latest = model.plain.tolist()
    model.plain.data.fill_(9.0)
    kept.take()
    kept.put_back()
    assert model.plain.tolist() == latest


def test_another_tensor_in_a_buffers_place_is_known():
    model = Model()
    kept = KeptBuffers(model)
    kept.take()
    model.plain = torch.full((2,), 3.0)
    kept.take()
    model.plain = torch.full((2,), 4.0)
    kept.put_back()
    assert model.plain.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("shape", [(5,), (2, 2)])
def test_a_shape_is_put_back(shape):
    model = Model()
    # 9.0 is no shape: the second call of the two fails.
    with pytest.raises(TypeError), keeping_buffers(model):
        model.plain.resize_(shape).fill_(7.0).resize_(9.0)
    assert model.plain.tolist() == [1.0, 1.0]
    kept = KeptBuffers(model)
    kept.take()
    model.plain.resize_(shape).fill_(7.0)
    kept.take()
    model.plain.fill_(8.0)
    kept.put_back()
    assert torch.equal(model.plain, torch.full(shape, 7.0))


def test_what_has_no_shape_yet_keeps_what_it_gets():
    model = Model()
    with keeping_buffers(model):
        model.lazy(torch.full((3, 2), 4.0))
    assert model.lazy.running_mean is not None
    assert model.lazy.running_mean.tolist() == pytest.approx([0.4, 0.4])
