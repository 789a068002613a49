"""Optimizers: the table holds torch's own names and defaults, and groups say what is decayed."""

import inspect

import pytest
import torch
from torch import nn

from schemas.optimizers import LEFT_OUT, OPTIMIZERS, OptimizerEntry
from schemas.training import TrainingConfig
from trainer_core.failure import Failure
from trainer_core.loop.optimizers import build_optimizer, default_learning_rate, default_weight_decay

CPU = torch.device("cpu")
OWNED_BY_LOOP = {"params", "lr", "weight_decay", "foreach", "fused", "capturable", "differentiable"}


class Transformer(nn.Module):
    """Every kind of parameter: embedding, norm, matrix, bias, one tied, one frozen, one scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.temperature = nn.Parameter(torch.ones(()))


def config(name: str = "AdamW", **options: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"optimizer": name, **options})


def build(model: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    return build_optimizer(model, training, 0.01, CPU)


def test_table_names_every_optimizer_of_torch() -> None:
    classes = {
        name
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
    }
    assert {entry.name for entry in OPTIMIZERS} == classes - {"Optimizer", *LEFT_OUT}


@pytest.mark.parametrize("entry", OPTIMIZERS, ids=lambda entry: entry.name)
def test_table_holds_torchs_arguments_and_defaults(entry: OptimizerEntry) -> None:
    parameters = inspect.signature(getattr(torch.optim, entry.name)).parameters
    assert set(entry.argument_names) == set(parameters) - OWNED_BY_LOOP
    assert {item.name: item.default for item in entry.arguments} == {
        name: parameters[name].default for name in entry.argument_names
    }
    assert entry.learning_rate == parameters["lr"].default
    assert entry.takes_weight_decay == ("weight_decay" in parameters)
    assert entry.weight_decay == (parameters["weight_decay"].default if entry.takes_weight_decay else 0)


def test_weight_decay_is_refused_where_torch_has_none() -> None:
    with pytest.raises(Failure, match="Rprop has no weight decay"):
        build(nn.Linear(2, 2), config("Rprop", weightDecay=0.1))


@pytest.mark.parametrize("entry", OPTIMIZERS, ids=lambda entry: entry.name)
def test_every_optimizer_learns(entry: OptimizerEntry) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4, bias=False)
    inputs, targets = torch.randn(32, 4), torch.randn(32, 4)
    training = config(entry.name.upper())
    optimizer = build_optimizer(model, training, default_learning_rate(training, 16), CPU)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert type(optimizer).__name__ == entry.name


def test_groups_spare_biases_norms_embeddings_and_scalars() -> None:
    decay, spared = build(Transformer(), config()).param_groups
    assert (decay["name"], decay["weight_decay"], decay["param_names"]) == ("decay", 0.01, ["body.weight"])
    assert (spared["name"], spared["weight_decay"]) == ("no_decay", 0.0)
    assert spared["param_names"] == ["temperature", "embedding.weight", "norm.weight", "norm.bias", "body.bias"]


def test_weight_decay_reaches_only_the_group_that_is_decayed() -> None:
    model = Transformer()
    optimizer = build(model, config("SGD", weightDecay=0.5))
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"body.weight"}
    torch.testing.assert_close(model.body.weight, before["body.weight"] * (1 - 0.01 * 0.5))


def test_fused_and_plain_steps_agree() -> None:
    def train(fuse: bool) -> torch.Tensor:
        torch.manual_seed(1)
        model = nn.Linear(8, 8)
        optimizer = build(model, config())
        assert optimizer.param_groups[0]["fused"] is True
        for group in optimizer.param_groups:
            group["fused"] = fuse
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(2, 8)).square().sum().backward()
            optimizer.step()
        return model.weight.detach()

    torch.testing.assert_close(train(True), train(False))


def test_a_parameter_with_gaps_is_not_given_to_fused_kernels() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(4, 4)[:, :2])
    assert build(model, config()).param_groups[0]["fused"] is None


def test_lists_become_the_tuples_torch_wants() -> None:
    optimizer = build(nn.Linear(2, 2), config("adam", optimizerArgs={"betas": [0.8, 0.9], "amsgrad": True}))
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["amsgrad"] is True


@pytest.mark.parametrize(
    ("name", "arguments", "pointer", "says"),
    [
        ("AdamW", {"beta": [0.9, 0.99]}, "/beta", "did you mean betas?"),
        ("AdamW", {"betas": 0.9}, "/betas", "a list of 2 items, each a number"),
        ("AdamW", {"betas": [0.9]}, "/betas", "a list of 2 items"),
        ("AdamW", {"amsgrad": "yes"}, "/amsgrad", "true or false, not 'yes'"),
        ("SGD", {"momentum": "0.9"}, "/momentum", "a number of 0 or more, not '0.9'"),
        ("SGD", {"nesterov": True}, "/momentum", "greater than 0"),
        ("Adam", {"betas": [2, 0.9]}, "/betas", "less than 1"),
        ("SGD", {"weight_decay": 0.1}, "/weight_decay", "has no argument 'weight_decay'"),
    ],
)
def test_wrong_arguments_are_refused_with_their_place(
    name: str, arguments: dict[str, object], pointer: str, says: str
) -> None:
    with pytest.raises(Failure) as caught:
        build(nn.Linear(2, 2), config(name, optimizerArgs=arguments))
    error = caught.value.error
    assert error.code == "input_invalid"
    assert error.place is not None
    assert error.place.pointer == "/trainingConfig/optimizerArgs" + pointer
    assert says in error.message


def test_muon_names_the_parameter_it_cannot_train() -> None:
    with pytest.raises(Failure, match=r"'bias' has the shape \(2,\)") as caught:
        build(nn.Linear(2, 2), config("muon"))
    assert caught.value.error.code == "model_invalid"
    assert "AdamW" in caught.value.error.next_move


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(Failure, match="no trainable parameter"):
        build(nn.Linear(2, 2).requires_grad_(False), config())


def test_an_unknown_optimizer_lists_the_known() -> None:
    with pytest.raises(Failure, match="there are: Adadelta, "):
        build(nn.Linear(2, 2), config("AdamX"))


def test_default_rate_falls_with_the_size_of_the_model() -> None:
    assert default_learning_rate(config(), 1_000_000) == 0.001
    assert default_learning_rate(config(), 0) == 0.001
    assert default_learning_rate(config(), 10**8) == pytest.approx(0.00067, rel=0.01)
    assert default_learning_rate(config("NAdam"), 10**8) == pytest.approx(2 * 0.00067, rel=0.01)
    assert default_learning_rate(config(), 10**12) == pytest.approx(0.00006)
    assert default_learning_rate(config("SGD"), 10**9) == 0.001


def test_default_weight_decay_is_torchs_own() -> None:
    assert default_weight_decay(config()) == 0.01
    assert default_weight_decay(config("Adam")) == 0.0
    assert default_weight_decay(config("Adam", weightDecay=0.2)) == 0.2
