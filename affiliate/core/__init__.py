"""What every package stands on: settings, clock, money, errors, database, queue."""
