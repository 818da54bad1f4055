"""The staff desk: what staff see and do about money, inside the admin. Thin edges on the same core as the web."""
