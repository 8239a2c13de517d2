"""The networks at their standard sizes: file sizes and published results."""

from onebit.zoo.networks import NETWORKS, Network, Result, file_sizes

__all__ = ["NETWORKS", "Network", "Result", "file_sizes"]
