"""What a store is made of: pure functions from declarations and arrays to the objects ``(key, bytes)`` to write."""
