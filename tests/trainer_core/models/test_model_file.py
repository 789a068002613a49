"""A model file is imported once, under its own name, and whatever goes wrong is told with file and line."""

import hashlib
import pickle
import traceback
from pathlib import Path

import pytest

from trainer_core.failure import Failure
from trainer_core.models.user_code import user_place


def test_the_copy_runs_under_the_name_of_the_original(load, tmp_path: Path):
    source = "def broken():\n    raise KeyError('x')\n"
    file = load(source)
    (tmp_path / "models" / "net.py").write_text("# changed since the submit\n")
    assert file.path == tmp_path / "models" / "net.py"
    assert file.sha256 == hashlib.sha256(source.encode()).hexdigest()
    with pytest.raises(KeyError) as caught:
        file.module.broken()
    assert user_place(caught.value, file.path).line == 2
    assert "raise KeyError('x')" in "".join(traceback.format_exception(caught.value))


def test_an_exception_that_was_never_in_the_file_has_no_place(tmp_path: Path):
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert user_place(caught.value, tmp_path / "net.py") is None


def test_siblings_and_the_workspace_can_be_imported(load, tmp_path: Path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sibling_layers.py").write_text("WIDTH = 3\n")
    (tmp_path / "workspace_parts.py").write_text("DEPTH = 2\n")
    module = load("from sibling_layers import WIDTH\nfrom workspace_parts import DEPTH\n").module
    assert (module.WIDTH, module.DEPTH) == (3, 2)


def test_what_the_file_defines_can_be_pickled(load):
    file = load("class Scale:\n    def __init__(self, by):\n        self.by = by\n", "scale_model.py")
    assert pickle.loads(pickle.dumps(file.module.Scale(7))).by == 7
    assert file.module.__name__ == "scale_model"


def test_a_file_called_like_a_library_hides_nothing(load):
    import json

    file = load("import json\nVALUE = json.dumps(1)\n", "json.py")
    assert file.module is not json
    assert file.module.VALUE == "1"


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("x = 1\ndef broken(:\n    pass\n", 2, "net.py is not valid Python (line 2)"),
        ("\n\nimport nowhere_to_be_found\n", 3, "No module named 'nowhere_to_be_found'"),
        ("from json import nothing_there\n", 1, "An import from 'json' failed"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit while importing the model file (line 2 of net.py)"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError while importing"),
        (b"x = '\xff'\n", None, "net.py is not valid Python"),
        (b"x = 1\x00\n", None, "net.py is not "),
    ],
)
def test_an_import_that_fails_names_file_and_line(load, tmp_path: Path, source, line, message):
    with pytest.raises(Failure) as caught:
        load(source)
    error = caught.value.error
    assert error.code == "model_import_failed"
    assert message in error.message
    assert error.place.path == str(tmp_path / "models" / "net.py")
    assert line is None or error.place.line == line


def test_a_file_that_is_looked_for_where_the_worker_runs_is_said(load, tmp_path: Path):
    with pytest.raises(Failure) as caught:
        load("open('config.json')\n")
    assert f"'config.json' was looked for in {Path.cwd()}" in caught.value.error.next_move
    with pytest.raises(Failure) as caught:
        load(f"open({str(tmp_path / 'config.json')!r})\n")
    assert "looked for" not in caught.value.error.next_move


def test_a_missing_module_is_said_to_be_installed(load):
    with pytest.raises(Failure) as caught:
        load("import nowhere_to_be_found\n")
    assert "Install nowhere_to_be_found" in caught.value.error.next_move
    assert "ModuleNotFoundError" in caught.value.error.untrusted


def test_a_broken_sibling_is_named_itself(load, tmp_path: Path):
    (tmp_path / "models").mkdir()
    sibling = tmp_path / "models" / "broken_sibling.py"
    sibling.write_text("x = 1\ny = (\n")
    with pytest.raises(Failure) as caught:
        load("import broken_sibling\n")
    assert caught.value.error.place.path == str(sibling)
    assert caught.value.error.place.line == 2


def test_what_else_the_file_defines(load):
    file = load(
        "class Loss:\n    def __call__(self, outputs, targets):\n        return 0\n"
        "loss = Loss()\n"
        "def metrics(outputs, targets): return {}\n"
        "def build_dataset(path, split): return None\n"
    )
    assert file.loss(1, 2) == 0
    assert file.metrics(1, 2) == {}
    assert file.build_dataset("p", "val") is None
    assert file.collate is None


def test_an_imported_module_called_metrics_is_not_meant(load):
    assert load("from os import path as metrics\n").metrics is None


def test_a_loss_that_cannot_be_called_is_not_passed_over(load):
    with pytest.raises(Failure) as caught:
        load("loss = 'mse'\n")
    assert caught.value.error.code == "model_invalid"
    assert "`loss` in net.py is a str" in caught.value.error.message
