"""Scan, Plan, Segment, executor and Report: the spine."""
