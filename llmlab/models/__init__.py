"""Models: where their files are, how they get there, and what they are."""

from llmlab.models.identity import content_id
from llmlab.models.inspect import inspect
from llmlab.models.ready import Availability
from llmlab.models.sources import availability, pull

__all__ = ["Availability", "availability", "content_id", "inspect", "pull"]
