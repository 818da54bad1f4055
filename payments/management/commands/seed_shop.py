"""`manage.py seed_shop`: products to sell and somebody to look after them. A second run changes nothing."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from shop.env import env
from shop.models import Product


@dataclass(frozen=True)
class Seed:
    """`price_minor` in pence. The slug names the picture: static/img/products/<slug>.svg."""

    sku: str
    slug: str
    name: str
    price_minor: int
    stock: int
    summary: str
    description: str


SEEDS = [
    Seed(
        "NB-A5-DOT", "dotted-notebook-a5", "Dotted notebook A5", 1400, 640, "192 pages that lie flat",
        "Thread-sewn, so it opens flat from the first page to the last. 100 g paper that takes a fountain pen without"
        " showing it on the other side. Numbered pages, an index, and a ribbon.",
    ),
    Seed(
        "NB-A4-RUL", "ruled-notebook-a4", "Ruled notebook A4", 1850, 120, "Wire-bound, 160 pages",
        "Ruled at 8 mm with a margin, perforated so that a page leaves cleanly. The wire folds right back, which saves"
        " half the desk.",
    ),
    Seed(
        "NB-POCKET-3", "pocket-notebooks", "Pocket notebooks, set of three", 900, 800, "48 pages each, squared",
        "Three thin books for a coat pocket, stapled, with rounded corners that stay round. One for lists, one for"
        " ideas, one to give away.",
    ),
    Seed(
        "PEN-FOUNT-F", "fountain-pen", "Fountain pen, fine nib", 3200, 24, "Steel nib, piston filler",
        "Holds enough ink for about forty pages. The cap screws on and seals, so that the first word on Monday writes"
        " as well as the last one on Friday.",
    ),
    Seed(
        "PEN-BRASS", "brass-ballpoint", "Brass ballpoint pen", 2400, 60, "Solid brass, takes standard refills",
        "Turned from one piece of brass, 38 g, and bare: it darkens where you hold it. Comes with a blue refill and"
        " takes any of the common long ones.",
    ),
    Seed(
        "PCL-HB-6", "graphite-pencils", "Graphite pencils, box of six", 750, 500, "HB, cedar wood",
        "Six pencils of cedar that sharpen to a long point. Lacquered in four colours, so that a borrowed one finds its"
        " way back.",
    ),
    Seed(
        "INK-BB-50", "blue-black-ink", "Blue-black ink, 50 ml", 1100, 45, "Dries in seconds, keeps for decades",
        "Writes blue and turns a deep blue-black as it dries. For every fountain pen; washes off fingers, but not off"
        " paper.",
    ),
    Seed(
        "LMP-OAK", "oak-desk-lamp", "Oak desk lamp", 8900, 12, "Warm light, two joints",
        "A shade of powder-coated steel on an oiled oak arm. 6 W, 2700 K, dimmable, with a cloth cable of two metres."
        " The LED can be replaced, and so can every other part.",
    ),
    Seed(
        "TRY-OAK", "oak-desk-tray", "Oak desk tray", 3600, 18, "Oiled oak, 34 × 24 cm",
        "For what has no place: letters, cables, the pen of the day. Finger-jointed corners, and felt feet that do not"
        " mark the desk.",
    ),
    Seed(
        "POT-STONE", "stoneware-pen-pot", "Stoneware pen pot", 1600, 3, "Thrown by hand in a small workshop",
        "Speckled stoneware, glazed at the rim, heavy enough to stand when it is full of scissors. No two are quite the"
        " same size: about 10 cm tall.",
    ),
    Seed(
        "MAT-FELT", "felt-desk-mat", "Felt desk mat", 4200, 30, "Wool felt, 80 × 35 cm",
        "5 mm of pressed wool felt that warms a cold desk and quietens a loud keyboard. A mouse runs well on it. Brush"
        " it off now and then.",
    ),
    Seed(
        "CAL-PERP", "perpetual-calendar", "Perpetual desk calendar", 2900, 0, "Two blocks and three bars",
        "Turn the blocks every morning: it is right in every year. Oak stand, printed beech blocks.",
    ),
    Seed(
        "TAP-WASHI-5", "washi-tape", "Paper tape, set of five", 800, 75, "15 mm × 10 m, five colours",
        "Washi tape that sticks to paper, walls and glass and comes off without a trace. Tears straight by hand.",
    ),
    Seed(
        "LET-SET", "letter-set", "Letter paper and envelopes", 1550, 90, "20 sheets, 20 envelopes",
        "Laid paper with a deckle edge and envelopes lined in tissue. For the letters one means.",
    ),
    Seed(
        "SCI-18", "paper-scissors", "Paper scissors, 18 cm", 1900, 33, "Forged steel, for either hand",
        "Blades of forged stainless steel, screwed and not riveted, so that they can be sharpened. Cut paper, card and"
        " parcel tape.",
    ),
    Seed(
        "SHP-BRASS", "brass-sharpener", "Brass sharpener", 600, 210, "Two sizes, spare blade inside",
        "Milled from a block of brass, for pencils of 8 and 11 mm. The blades are held by one screw; a spare is under"
        " the other.",
    ),
    Seed(
        "STK-76", "sticky-notes", "Sticky notes, 300 sheets", 450, 1000, "76 × 76 mm, recycled paper",
        "The plain kind that stays where it was put and leaves nothing behind. Three pads in one colour, because one"
        " is enough.",
    ),
    Seed(
        "CLP-BULL-12", "bulldog-clips", "Bulldog clips, set of twelve", 550, 160, "Sprung steel, 32 mm",
        "Hold forty sheets each, a bag of coffee, or the cable that keeps falling behind the desk. Four colours.",
    ),
]  # fmt: skip


class Command(BaseCommand):
    help = "Products to sell, and in development a member of staff. What is there stays as it is, stock above all."

    def handle(self, *args: Any, **options: Any) -> None:
        made = sum(_sow(position, seed) for position, seed in enumerate(SEEDS, start=1))
        staff = _staff()
        self.stdout.write(f"seed_shop: {made} of {len(SEEDS)} products added, {staff}")


def _sow(position: int, seed: Seed) -> bool:
    """Whether the product is new. One that exists is left alone: its stock is what shoppers have left."""
    _, is_new = Product.objects.get_or_create(
        sku=seed.sku,
        defaults={
            "slug": seed.slug,
            "name": seed.name,
            "price_minor": seed.price_minor,
            "currency": "GBP",
            "stock": seed.stock,
            "summary": seed.summary,
            "description": seed.description,
            "position": position,
        },
    )
    return is_new


def _staff() -> str:
    """A superuser from STAFF_USERNAME and STAFF_PASSWORD, in development only. Says what was done."""
    username, password = env.str("STAFF_USERNAME", "staff"), env.str("STAFF_PASSWORD", "")
    if not settings.DEBUG:
        return "no staff (that is for development: use createsuperuser)"
    users = get_user_model().objects
    found = users.filter(username=username).first()
    if found is None:
        if not password:
            raise CommandError("seed_shop: set STAFF_PASSWORD (and STAFF_USERNAME, else it is staff)")
        users.create_superuser(username, f"{username}@payonce.example", password)
        return f"staff {username!r} added"
    if not password or found.check_password(password):
        return f"staff {username!r} was there"
    found.set_password(password)
    found.save(update_fields=["password"])
    return f"staff {username!r} has the password given"
