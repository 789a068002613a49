"""Checkpoints: bit for bit what was saved, or a failure that names the file."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.dummy import DummyClassifier
from torch import Tensor, nn

from schemas.training import TrainingConfig
from tests.tiers import rounds
from trainer_core.checkpoints.checkpoint_folder import (
    CheckpointFolder,
    complete_checkpoints,
    find_checkpoint,
    newest,
    unreadable_checkpoints,
)
from trainer_core.checkpoints.manifest import FORMAT, Kind, read_manifest, write_manifest
from trainer_core.checkpoints.resumption import load_newest
from trainer_core.checkpoints.snapshot import Snapshot, load_snapshot
from trainer_core.estimators.checkpoint import EstimatorParts
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.optimizers import build_optimizer

CPU = torch.device("cpu")
FILES = {"manifest.json", "model.safetensors", "training.json", "training.safetensors"}


def trained(seed: int = 0, optimizer: str = "AdamW") -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model.to(memory_format=torch.channels_last)
    over = build_optimizer(model, TrainingConfig.model_validate({"optimizer": optimizer}), 0.1, CPU)
    step(model, over)
    return model, over


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3, 3, 3)).square().sum().backward()
    optimizer.step()


def snapshot(seed: int = 0) -> Snapshot:
    model, optimizer = trained(seed)
    state = {"position": {"step": 7}, "worst": float("-inf"), "figures": {"loss": torch.tensor([1.5, 2.0])}}
    return Snapshot(model.state_dict(), optimizer.state_dict(), state, [randomness.capture(CPU)], {"model": "Net"})


def save(folder: CheckpointFolder, epoch: int, is_best: bool = False, seed: int = 0) -> Path:
    saved = folder.save(snapshot(seed).packed(), kind="epoch", epoch=epoch, step=10 * epoch, is_best=is_best)
    return Path(saved.path)


def assert_same(one: Any, other: Any) -> None:
    """Equal to the bit, types, strides and tuples included."""
    assert type(one) is type(other) or isinstance(one, dict)
    if isinstance(one, Tensor):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        assert torch.equal(bits(one), bits(other))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def failure_of(path: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        load_snapshot(path)
    return caught.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to damage copies of."""
    return save(CheckpointFolder(tmp_path_factory.mktemp("whole"), 1), 1)


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    written = snapshot()
    saved = CheckpointFolder(tmp_path, 2).save(written.packed(), kind="epoch", epoch=3, step=30, is_best=True)
    read = load_snapshot(Path(saved.path))
    for part in ("model", "optimizer", "state", "random"):
        assert_same(getattr(written, part), getattr(read, part))
    assert read.about["model"] == "Net"
    assert read.path == tmp_path / "epoch-0003"
    assert {path.name for path in read.path.iterdir()} == FILES
    assert saved.bytes == sum(path.stat().st_size for path in read.path.iterdir() if path.name != "manifest.json")


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "Adafactor", "Rprop", "ASGD", "NAdam"])
def test_a_resumed_run_takes_the_same_steps(tmp_path: Path, optimizer: str) -> None:
    model, over = trained(1, optimizer)
    written = Snapshot(model.state_dict(), over.state_dict(), {}, [randomness.capture(CPU)])
    path = Path(CheckpointFolder(tmp_path, 1).save(written.packed(), kind="step", epoch=1, step=1, is_best=False).path)
    for _ in range(3):
        step(model, over)
    resumed, again = trained(2, optimizer)
    read = load_snapshot(path)
    resumed.load_state_dict(read.model)
    again.load_state_dict(read.optimizer)
    randomness.restore(read.random[0], CPU)
    for _ in range(3):
        step(resumed, again)
    assert_same(model.state_dict(), resumed.state_dict())
    assert_same(over.state_dict(), again.state_dict())


