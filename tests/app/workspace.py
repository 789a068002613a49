"""What the tests of the gate and of the service share: a workspace with files, and requests about them."""

import copy
from pathlib import Path
from typing import Any

TORCH_MODEL = "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n"
SKLEARN_MODEL = (
    "from sklearn.linear_model import LogisticRegression\n\n\ndef build_model():\n    return LogisticRegression()\n"
)

REQUEST: dict[str, Any] = {
    "modelPath": "models/resnet.py",
    "dataConfig": {"trainPath": "data/train", "valPath": "data/val"},
    "trainingConfig": {"epochs": 9},
}


def make_workspace(folder: Path) -> Path:
    """A workspace in which the usage example of the skill has its files, and some more."""
    for name in ("models", "data/train/0", "data/train/1", "data/val", "runs"):
        (folder / name).mkdir(parents=True)
    files = {
        "models/resnet.py": TORCH_MODEL,
        "models/forest.py": SKLEARN_MODEL,
        "models/broken.py": "import torch\n\ndef build_model(:\n",
        "models/nothing.py": "def build_model():\n    return None\n",
        "models/both.py": "import torch\nimport sklearn.svm\n\ndef build_model():\n    return sklearn.svm.SVC()\n",
        "models/dataset.py": "import torch\n\ndef build_dataset(path, split): ...\n",
        "data/table.csv": "x,y\n1,0\n2,1\n",
        "data/table.unknown": "x,y\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def changed(*path_and_value: Any, base: dict[str, Any] = REQUEST) -> dict[str, Any]:
    """``base`` with the last argument put at the path that the others name."""
    *path, value = path_and_value
    document = copy.deepcopy(base)
    place = document
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = value
    return document
