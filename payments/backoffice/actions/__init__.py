"""What staff do: one page an action, carried out once."""
