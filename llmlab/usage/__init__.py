"""What was used of the lab's models, added up from the gateway's log."""
