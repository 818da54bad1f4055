"""gunicorn reads this where it is started in the project's folder. Without a secret its master ends at once, with one
line; elsewhere each of its workers does (shop/wsgi.py), and the master with them."""

from shop.env import refuse_missing_secrets

refuse_missing_secrets()
