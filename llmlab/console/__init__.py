"""The console: a lab in a browser, behind its gateway."""
