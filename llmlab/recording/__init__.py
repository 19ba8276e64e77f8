"""What routes were asked and have answered, kept on purpose, sealed, for a while."""
