"""The lab's configuration: its schema, and how its layers are merged."""

from llmlab.config.gateway import Gateway, RateLimit
from llmlab.config.guards import Guard
from llmlab.config.load import Loaded, load_config, read_config
from llmlab.config.model import Model
from llmlab.config.schema import Config, Service

__all__ = [
    "Config", "Gateway", "Guard", "Loaded", "Model", "RateLimit", "Service", "load_config",
    "read_config",
]  # fmt: skip
