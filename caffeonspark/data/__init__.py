"""From what a data layer names to the float32 batches of a net's blobs.

``source`` and one module for each kind of source run on the driver; their readers, and everything from
``records`` on (``decode``, ``transform``, ``tops``, ``store``, ``batches``), run where the solver is.
"""
