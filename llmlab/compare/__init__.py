"""The same texts through several models, side by side, on a terminal or a page."""
