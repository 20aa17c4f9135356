"""Continued pretraining on documents."""
