"""Tuning: Keras Tuner proposes values of settings, graft trains each proposal and says how good."""
