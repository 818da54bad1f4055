"""The WSGI application. A threaded server runs it: gunicorn --worker-class gthread shop.wsgi:application."""

import os

from django.core.wsgi import get_wsgi_application

from shop.env import refuse_missing_secrets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
refuse_missing_secrets()

application = get_wsgi_application()
