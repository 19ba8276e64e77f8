"""Whether a gateway holds what it promises, tried from outside: checks, and what they found."""
