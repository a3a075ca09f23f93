"""Mail subscriptions: people who are told of events by e-mail."""
