"""Step events come by the clock, not by the epoch; what is left out is said once."""

import time

import pytest
import torch

from schemas.events import Alert, Step
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.ranks import Totals
from trainer_core.loop.reporting import Reporting, Taken
from trainer_core.monitors.watch import Watch

CPU = torch.device("cpu")
TAKEN = Taken(Totals(torch.tensor(2.0), torch.tensor(4.0)), torch.tensor(1.0), learning_rate=0.1, samples=4)


def spin(seconds: float) -> None:
    """Keep this core busy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def build(channel: Channel, every: float) -> Reporting:
    figures = build_figures("classification", CPU, None)
    return Reporting(channel, Length.of(8, 4, 100, None), figures, CPU, every, Watch([], channel))


def test_epochs_shorter_than_the_interval_are_reported_too():
    channel, position, due = Channel(), Position(), []
    began = time.monotonic()
    reporting = build(channel, every=0.1)
    for _ in range(6):
        reporting.begin_epoch()
        for _ in range(2):
            spin(0.015)
            position.advance(stepped=True)
            due.append(reporting.observe(TAKEN, position))
            if due[-1]:
                reporting.say(TAKEN, position)
        position.finish_epoch()
    assert 1 <= sum(due) <= (time.monotonic() - began) // 0.1
    assert [data.loss for data in channel.said if isinstance(data, Step)] == [0.5] * sum(due)


def test_the_speed_leaves_out_what_happens_between_epochs():
    channel, position = Channel(), Position()
    reporting = build(channel, every=0.0)
    least = most = 0.0
    for _ in range(2):
        began = time.monotonic()
        reporting.begin_epoch()
        inner = time.monotonic()
        spin(0.02)
        least += time.monotonic() - inner
        position.advance(stepped=True)
        reporting.observe(TAKEN, position)
        most += time.monotonic() - began
        spin(0.2)
    reporting.say(TAKEN, position)
    (step,) = channel.said
    assert 8 / most <= step.samples_per_second <= 8 / least


def test_the_average_of_an_epoch_is_over_its_targets_however_often_it_is_said():
    """One target of loss 9, three of loss 1, and a step that counted none."""
    said = []
    for reports in ([1, 2, 3], [2, 3], [3]):
        channel, position = Channel(), Position()
        reporting = build(channel, every=0.0)
        reporting.begin_epoch()
        for step, (total, count) in enumerate([(9.0, 1.0), (3.0, 3.0), (0.0, 0.0)], start=1):
            taken = TAKEN._replace(totals=Totals(torch.tensor(total), torch.tensor(count)))
            position.advance(stepped=True)
            reporting.observe(taken, position)
            if step in reports:
                reporting.say(taken, position)
        said.append([step.loss_average for step in channel.said])
    assert said == [[9.0, 3.0, 3.0], [3.0, 3.0], [3.0]]


def test_the_time_left_and_the_share_of_waiting_are_those_of_the_steps_so_far():
    """Two of 200 steps; each waits thrice as long for its batch as it takes itself. A second report looks at its own step."""
    channel, position = Channel(), Position()

    def batches():
        for _ in range(3):
            spin(0.03)
            yield None

    began = said = time.monotonic()
    reporting = build(channel, every=0.0)
    reporting.begin_epoch()
    for number, _ in enumerate(reporting.timed(batches()), start=1):
        spin(0.01)
        position.advance(stepped=True)
        reporting.observe(TAKEN, position)
        if number == 1:
            continue
        before = time.monotonic()
        reporting.say(TAKEN, position)
        now, step, steps = time.monotonic(), channel.said[-1], 4 - number
        assert (before - began) / number * (200 - number) <= step.eta_seconds <= (now - began) / number * (200 - number)
        assert steps * 0.03 / (now - said) <= step.data_wait_share <= 1 - steps * 0.01 / (now - said)
        said = before
    assert number == 3


def test_a_reason_is_said_once():
    channel = Channel()
    reporting = build(channel, every=1.0)
    for reason in ("", "too many", "too many"):
        reporting.warn_left_out(reason)
    assert [data.code for data in channel.said if isinstance(data, Alert)] == ["figures_left_out"]


def test_own_metrics_that_raise_are_told_with_their_line(bench):
    bench.write_model(
        "from torch import nn\n\n\ndef build_model():\n    return nn.Linear(6, 3)\n\n\n"
        "def metrics(outputs, targets):\n    return {'own': outputs / 'nothing'}\n"
    )
    bench.write_data()
    with pytest.raises(Failure) as caught:
        bench.train()
    assert caught.value.error.code == "model_invalid"
    assert caught.value.error.place.line == 9


def test_precision_that_this_machine_does_not_give_is_said(bench):
    bench.write_model("from torch import nn\n\n\ndef build_model():\n    return nn.Linear(6, 3)\n")
    bench.write_data()
    run = bench.train(trainingConfig={"epochs": 1, "mixedPrecision": True})
    codes = [alert.code for alert in run.of(Alert)]
    native = {"avx512_bf16", "amx_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has}
    assert ("precision_fp32" in codes) == (not native)