def test_every_type_and_layout_of_tensors_survives(tmp_path: Path) -> None:
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
    table = torch.arange(24.0).reshape(2, 3, 4)
    model = {f"type.{index}": torch.tensor([0, 1, 3]).to(kind) for index, kind in enumerate(types)}
    model |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "nan": torch.tensor([float("nan"), -0.0])}
    model |= {"transposed": table.transpose(0, 2), "tied": table, "tied.too": table, "a/b": torch.ones(1)}
    written = Snapshot(model, {"state": {}, "param_groups": []}, {"a": {"b": (1, None, [True, float("nan")])}}, [])
    path = Path(CheckpointFolder(tmp_path, 1).save(written.packed(), kind="final", epoch=1, step=1, is_best=False).path)
    read = load_snapshot(path)
    assert_same(model, read.model)
    assert read.model["tied"] is read.model["tied.too"]
    assert repr(read.state) == repr(written.state)
    assert read.optimizer == written.optimizer


def test_small_tensors_are_written_together_and_read_apart(tmp_path: Path) -> None:
    kinds = [torch.float32, torch.float16, torch.bool, torch.uint16, torch.uint64, torch.float8_e4m3fn, torch.complex64]
    model = {f"{kind}.{length}": torch.arange(length).to(kind) for kind in kinds for length in (1, 2, 3, 0)}
    model |= {f"large.{number}": torch.full((1_000_000,), float(number)) for number in range(3)}
    model |= {f"conjugate.{number}": torch.tensor([1 + 2j, number]).conj() for number in range(2)}
    written = Snapshot(model, {}, {}, [])
    path = Path(CheckpointFolder(tmp_path, 1).save(written.packed(), kind="final", epoch=1, step=1, is_best=False).path)
    for name, tensor in load_snapshot(path).model.items():
        assert (tensor.dtype, tensor.tolist()) == (model[name].dtype, model[name].tolist()), name


def test_a_view_with_gaps_keeps_its_values(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    written = Snapshot({"part": table[:, 1:3], "row": table[0].expand(3, 4)}, {}, {}, [])
    path = Path(CheckpointFolder(tmp_path, 1).save(written.packed(), kind="final", epoch=1, step=1, is_best=False).path)
    for name, tensor in load_snapshot(path).model.items():
        assert torch.equal(tensor, written.model[name])


def test_names_with_slashes_do_not_collide(tmp_path: Path) -> None:
    state = {"a": {"b": torch.tensor(1)}, "a/b": torch.tensor(2)}
    path = Path(
        CheckpointFolder(tmp_path, 1)
        .save(Snapshot({}, {}, state, []).packed(), kind="final", epoch=1, step=1, is_best=False)
        .path
    )
    assert_same(state, load_snapshot(path).state)


def test_others_can_read_the_tensors_and_nothing_is_pickled(whole: Path) -> None:
    assert set(load_file(whole / "model.safetensors")) == set(snapshot().model)
    names = json.loads((whole / "training.json").read_text())["optimizer"]["state"]
    assert set(names) == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}
    assert all(path.suffix in (".json", ".safetensors") for path in whole.iterdir())


def test_a_sparse_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="'links' cannot be kept"):
        CheckpointFolder(tmp_path, 1).save(
            Snapshot({"links": torch.eye(3).to_sparse()}, {}, {}, []).packed(),
            kind="final",
            epoch=1,
            step=1,
            is_best=False,
        )


def damage(chance: random.Random, path: Path, other: Path) -> str:
    """Make ``path`` another file than was written; what was done to it."""
    content = path.read_bytes()
    kind = chance.choice(["flipped", "cut", "missing", "swapped", "blank"])
    if kind == "flipped":
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
    elif kind == "cut":
        os.truncate(path, chance.randrange(len(content)))
    elif kind == "missing":
        path.unlink()
    elif kind == "swapped":
        shutil.copy(other, path)
    else:
        # What some file systems leave of a file after a loss of power.
        path.write_bytes(bytes(len(content)))
    return kind


