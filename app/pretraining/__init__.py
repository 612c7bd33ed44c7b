"""Pretraining: a backbone learns from images without labels, or from generated ones."""
