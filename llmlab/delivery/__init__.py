"""What is done about what is wanted of a lab beyond lab.toml: deployments, drills, traces."""
