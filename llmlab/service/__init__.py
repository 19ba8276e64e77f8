"""The summarization API: one process, one model. Knows nothing of CLI or engines."""
