"""The datasets that zarrscope knows: one small file each, found by entry points and imported by nobody."""
