"""Tests of the paper's experiments: what they plan and how they are done."""
