"""Process servers: they receive, cache and upload the replication data of source machines."""
