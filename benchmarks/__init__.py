"""Measures llmlab beside what else serves the same model: python -m benchmarks --help"""
