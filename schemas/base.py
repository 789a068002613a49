"""What all documents share: camelCase keys, no unknown keys, no mutation, no NaN."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Document(BaseModel):
    """A closed, frozen JSON object. Python names are snake_case, JSON keys camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def to_json(self) -> dict[str, object]:
        """The document as a JSON object: camelCase keys, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def given(self) -> dict[str, object]:
        """The document as JSON without what was left out when it was made: read again, it is the same."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
