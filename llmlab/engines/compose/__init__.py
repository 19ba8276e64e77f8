"""The lab in containers: its images, and what docker-compose.yml mounts."""
