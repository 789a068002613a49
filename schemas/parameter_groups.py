"""Parameters that are trained with a learning rate or a weight decay of their own."""

from typing import Annotated

from pydantic import Field

from schemas.base import Document

NamePattern = Annotated[str, Field(min_length=1, max_length=512)]


class ParameterGroup(Document):
    """Parameters by name, and how they are trained; what is absent is as for all others."""

    match: Annotated[
        NamePattern,
        Field(
            description="Name of a parameter or module, or a glob pattern of it: backbone, *.attention.*, head.weight."
        ),
    ]
    learning_rate_factor: Annotated[
        float | None,
        Field(gt=0, le=1000000, description="By what the schedule's rate is multiplied, at every step of the run."),
    ] = None
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            le=1000,
            description="The rate where all others have trainingConfig.learningRate; it follows the schedule in proportion. Not beside learningRateFactor.",
        ),
    ] = None
    weight_decay: Annotated[
        float | None, Field(ge=0, le=100, description="Never on biases, norms and embeddings, as for all others.")
    ] = None
