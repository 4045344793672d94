"""Caffe's language: its messages, prototxt files, and which layers a phase of a net has. Needs no Caffe."""
