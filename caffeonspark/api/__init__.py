"""What users call: ``CaffeOnSpark``, ``Config``, the estimator, and the command line."""