@pytest.mark.torture
def test_damage_is_always_noticed_and_the_previous_one_used_and_named(
    tmp_path: Path, chance: random.Random, record_property: Callable[[str, object], None]
) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    previous, last = save(folder, 1, seed=1), save(folder, 2, seed=2)
    expected = load_snapshot(previous).model
    done = Counter[str]()
    while done.total() < rounds(200, 5000):
        name = chance.choice(sorted(FILES))
        path = last / name
        content, other = path.read_bytes(), previous / name
        same = content == other.read_bytes()
        kind = damage(chance, path, previous / "manifest.json" if same else other)
        if path.exists() and path.read_bytes() == content:
            continue
        read, [skipped] = load_newest(tmp_path, load_snapshot)
        assert (read.path, skipped.path) == (previous, last)
        # A manifest of another checkpoint is whole; what it says of the files is not so.
        assert str(last) in skipped.reason
        assert name in skipped.reason or (kind, name) == ("swapped", "manifest.json")
        assert all(torch.equal(tensor, read.model[key]) for key, tensor in expected.items())
        path.write_bytes(content)
        done[kind] += 1
    assert load_snapshot(last).path == last
    record_property("damaged", done.total())
    record_property("noticed", done.total())


def test_the_whole_manifest_counts(whole: Path) -> None:
    path = whole / "manifest.json"
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert failure_of(whole).error.code == "checkpoint_corrupt"
    path.write_bytes(content)
    load_snapshot(whole)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", ["cut", "missing", "swapped", "longer"])
def test_a_file_that_is_not_its_own_is_named(tmp_path: Path, whole: Path, name: str, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    path = copy / name
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "missing":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"\n")
    else:
        shutil.copy(copy / ("training.json" if name != "training.json" else "model.safetensors"), path)
    error = failure_of(copy).error
    assert error.code == "checkpoint_corrupt"
    assert name in error.message


def test_the_same_file_of_another_checkpoint_is_noticed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    one, other = save(folder, 1), save(folder, 2, seed=5)
    assert (one / "model.safetensors").stat().st_size == (other / "model.safetensors").stat().st_size
    shutil.copy(one / "model.safetensors", other / "model.safetensors")
    assert "model.safetensors" in str(failure_of(other))


def test_what_is_no_checkpoint_is_incompatible(tmp_path: Path) -> None:
    assert failure_of(tmp_path).error.code == "checkpoint_incompatible"
    (tmp_path / "model.pt").write_bytes(b"")
    assert failure_of(tmp_path / "model.pt").error.code == "checkpoint_incompatible"


def test_a_checkpoint_of_another_format_says_what_reads_it(tmp_path: Path) -> None:
    path = save(CheckpointFolder(tmp_path, 1), 1)
    write_manifest(path, read_manifest(path).model_copy(update={"format": FORMAT - 1, "sha256": ""}))
    error = failure_of(path).error
    assert error.code == "checkpoint_incompatible"
    assert f"has the format {FORMAT - 1}; this version reads {FORMAT}." in error.message
    assert "modelConfig.weights" in error.next_move


def test_a_checkpoint_of_an_estimator_is_of_another_engine(tmp_path: Path) -> None:
    parts = EstimatorParts(DummyClassifier(), {}, {})
    path = Path(CheckpointFolder(tmp_path, 1).save(parts, kind="epoch", epoch=1, step=1, is_best=True).path)
    error = failure_of(path).error
    assert error.code == "checkpoint_incompatible"
    assert "another engine" in error.message


def test_checkpoints_that_a_person_removed_meanwhile_are_not_missed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    for epoch in range(1, 4):
        save(folder, epoch, is_best=epoch == 1)
    for name in ("epoch-0001", "epoch-0002"):
        shutil.rmtree(tmp_path / name)
    for epoch in range(4, 6):
        save(folder, epoch)
    assert {path.name for path in tmp_path.glob("epoch-*")} == {"epoch-0004", "epoch-0005"}
    shutil.rmtree(tmp_path / "epoch-0005")
    save(folder, 6)
    assert [manifest.number for _, manifest in complete_checkpoints(tmp_path)] == [6, 4]


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    for epoch in range(1, 6):
        save(folder, epoch, is_best=epoch == 2)
    assert {path.name for path in tmp_path.glob("epoch-*")} == {"epoch-0002", "epoch-0004", "epoch-0005"}
    assert (tmp_path / "latest").read_text() == "epoch-0005\n"
    assert (tmp_path / "best").read_text() == "epoch-0002\n"
    assert newest(tmp_path) == tmp_path / "epoch-0005"
    save(folder, 6, is_best=True)
    save(folder, 7)
    assert {path.name for path in tmp_path.glob("epoch-*")} == {"epoch-0006", "epoch-0007"}


