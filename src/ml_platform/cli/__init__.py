"""The command line `mlops`: a thin layer over the SDK."""
