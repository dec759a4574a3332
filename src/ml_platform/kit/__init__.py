"""Building blocks without a domain word: database, ids, clock, errors, paging, outbox, durable work."""
