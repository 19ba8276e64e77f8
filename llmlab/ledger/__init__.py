"""The ledger, and what is wanted of a lab: one file, so that a change and the entry that tells
of it are one transaction. Whoever acts on it lies above: engines, delivery, flags, rollout."""
