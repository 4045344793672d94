"""Benchmarks: ratios from alternating runs against a rival on the same work.

``make bench`` runs them all and writes ``benchmarks/README.md``.
"""
