"""Every address of the shop. Orders and payments bring their own."""

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from shop import account, catalogue_api, health, pages

handler400 = "shop.pages.bad_request"
handler403 = "shop.pages.forbidden"
handler404 = "shop.pages.not_found"
handler500 = "shop.pages.server_error"

urlpatterns = [
    # Pages.
    path("", pages.home, name="home"),
    path("products/<slug:slug>/", pages.product, name="product"),
    path("cart/", pages.cart, name="cart"),
    path("cart/add/", pages.add_to_cart, name="add-to-cart"),
    path("cart/items/<str:sku>/", pages.change_cart_item, name="change-cart-item"),
    path("account/log-in/", account.log_in, name="log-in"),
    path("account/log-out/", account.log_out, name="log-out"),
    path("account/register/", account.register, name="register"),
    path("account/password-reset/", account.PasswordResetView.as_view(), name="password-reset"),
    path("account/password-reset/sent/", account.PasswordResetSentView.as_view(), name="password-reset-sent"),
    path("account/password-reset/<str:uidb64>/<str:token>/", account.NewPasswordView.as_view(), name="new-password"),
    path("favicon.ico", pages.favicon),
    # API.
    path("api/products/", catalogue_api.ProductsView.as_view(), name="api-products"),
    path("api/cart/", catalogue_api.CartView.as_view(), name="api-cart"),
    path("api/cart/items/<str:sku>/", catalogue_api.CartItemView.as_view(), name="api-cart-item"),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    # Machines.
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    # Staff.
    path("admin/desk/", include("payments.backoffice.urls")),
    path("admin/", admin.site.urls),
    path("", include("orders.urls")),
    path("", include("payments.urls")),
    re_path(r"", pages.no_such_page),
]
