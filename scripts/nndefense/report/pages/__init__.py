"""Captions and pages of HTML."""
