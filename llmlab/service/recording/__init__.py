"""Records what an API is asked and answers, while it is told to."""
