"""What is kept comes back as it was: keys, numbers, and tensors that share memory."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.checkpoints.host_copy import HostCopy
from trainer_core.checkpoints.snapshot import PackedSnapshot, Snapshot, check_can_be_kept, load_snapshot
from trainer_core.checkpoints.tensor_file import read_tensors, write_tensors
from trainer_core.failure import Failure


def kept(folder: Path, state: dict[str, Any], model: dict[str, Tensor] | None = None) -> Snapshot:
    """What is read of a checkpoint with this state."""
    written = Snapshot(model or {}, {}, state, []).packed()
    saved = CheckpointFolder(folder, 1).save(written, kind="step", epoch=1, step=1, is_best=False)
    return load_snapshot(Path(saved.path))


def test_keys_of_all_kinds_come_back(tmp_path: Path) -> None:
    state = {
        "kinds": {3: "int", 2.5: "float", -math.inf: "inf", None: "none", ("a", (0, 1)): "tuple"},
        "$tensor": {"$map": [1], "$tuple": 2, "$number": "nan"},
        "mixed": {"a": 1, 0: 2},
    }
    assert repr(kept(tmp_path, state).state) == repr(state)


def test_what_is_no_key_is_refused_before_anything_is_trained() -> None:
    for key in (torch.ones(1), b"bytes", frozenset([1])):
        with pytest.raises(Failure, match="cannot be kept in a checkpoint"):
            check_can_be_kept({"extra": {key: 1}})


def test_numbers_that_are_not_finite_come_back_wherever_they_are(tmp_path: Path) -> None:
    state = {"floats": [0.5, math.nan], "mixed": (1, math.inf), "whole": [0.5, 1.5], "flags": [True, 1], "none": []}
    assert repr(kept(tmp_path, state).state) == repr(state)


def test_tensors_that_lie_at_one_address_and_are_not_the_same_come_back_apart(tmp_path: Path) -> None:
    table, numbers = torch.arange(16.0).reshape(4, 4), torch.tensor([1 + 2j, 3 - 4j])
    state = {
        "table": table,
        "turned": table.t(),
        "half": table[:2],
        "bits": table.view(torch.int32),
        "numbers": numbers,
        "conjugate": numbers.conj(),
    }
    read = kept(tmp_path, state).state
    for name, tensor in state.items():
        assert (read[name].dtype, read[name].tolist()) == (tensor.dtype, tensor.tolist()), name


def test_a_tensor_by_two_names_is_one_whatever_its_strides(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3).t()
    read = kept(tmp_path, {"one": table, "other": [table]}).state
    assert read["one"] is read["other"][0]
    assert read["one"].stride() == table.stride()


@pytest.mark.parametrize(
    "part", [torch.Tensor.conj, lambda numbers: numbers.conj().imag], ids=["conjugate", "negative"]
)
def test_what_is_computed_when_it_is_read_is_kept_as_what_it_is(tmp_path: Path, part: Any) -> None:
    tensor = part(torch.tensor([1 + 2j, 3 - 4j]))
    assert kept(tmp_path, {}, {"only": tensor}).model["only"].tolist() == tensor.tolist()


def test_names_with_slashes_take_no_other_names_place(tmp_path: Path) -> None:
    state = {"a": {"b": torch.tensor(1)}, "a/b'": torch.tensor(2), "a/b": torch.tensor(3)}
    assert repr(kept(tmp_path, state).state) == repr(state)


def test_every_tensor_is_aligned_to_its_size(tmp_path: Path) -> None:
    """As others who read the file expect it."""
    path = tmp_path / "x.safetensors"
    for name in ("a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"):
        tensors = {name: torch.ones(3, dtype=torch.bool), "wide": torch.ones(1, dtype=torch.float64)}
        write_tensors(path, tensors)
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        assert length % 8 == 0
        assert json.loads(content[8 : 8 + length])["wide"]["data_offsets"] == [0, 8]
        assert read_tensors(path)["wide"].item() == 1


def test_a_type_without_a_name_is_refused_at_once_and_when_it_is_written(tmp_path: Path) -> None:
    model = {"weight": torch.zeros(1, dtype=torch.complex128)}
    with pytest.raises(Failure, match="complex128"):
        check_can_be_kept(model)
    with pytest.raises(Failure, match="complex128"):
        write_tensors(tmp_path / "x.safetensors", model)


def test_a_tensor_that_has_come_to_be_of_another_type_is_copied_as_that() -> None:
    copy = HostCopy()
    for kind in (torch.float32, torch.float64):
        tensor = torch.tensor([1 / 3], dtype=kind)
        taken = copy.take(PackedSnapshot({}, {"model": {"weight": tensor}}, {})).tensors["model"]["weight"]
        assert taken.dtype == kind
        assert taken.equal(tensor)
