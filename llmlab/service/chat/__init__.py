"""OpenAI's dialect, for the model of this deployment."""
