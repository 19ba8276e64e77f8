"""Identity providers whose tokens are valid beside the lab's own: their keys, and who is who."""
