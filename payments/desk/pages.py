"""What every page of the desk shares. Orders and products have such pages too, so it lives in the shop."""

from shop.staff_pages import in_frame, staff_page

__all__ = ["in_frame", "staff_page"]
