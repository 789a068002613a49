"""A path that becomes a link between two looks at it."""

from pathlib import Path

import pytest

from app.gate.model_source import SourceError, read_source

SECRET = "import torch\n\nSECRET = 'canary'\n"


@pytest.mark.parametrize("moved", ["models/model.py", "models"])
def test_a_model_file_that_has_become_a_link_is_not_read(tmp_path: Path, moved: str):
    model = tmp_path / "workspace/models/model.py"
    model.parent.mkdir(parents=True)
    model.write_text("import torch\n")
    assert read_source(model).content == b"import torch\n"
    # The gate has resolved the path; now it leads elsewhere.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.py").write_text(SECRET)
    place = tmp_path / "workspace" / moved
    place.rename(tmp_path / "before")
    place.symlink_to(elsewhere if place.suffix == "" else elsewhere / "model.py")
    with pytest.raises((SourceError, FileNotFoundError)) as refused:
        read_source(model)
    assert "canary" not in str(refused.value)