def test_the_newest_is_the_last_written_not_the_highest_number(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 3)
    save(folder, 1)
    save(folder, 3)
    save(folder, 2)
    assert newest(tmp_path) == tmp_path / "epoch-0002"


def test_a_folder_that_is_opened_again_goes_on_from_what_is_in_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    for epoch in (1, 2, 3):
        save(folder, epoch, is_best=epoch == 1)
    save(CheckpointFolder(tmp_path, 2), 4)
    found = [(path.name, manifest.number) for path, manifest in complete_checkpoints(tmp_path)]
    assert found == [("epoch-0004", 4), ("epoch-0003", 3), ("epoch-0001", 1)]


def test_an_epoch_done_again_takes_no_others_place(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    for epoch in (1, 2, 2, 2):
        save(folder, epoch)
    assert [path.name for path, _ in complete_checkpoints(tmp_path)] == ["epoch-0002", "epoch-0001"]


@pytest.mark.parametrize("kind", ["step", "final", "cancel"])
def test_what_is_saved_at_a_step_is_found_as_well(tmp_path: Path, kind: Kind) -> None:
    saved = CheckpointFolder(tmp_path, 1).save(snapshot().packed(), kind=kind, epoch=1, step=7, is_best=False)
    assert newest(tmp_path) == Path(saved.path) == tmp_path / "step-00000007"
    assert saved.sha256 == hashlib.sha256((tmp_path / "step-00000007" / "manifest.json").read_bytes()).hexdigest()


def test_only_whole_folders_under_their_own_names_are_checkpoints(tmp_path: Path) -> None:
    path = save(CheckpointFolder(tmp_path, 2), 1)
    for suffix in (".old", ".tmp"):
        shutil.copytree(path, path.with_name(path.name + suffix))
    (tmp_path / "epoch-notes").write_text("mine")
    assert [found for found, _ in complete_checkpoints(tmp_path)] == [path]
    assert unreadable_checkpoints(tmp_path) == []


def test_an_epoch_done_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    save(folder, 1, seed=1)
    path = save(folder, 1, seed=2)
    assert_same(load_snapshot(path).model, snapshot(2).model)
    assert {entry.name for entry in tmp_path.iterdir()} == {"epoch-0001", "latest"}


def test_what_a_crash_left_is_cleared_or_put_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    first, second = save(folder, 1), save(folder, 2)
    (tmp_path / "epoch-0003.tmp").mkdir()
    (tmp_path / "epoch-0003.tmp" / "training.json").write_text("{")
    (tmp_path / "latest.tmp").write_text("epo")
    first.rename(tmp_path / "epoch-0001.old")
    shutil.copytree(second, tmp_path / "epoch-0002.old")
    CheckpointFolder(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-0001", "epoch-0002", "latest"}
    load_snapshot(first)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk does to a writer, without one: writing past ``size`` bytes of a file raises OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 1000, 4000])
def test_a_disk_that_is_full_leaves_the_previous_checkpoint_whole(tmp_path: Path, size: int) -> None:
    folder = CheckpointFolder(tmp_path, 1)
    path = save(folder, 1)
    with pytest.raises(OSError, match="File too large"), files_of_at_most(size):
        save(folder, 1, seed=3)
    assert_same(load_snapshot(path).model, snapshot().model)
    assert {entry.name for entry in tmp_path.iterdir()} == {"epoch-0001", "latest"}
    save(folder, 2)


def test_a_process_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    written = snapshot()
    for round_number in range(6):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            folder = CheckpointFolder(tmp_path, 2)
            for epoch in range(1, 1000):
                os.write(writing, b".")
                folder.save(written.packed(), kind="epoch", epoch=epoch % 3, step=epoch, is_best=epoch % 4 == 0)
            os._exit(1)
        os.close(writing)
        while os.read(reading, 1) and len(list(tmp_path.glob("epoch-*"))) < 2:
            pass
        os.read(reading, 1 + round_number)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        os.close(reading)
        read, skipped = load_newest(tmp_path, load_snapshot)
        assert skipped == []
        assert_same(read.model, written.model)


