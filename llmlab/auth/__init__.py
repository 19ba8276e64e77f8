"""Keys (JWK) and tokens (JWT) of a lab."""

from llmlab.auth.keys import Key, KeySet
from llmlab.auth.store import KeyStore
from llmlab.auth.tokens import Claims, describe, mint

__all__ = ["Claims", "Key", "KeySet", "KeyStore", "describe", "mint"]
