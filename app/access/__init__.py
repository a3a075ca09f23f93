"""Who is calling and what was already answered: tokens, idempotency keys, failed registrations."""
