"""What is wanted of a lab beyond lab.toml: deployments, routes, flags; and the ledger of it all."""
