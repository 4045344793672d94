"""Caffe's files, read and written here. Needs no Caffe."""
