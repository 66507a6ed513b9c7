"""The engine fills a layout shard by shard: a journal of receipts, tasks on any executor, tables at the end."""
