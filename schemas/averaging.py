"""Weights averaged over a run."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Document


class WeightAveraging(Document):
    """Evaluate, keep and hand over an average of the weights instead of the latest ones."""

    method: Annotated[
        Literal["ema", "swa"],
        Field(
            description="ema: exponential moving average, one share of each step's weights; swa: plain mean of the weights at the end of each epoch."
        ),
    ] = "ema"
    decay: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Of ema: what the average keeps at each step; less in the beginning, (1 + n) / (10 + n) after n steps.",
        ),
    ] = 0.999
    start: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Of swa: the share of the epochs that are trained before the mean begins. Resumed with more epochs it begins later: docs/reliability.md.",
        ),
    ] = 0.75
