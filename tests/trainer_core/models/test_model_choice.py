"""Which model a file means: build_model, a named class, the only class, or a finished model, and every way to miss it."""

from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

from schemas.model import ModelConfig
from schemas.problems import PatchOperation
from trainer_core.failure import Failure

BASE = "from sklearn.base import BaseEstimator\n"
NET = "class Net(BaseEstimator):\n    def __init__(self, width=1):\n        self.width = width\n"
OTHER = "class Other(BaseEstimator):\n    pass\n"
BUILD = "def build_model(width=2):\n    return Net(width)\n"


def build(file, class_name: str | None = None, **args: object) -> BaseEstimator:
    return file.build(ModelConfig(class_name=class_name, args=args), BaseEstimator)


def refused(file, class_name: str | None = None, **args: object):
    with pytest.raises(Failure) as caught:
        build(file, class_name, **args)
    assert caught.value.error.code == "model_invalid"
    return caught.value.error


def test_build_model_comes_before_classes_and_a_finished_model(load):
    model = build(load(BASE + NET + OTHER + BUILD + "model = Other()\n"), width=5)
    assert (type(model).__name__, model.width) == ("Net", 5)


def test_build_model_comes_before_a_named_class_and_must_build_it(load):
    file = load(BASE + NET + OTHER + "class Wide(Net):\n    pass\n" + "def build_model():\n    return Wide(7)\n")
    for name in ("Wide", "Net"):
        assert (type(build(file, name)).__name__, build(file, name).width) == ("Wide", 7)


def test_a_class_name_beside_a_build_model_that_builds_another_is_never_ignored(load, tmp_path: Path):
    error = refused(load(BASE + NET + OTHER + BUILD), "Other")
    assert "built a Net; modelConfig.className names 'Other'" in error.message
    assert "build_model and the classes Net, Other" in error.message
    assert error.place.to_json() == {
        "path": str(tmp_path / "models" / "net.py"),
        "line": 7,
        "pointer": "/modelConfig/className",
    }
    assert error.fix == [PatchOperation(op="remove", path="/modelConfig/className")]


def test_a_named_class_comes_before_the_only_one_and_a_finished_model(load):
    file = load(BASE + "from sklearn.linear_model import Ridge\n" + NET + "model = Net(9)\n")
    assert type(build(file, "Ridge")).__name__ == "Ridge"


def test_a_class_may_be_named_that_the_file_imports(load):
    file = load("from sklearn.linear_model import Ridge\n")
    assert build(file, "Ridge", alpha=2.0).alpha == 2.0


def test_the_only_class_defined_in_the_file(load):
    file = load(BASE + "from sklearn.linear_model import Ridge\n" + NET + "model = Ridge()\n")
    assert type(build(file, width=3)).__name__ == "Net"


def test_a_finished_model_decides_between_several_classes(load):
    assert build(load(BASE + NET + OTHER + "model = Net(9)\n")).width == 9


def test_the_class_of_the_loss_and_abstract_classes_are_no_models(load):
    abstract = "import abc\nclass Base(BaseEstimator, abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
    loss = "class Loss(BaseEstimator):\n    def __call__(self, x, y): return 0\nloss = Loss()\n"
    assert type(build(load(BASE + abstract + loss + NET))).__name__ == "Net"


def test_several_classes_are_listed_and_the_outermost_is_the_fix(load):
    file = load(BASE + NET + "class Whole(BaseEstimator):\n    def __init__(self):\n        self.net = Net()\n")
    error = refused(file)
    assert "2 models (Net, Whole)" in error.message
    assert "modelConfig.className" in error.next_move
    assert error.fix == [PatchOperation(op="add", path="/modelConfig", value={"className": "Whole", "args": {}})]


def test_no_fix_is_guessed_between_equals(load):
    error = refused(load(BASE + NET + OTHER))
    assert error.fix is None


def test_a_class_name_that_is_not_there(load):
    error = refused(load(BASE + NET + OTHER), "Othr")
    assert "no class 'Othr'" in error.message
    assert "it defines Net, Other" in error.message
    assert error.place.pointer == "/modelConfig/className"
    assert error.fix[0].value["className"] == "Other"


def test_a_class_of_another_kind(load):
    assert "'Plain' in net.py is no sklearn.base.BaseEstimator" in refused(load("class Plain: pass\n"), "Plain").message


def test_an_empty_file_is_told_the_four_ways(load):
    message = refused(load("x = 1\n")).message
    for way in ("build_model(**args)", "modelConfig.className", "a single subclass", "a module-level `model`"):
        assert way in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build_model():\n    return 3\n", "build_model returned int; sklearn.base.BaseEstimator was expected"),
        ("build_model = 3\n", "`build_model` in net.py is a int"),
        ("model = 3\n", "`model` in net.py is int"),
    ],
)
def test_something_that_is_no_model(load, source, message):
    assert message in refused(load(source)).message


def test_arguments_for_a_finished_model_have_nowhere_to_go(load):
    error = refused(load(BASE + NET + OTHER + "model = Net()\n"), width=3)
    assert error.fix == [PatchOperation(op="remove", path="/modelConfig/args")]


def test_an_unknown_argument_shows_the_signature_and_is_mended(load, tmp_path: Path):
    error = refused(load(BASE + NET + BUILD), widht=4)
    assert "unknown argument 'widht' (did you mean 'width'?)" in error.message
    assert "build_model(width=2)" in error.message
    assert (error.place.path, error.place.line) == (str(tmp_path / "models" / "net.py"), 5)
    assert error.place.pointer == "/modelConfig/args"
    assert error.fix == [
        PatchOperation(op="remove", path="/modelConfig/args/widht"),
        PatchOperation(op="add", path="/modelConfig/args/width", value=4),
    ]


def test_an_argument_that_means_nothing_is_removed(load):
    error = refused(load(BASE + NET), **{"a/b~c": 1})
    assert error.fix == [PatchOperation(op="remove", path="/modelConfig/args/a~1b~0c")]
    assert error.place.line == 3


def test_a_missing_argument_is_named_and_no_value_is_invented(load):
    error = refused(
        load(BASE + "class Net(BaseEstimator):\n    def __init__(self, width, depth):\n        pass\n"), width=1
    )
    assert "missing argument 'depth'" in error.message
    assert "unknown" not in error.message
    assert error.fix is None


def test_what_is_missing_is_filled_in_by_the_data_where_they_know_it(load):
    file = load(
        BASE + "class Net(BaseEstimator):\n    def __init__(self, width, num_classes, depth=1):\n        pass\n"
    )

    def refuse(**args: object):
        with pytest.raises(Failure) as caught:
            file.build(ModelConfig(args=args), BaseEstimator, lambda: {"num_classes": 3, "in_features": 4})
        return caught.value.error

    error = refuse(widht=8)
    assert "By the data num_classes is 3." in error.message
    assert error.fix == [PatchOperation(op="add", path="/modelConfig", value={"args": {"width": 8, "num_classes": 3}})]
    assert refuse().fix is None, "nobody knows the width"


def test_keyword_catchalls_take_anything(load):
    assert build(load(BASE + NET + "def build_model(**args):\n    return Net(**args)\n"), width=8).width == 8


def test_an_exception_of_the_constructor_has_its_line(load):
    source = BASE + "class Net(BaseEstimator):\n    def __init__(self):\n        raise RuntimeError('no')\n"
    error = refused(load(source))
    assert error.message == "RuntimeError while building the model with Net (line 4 of net.py)."
    assert error.place.line == 4
    assert "no" in error.untrusted
