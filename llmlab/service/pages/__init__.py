"""The files of /docs, as they are sent."""
