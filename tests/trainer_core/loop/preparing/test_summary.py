"""The table of modules."""

from pathlib import Path

from schemas.events import MAX_MODULES, ModelLoaded

MODEL = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.LazyLinear(8), nn.Tanh())
        self.head = nn.Linear(8, 3)
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.body(x))
"""

TABLE = """\
module   class       parameters  trainable  output
(model)  Net                 89         33  [2, 3]
  body   Sequential          56          0  [2, 8]
    0    Linear              56          0  [2, 8]
    1    Tanh                 0          0  [2, 8]
  head   Linear              27         27  [2, 3]
  idle   Linear               6          6  -
"""


def test_a_run_leaves_a_table_of_its_modules(bench):
    bench.write_model(MODEL)
    run = bench.train(modelConfig={"freeze": ["body"]}, trainingConfig={"epochs": 1})
    (artifact,) = [item for item in run.ending.artifacts if item.name == "model_summary.txt"]
    assert Path(artifact.path) == run.run_folder / "model_summary.txt"
    assert Path(artifact.path).read_text() == TABLE
    rows = run.of(ModelLoaded)[0].modules
    assert [row.name for row in rows] == ["", "body", "body.0", "body.1", "head", "idle"]
    assert (rows[0].parameters, rows[0].trainable, rows[0].output) == (89, 33, "[2, 3]")
    assert rows[-1].output is None


def test_an_event_carries_the_first_rows_of_a_large_model(bench):
    bench.write_model(
        "from torch import nn\ndef build_model():\n"
        "    return nn.Sequential(*[nn.Tanh() for _ in range(1200)], nn.Linear(6, 3))\n"
    )
    run = bench.train(trainingConfig={"epochs": 1})
    assert len(run.of(ModelLoaded)[0].modules) == MAX_MODULES
    assert len((run.run_folder / "model_summary.txt").read_text().splitlines()) == 1 + 1000
