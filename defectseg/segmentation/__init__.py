"""The network: building it, its loss and metrics, training it."""
