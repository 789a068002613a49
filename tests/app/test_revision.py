"""The revision of a workspace: its commit, whether it was changed, and nothing where there is none."""

import subprocess
from pathlib import Path

from app.revision import revision_of


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_commit_and_whether_tracked_files_have_changed(tmp_path: Path):
    git(tmp_path, "init", "-q")
    assert revision_of(tmp_path) is None
    (tmp_path / "model.py").write_text("1")
    git(tmp_path, "add", "model.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    git(tmp_path, "tag", "a-tag-that-is-no-commit")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert revision_of(tmp_path) == commit
    (tmp_path / "model.py").write_text("2")
    assert revision_of(tmp_path) == f"{commit}-dirty"


def test_no_repository_has_no_revision(tmp_path: Path):
    assert revision_of(tmp_path / "nowhere") is None
