"""The page of one payment."""
