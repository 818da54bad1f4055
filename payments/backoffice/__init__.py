"""The back office: what staff see and do about money, inside the admin."""
