"""Every address of the shop. Orders and payments bring their own."""

from django.contrib import admin
from django.urls import include, path, re_path

from shop import pages

handler400 = "shop.pages.bad_request"
handler403 = "shop.pages.forbidden"
handler404 = "shop.pages.not_found"
handler500 = "shop.pages.server_error"

urlpatterns = [
    path("", pages.home, name="home"),
    path("products/<slug:slug>/", pages.product, name="product"),
    path("cart/", pages.cart, name="cart"),
    path("admin/", admin.site.urls),
    path("", include("orders.urls")),
    path("", include("payments.urls")),
    re_path(r"", pages.no_such_page),
]
