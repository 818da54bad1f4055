"""The dashboard: what rings first, then what is open, then how the last fourteen days went (EXPERIENCE ST4, ST7)."""

import psycopg.errors
import structlog
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from payments.backoffice.dashboard.charts import draw
from payments.backoffice.dashboard.figures import Figures, read_figures
from payments.backoffice.dashboard.panels import read_board
from shop.staff_pages import in_frame, staff_page

log = structlog.get_logger(__name__)


@staff_page("payments.view_payment")
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    board, figures = read_board(), _figures()
    charts = [draw(figure) for figure in figures.all] if figures else []
    context = in_frame(request, "Payments dashboard", board=board, figures=figures, charts=charts)
    return render(request, "admin/desk/dashboard.html", context)


def _figures() -> Figures | None:
    """None where PostgreSQL gave up on counting: who comes because of an alarm must see the alarms all the same."""
    try:
        return read_figures()
    except OperationalError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable):
            raise
        log.warning("figures_not_read", error=str(error))
        return None
