"""The catalog of the demo: its categories, tags and saved audiences, as plain frozen values.

The fields are those of `DefineTagInput` in snake case, rules are texts in the audience language.
What the data says is in `completejourney.py`; each tag is described for readers in `docs/demo-data.md`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["FLAG", "CHOICE", "CHOICES", "NUMBER", "DATE", "EVENT"]
Origin = Literal["DECLARED", "STATISTICAL", "RULE", "MINED"]
Sensitivity = Literal["PUBLIC", "INTERNAL", "PERSONAL", "RESTRICTED"]
Precision = Literal["DAY", "SECOND"]


@dataclass(frozen=True, slots=True)
class Category:
    """A shelf to define; `parent` is the key of the shelf above, which comes earlier."""

    key: str
    name: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tag to define. `values` None: open. `rule` is in the audience language, `valid_for` an ISO 8601 duration."""

    key: str
    name: str
    kind: Kind
    category: str
    definition: str
    values: tuple[str, ...] | None = None
    hierarchical: bool = False
    scale: int = 0
    precision: Precision = "SECOND"
    rule: str | None = None
    valid_for: str | None = None
    origin: Origin = "STATISTICAL"
    sensitivity: Sensitivity = "INTERNAL"
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """An audience to save; `text` is in the audience language."""

    key: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything to define before the files are imported, each after what it refers to."""

    categories: tuple[Category, ...]
    tags: tuple[Tag, ...]
    audiences: tuple[Audience, ...]


UNLISTED = "UNLISTED"
"""The value of `purchase` for lines whose product is not in the product list, so has no known department."""

# fmt: off
DEPARTMENTS = (
    "AUTOMOTIVE", "CHARITABLE CONT", "CHEF SHOPPE", "CNTRL/STORE SUP", "COSMETICS", "COUPON", "DELI", "DRUG GM",
    "ELECT &PLUMBING", "FLORAL", "FROZEN GROCERY", "FUEL", "GARDEN CENTER", "GM MERCH EXP", "GROCERY", "HOUSEWARES",
    "MEAT", "MEAT-PCKGD", "MISCELLANEOUS", "NUTRITION", "PASTRY", "PHOTO & VIDEO", "POSTAL CENTER",
    "PROD-WHS SALES", "PRODUCE", "RESTAURANT", "SALAD BAR", "SEAFOOD", "SEAFOOD-PCKGD", "SPIRITS", "TOYS",
    "TRAVEL & LEISURE",
)
# fmt: on
CAMPAIGNS = tuple(str(number) for number in range(1, 28))

CATEGORIES = (
    Category("household", "Household"),
    Category("demographics", "Demographics", "household"),
    Category("person", "Person", "demographics"),
    Category("home", "Home", "demographics"),
    Category("shopping", "Shopping"),
    Category("value", "Value", "shopping"),
    Category("habits", "Habits", "shopping"),
    Category("assortment", "Assortment", "shopping"),
    Category("marketing", "Marketing"),
    Category("campaigns", "Campaigns", "marketing"),
    Category("response", "Response", "marketing"),
    Category("groups", "Groups by rule"),
    Category("lifecycle", "Life cycle", "groups"),
    Category("worth", "Worth", "groups"),
    Category("taste", "Taste", "groups"),
)


def _demographic(key: str, name: str, category: str, definition: str, values: tuple[str, ...]) -> Tag:
    return Tag(
        key=key,
        name=name,
        kind="CHOICE",
        category=category,
        definition=definition,
        values=values,
        origin="DECLARED",
        sensitivity="PERSONAL",
        owner="research",
    )


def _number(key: str, name: str, category: str, definition: str, scale: int = 0) -> Tag:
    return Tag(
        key=key, name=name, kind="NUMBER", category=category, definition=definition, scale=scale, owner="analytics"
    )


def _rule(key: str, name: str, category: str, definition: str, rule: str) -> Tag:
    return Tag(
        key=key,
        name=name,
        kind="FLAG",
        category=category,
        definition=definition,
        rule=rule,
        origin="RULE",
        owner="marketing",
    )


HOUSEHOLD_TAGS = (
    _demographic(
        "age",
        "Age",
        "person",
        "Age range of the head of the household, in years.",
        ("19-24", "25-34", "35-44", "45-54", "55-64", "65+"),
    ),
    _demographic(
        "income",
        "Income",
        "person",
        "Yearly income range of the household, in US dollars.",
        (
            "Under 15K",
            "15-24K",
            "25-34K",
            "35-49K",
            "50-74K",
            "75-99K",
            "100-124K",
            "125-149K",
            "150-174K",
            "175-199K",
            "200-249K",
            "250K+",
        ),
    ),
    _demographic(
        "marital_status", "Marital status", "person", "Marital status, where it is known.", ("Married", "Unmarried")
    ),
    _demographic(
        "home_ownership",
        "Home ownership",
        "home",
        "Whether the home is owned or rented, where it is known or probable.",
        ("Homeowner", "Probable Homeowner", "Renter", "Probable Renter"),
    ),
    _demographic("household_size", "Household size", "home", "People in the household.", ("1", "2", "3", "4", "5+")),
    _demographic(
        "household_comp",
        "Household composition",
        "home",
        "How many adults, and whether there are children.",
        ("1 Adult No Kids", "1 Adult Kids", "2 Adults No Kids", "2 Adults Kids"),
    ),
    _demographic("kids_count", "Children", "home", "Children in the household.", ("0", "1", "2", "3+")),
    Tag(
        key="surveyed",
        name="Demographics known",
        kind="FLAG",
        category="home",
        definition="The household is in the demographics file (801 of 2,469 are).",
        owner="research",
    ),
)

SHOPPING_TAGS = (
    _number("spend", "Spend", "value", "Money paid over all purchase lines, in dollars.", scale=2),
    _number("average_basket", "Average basket", "value", "Spend by visit, in dollars, rounded half up.", scale=2),
    _number("largest_basket", "Largest basket", "value", "The most paid in one visit, in dollars.", scale=2),
    _number(
        "discount_total",
        "Discounts",
        "value",
        "Card, coupon and matched-coupon discounts, in dollars.",
        scale=2,
    ),
    _number("coupon_savings", "Coupon savings", "value", "Coupon and matched-coupon discounts, in dollars.", scale=2),
    _number("visits", "Visits", "habits", "Distinct baskets."),
    _number("lines", "Purchase lines", "habits", "Lines on all receipts."),
    Tag(
        key="first_purchase",
        name="First purchase",
        kind="DATE",
        precision="DAY",
        category="habits",
        definition="The day (UTC) of the first purchase line.",
        owner="analytics",
    ),
    Tag(
        key="last_purchase",
        name="Last purchase",
        kind="DATE",
        precision="SECOND",
        category="habits",
        definition="The moment of the last purchase line.",
        owner="analytics",
    ),
    Tag(
        key="purchase",
        name="Purchases",
        kind="EVENT",
        category="assortment",
        definition="A purchase line in a department; counted by line, not by quantity.",
        values=(*DEPARTMENTS, UNLISTED),
        owner="analytics",
    ),
    Tag(
        key="departments",
        name="Departments",
        kind="CHOICES",
        category="assortment",
        definition="Every department with at least one purchase line.",
        values=DEPARTMENTS,
        owner="analytics",
    ),
    Tag(
        key="products",
        name="Products",
        kind="CHOICES",
        category="assortment",
        hierarchical=True,
        definition='Department / product category of every line; a slash inside a name is written " & " here.',
        owner="analytics",
    ),
    _number("distinct_products", "Distinct products", "assortment", "Different products bought."),
    _number(
        "private_label_share",
        "Private label share",
        "assortment",
        "Lines of private-label products among the lines whose brand is known, in percent, rounded half up.",
        scale=1,
    ),
)

MARKETING_TAGS = (
    Tag(
        key="campaign",
        name="Campaigns received",
        kind="CHOICES",
        category="campaigns",
        definition="The number of every campaign the household received.",
        values=CAMPAIGNS,
        owner="marketing",
    ),
    Tag(
        key="campaign_type",
        name="Campaign types received",
        kind="CHOICES",
        category="campaigns",
        definition="The types of the campaigns the household received.",
        values=("Type A", "Type B", "Type C"),
        owner="marketing",
    ),
    Tag(
        key="running_campaign",
        name="Running campaigns",
        kind="CHOICES",
        category="campaigns",
        definition="Campaigns received that have not ended; each membership expires after the campaign's last day.",
        values=CAMPAIGNS,
        owner="marketing",
    ),
    Tag(
        key="redeemed",
        name="Coupon redemptions",
        kind="EVENT",
        category="response",
        definition="A coupon redeemed, by the number of its campaign.",
        values=CAMPAIGNS,
        owner="marketing",
    ),
    Tag(
        key="redeemer",
        name="Redeemer",
        kind="FLAG",
        category="response",
        definition="Redeemed at least one campaign coupon.",
        owner="marketing",
    ),
    Tag(
        key="coupon_user",
        name="Coupon user",
        kind="FLAG",
        category="response",
        definition="Has at least one purchase line with a coupon discount.",
        owner="marketing",
    ),
    Tag(
        key="newsletter",
        name="Newsletter",
        kind="FLAG",
        category="response",
        definition="Asked for the newsletter; nobody has at the start: it is there to try out writes.",
        origin="DECLARED",
        valid_for="P365D",
        owner="marketing",
    ),
)

RULE_TAGS = (
    _rule(
        "regular",
        "Regular",
        "lifecycle",
        "Buys weekly on average, and did in the last 30 days.",
        "visits >= 52 and purchase within P30D",
    ),
    _rule("newcomer", "Newcomer", "lifecycle", "First seen in the last 180 days.", "first_purchase within P180D"),
    _rule(
        "cooling",
        "Cooling down",
        "lifecycle",
        "Bought 60 to 30 days ago and not since.",
        "purchase within P60D skip P30D and not purchase within P30D",
    ),
    _rule("lapsed", "Lapsed", "lifecycle", "Nothing bought in 30 days.", "purchase and not purchase within P30D"),
    _rule("big_spender", "Big spender", "worth", "Spent 5,000 dollars or more.", "spend >= 5000"),
    _rule(
        "win_back",
        "Worth winning back",
        "worth",
        "Spent 1,000 dollars or more, then lapsed.",
        "lapsed and spend >= 1000",
    ),
    _rule(
        "bargain_hunter",
        "Bargain hunter",
        "worth",
        "Saved 50 dollars or more by coupons, or redeemed one in 60 days.",
        "coupon_savings >= 50 or redeemed within P60D",
    ),
    _rule(
        "recent_fresh",
        "Fresh food lately",
        "taste",
        "Three or more lines of produce in the last 30 days.",
        'purchase["PRODUCE"] times 3 within P30D',
    ),
    _rule(
        "full_cart",
        "Full cart",
        "taste",
        "Buys in at least four of five fresh departments.",
        '4 of (departments in ("PRODUCE"), departments in ("MEAT"), departments in ("DELI"),'
        ' departments in ("PASTRY"), departments in ("SEAFOOD"))',
    ),
    _rule(
        "private_label_fan",
        "Private label fan",
        "taste",
        "40 % or more of the lines are private label.",
        "private_label_share >= 40",
    ),
)

AUDIENCES = (
    Audience("families", "Families with children", 'kids_count in ("1", "2", "3+")'),
    Audience("loyal-produce", "Loyal to produce", 'regular and purchase["PRODUCE"] times 10 within P90D'),
    Audience("campaign-18-silent", "Campaign 18, no redemption", 'campaign in ("18") and not redeemed in ("18")'),
    Audience("quiet-families", "Families gone quiet", "@families and (cooling or lapsed)"),
    Audience(
        "young-owners",
        "Young home owners",
        'age in ("19-24", "25-34") and home_ownership in ("Homeowner", "Probable Homeowner")',
    ),
)

DEFINITIONS = Definitions(
    categories=CATEGORIES,
    tags=HOUSEHOLD_TAGS + SHOPPING_TAGS + MARKETING_TAGS + RULE_TAGS,
    audiences=AUDIENCES,
)
"""The demo's catalog; define categories, then tags, then audiences, each in this order."""
