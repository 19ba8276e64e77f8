"""Replicas that follow what is asked, between bounds."""
