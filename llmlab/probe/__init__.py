"""Measuring a running lab from outside, as its clients would see it."""
