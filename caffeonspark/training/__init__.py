"""Training: the driver plans (``plan``), checks the cluster (``preflight``), launches one barrier stage
(``launch``) and watches it (``monitor``, ``run``); every rank loads its records and steps its solver (``rank``),
with a keeper process at its side that holds its line to the driver (``keeper``).
"""
