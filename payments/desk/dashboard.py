"""The dashboard: what rings first, then what is open, then how the last fourteen days went (EXPERIENCE ST4, ST7)."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from payments.desk.charts import draw
from payments.desk.figures import read_figures
from payments.desk.pages import in_frame, staff_page
from payments.desk.panels import read_board


@staff_page("payments.view_payment")
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    figures = read_figures()
    context = in_frame(
        request,
        "Payments dashboard",
        board=read_board(),
        figures=figures,
        charts=[draw(figure) for figure in figures.all],
    )
    return render(request, "admin/desk/dashboard.html", context)
