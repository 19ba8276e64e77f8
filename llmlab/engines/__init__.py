"""Engines: what runs a lab's processes."""
