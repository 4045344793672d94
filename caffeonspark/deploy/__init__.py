"""Taking the library to a cluster: the environment as an archive, and the spark-submit line."""
