"""What data layers name: ``base`` says what a source is, ``registry`` which one reads a layer, and each other module is
one kind of source."""
