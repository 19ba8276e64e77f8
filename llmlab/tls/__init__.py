"""The gateway's certificate: the person's own, or one that the lab signs and renews."""
