"""Which model the model file builds, and with what arguments."""

from typing import Annotated, Any

from pydantic import Field

from schemas.base import Document


class ModelConfig(Document):
    """How the model is taken from the model file.

    Order: the class named ``className``; ``build_model(**args)``; the only model class defined in the file; a
    module-level ``model``.
    """

    class_name: Annotated[
        str | None, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="Class of the model file to construct.")
    ] = None
    args: Annotated[
        dict[str, Any],
        Field(description="Keyword arguments of build_model or of the class; checked against its signature."),
    ] = Field(default_factory=dict)
