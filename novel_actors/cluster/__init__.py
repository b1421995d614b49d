"""Autoscaling policy and cluster manifests."""
