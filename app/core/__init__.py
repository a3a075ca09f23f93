"""What every feature stands on: settings, database, errors, access, wire conventions, time."""