def test_a_checkpoint_is_not_removed_before_its_successor_is_in_place(tmp_path: Path) -> None:
    path = save(CheckpointFolder(tmp_path, 1), 1)
    for number in range(4000):
        (path / f"extra-{number}").touch()
    # Made here: the child of a fork has lost torch's threads, and would wait for them for ever.
    written = snapshot(1)
    child = os.fork()
    if child == 0:
        CheckpointFolder(tmp_path, 1).save(written.packed(), kind="epoch", epoch=1, step=10, is_best=False)
        os._exit(0)
    # Killed when the old folder is half removed, or (the watcher may be late) a little after.
    while len(list(tmp_path.glob("epoch-0001*/extra-*"))) > 2000:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    CheckpointFolder(tmp_path, 1)
    read, skipped = load_newest(tmp_path, load_snapshot)
    assert skipped == []
    assert_same(read.model, written.model)


def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 4)
    good, cut, unreadable = save(folder, 1, seed=1), save(folder, 2, seed=2), save(folder, 3, seed=3)
    os.truncate(cut / "training.safetensors", 100)
    (unreadable / "manifest.json").write_text("{}")
    read, skipped = load_newest(tmp_path, load_snapshot)
    assert read.path == good
    assert [one.path for one in skipped] == [unreadable, cut]
    assert "training.safetensors" in skipped[1].reason
    os.truncate(good / "model.safetensors", 0)
    with pytest.raises(Failure, match=r"No checkpoint in .* is whole") as caught:
        load_newest(tmp_path, load_snapshot)
    assert caught.value.error.code == "checkpoint_corrupt"
    with pytest.raises(Failure, match="There is no checkpoint"):
        load_newest(tmp_path / "nowhere", load_snapshot)


def test_a_whole_checkpoint_that_does_not_fit_is_no_damage(tmp_path: Path) -> None:
    """An older one is not taken in its place."""
    folder, seen = CheckpointFolder(tmp_path, 2), []
    save(folder, 1)
    last = save(folder, 2)

    def load(path: Path) -> None:
        seen.append(path)
        raise Failure("checkpoint_incompatible", "It is of another model.")

    with pytest.raises(Failure, match="another model"):
        load_newest(tmp_path, load)
    assert seen == [last]


def test_a_manifest_of_another_kind_of_document_is_damaged(tmp_path: Path) -> None:
    path = save(CheckpointFolder(tmp_path, 1), 1)
    (path / "manifest.json").write_text("[]\n")
    assert failure_of(path).error.code == "checkpoint_corrupt"


def test_a_checkpoint_is_found_by_its_path_its_run_or_the_latest(tmp_path: Path) -> None:
    first = CheckpointFolder(tmp_path / "run-1", 2)
    path = save(first, 1)
    other = save(CheckpointFolder(tmp_path / "run-2", 2), 1)
    newest = save(first, 2)
    assert find_checkpoint(str(path), None) == path
    assert find_checkpoint(str(tmp_path / "run-2"), None) == other
    assert find_checkpoint("latest", tmp_path) == newest
    assert find_checkpoint(str(tmp_path / "run-1" / "latest"), None) == newest
    assert find_checkpoint("latest", tmp_path / "run-2") == other
    # By the time: the first of a run is younger than the second of another.
    last = save(CheckpointFolder(tmp_path / "deep" / "run-3", 2), 1)
    assert find_checkpoint("latest", tmp_path) == last


@pytest.mark.parametrize(
    ("resume_from", "save_dir", "code"),
    [
        ("latest", None, "input_invalid"),
        ("latest", "empty", "input_invalid"),
        ("nowhere", None, "input_invalid"),
        ("empty", None, "checkpoint_incompatible"),
        ("empty/model.pt", None, "checkpoint_incompatible"),
    ],
)
def test_a_checkpoint_that_cannot_be_found_is_refused(
    tmp_path: Path, resume_from: str, save_dir: str | None, code: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.pt").write_bytes(b"weights")
    wanted = resume_from if resume_from == "latest" else str(tmp_path / resume_from)
    with pytest.raises(Failure) as caught:
        find_checkpoint(wanted, save_dir and tmp_path / save_dir)
    assert caught.value.error.code == code
