"""Readers turn the bytes of one member into arrays and plain values; they know no URL."""
