"""The contract: every document that crosses a process boundary, as typed, closed, frozen models.

Both the service (``app``) and the worker (``trainer_core``) import this package and never each other.
It imports pydantic and the standard library only.
"""
