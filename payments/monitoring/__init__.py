"""Is anything wrong enough that somebody should look? Alarms, heartbeats, counters."""
