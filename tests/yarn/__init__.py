"""Tests on real Hadoop daemons; all slow."""
