"""What the library knows of Spark: its JVM, sessions, who gets which rows, YARN."""
