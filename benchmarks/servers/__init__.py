"""What llmlab is compared with. Each module is a process of its own: FOLDER --port N."""
