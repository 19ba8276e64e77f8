"""Rollouts: a new model version takes traffic step by step, as far as the evidence allows."""
