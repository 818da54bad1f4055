"""What machines ask: is the process alive, can it serve, what has it counted."""

from functools import lru_cache

from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shop.models import Product


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nobody, so that a database that is down restarts no web server."""
    return JsonResponse({"alive": True})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 only when PostgreSQL answers, every migration is applied and there is something to sell. Redis is not asked:
    without it the shop sells on."""
    try:
        reasons = _reasons_to_wait()
    except DatabaseError:
        reasons = ["PostgreSQL does not answer"]
    return JsonResponse({"ready": not reasons, "waiting_for": reasons}, status=503 if reasons else 200)


def _reasons_to_wait() -> list[str]:
    connection.ensure_connection()
    if not _is_migrated():
        return ["migrations are not applied: run manage.py migrate"]
    if not Product.objects.exists():
        return ["there are no products: run manage.py seed_shop"]
    return []


def _is_migrated() -> bool:
    """Asked of the database until it is once true: a running process does not lose migrations."""
    if not _seen_migrated.cache_info().currsize:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
    return _seen_migrated()


@lru_cache
def _seen_migrated() -> bool:
    return True


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """This process's counters, in Prometheus's text format."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
