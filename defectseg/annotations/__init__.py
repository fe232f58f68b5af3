"""Readers of labels: one module a format, one record out of all of them."""
