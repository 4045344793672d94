"""The engine that is stock pycaffe. No other package imports ``caffe``."""
