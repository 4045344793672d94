"""Caffe nets in Spark ML: estimators that train them, and models that add columns to DataFrames."""
