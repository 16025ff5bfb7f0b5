"""Tests of bulk runs."""
