"""How the admin writes moments: as the rest of the staff's pages do, and never without the zone."""

DATETIME_FORMAT = r"Y-m-d H:i:s \U\T\C"
DATE_FORMAT = "Y-m-d"
