"""Models elsewhere, behind servers that speak OpenAI's dialect: their keys, whether they can be
asked, and how one is written into lab.toml."""
