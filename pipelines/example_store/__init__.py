"""Training examples with embeddings and a weight for every task they serve, in one table on disk (see docs/examples.md)."""

from pipelines.example_store.merging import Added
from pipelines.example_store.selection import Selection
from pipelines.example_store.store import ExampleStore

__all__ = ["Added", "ExampleStore", "Selection"]
