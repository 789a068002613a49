"""What the import contracts cannot see: what a running process has really imported."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pandas", "pyarrow", "sklearn", "mlflow", "trainer_core")


def modules_after(statement: str) -> set[str]:
    """Top-level modules of a fresh interpreter after ``statement``."""
    program = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["app.main", "app.cli"])
def test_the_service_and_the_command_line_never_load_a_heavy_library(module: str):
    assert modules_after(f"import {module}").isdisjoint(HEAVY)


def test_the_worker_loads_no_engine_before_its_door():
    assert modules_after("import trainer_core.worker").isdisjoint({"torch", "sklearn", "mlflow", "fastapi", "app"})


def test_the_contract_needs_pydantic_alone():
    loaded = modules_after("import schemas.generate")
    assert loaded.isdisjoint({*HEAVY, "jsonschema", "fastapi", "app"})
