"""What a running lab does: figures of its gateway's access log, and of the metrics of its APIs
and its gateway."""
