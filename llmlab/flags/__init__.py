"""Feature flags: what they are, for whom they are on, and how a program asks for them."""
