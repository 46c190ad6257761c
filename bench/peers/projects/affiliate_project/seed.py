"""A rule, a link and affiliates: `python -m affiliate_project.seed CODE DESTINATION COUNT`.

The affiliates' codes are A1 … A<COUNT>; the link belongs to the first. One global rule for
purchases, 10 percent, so that each purchase has a commission, as the README sets it up.
"""

import sys

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 -- models need the set-up first
from django_affiliate_system.models import Affiliate, CommissionRule, ReferralLink  # noqa: E402

code, destination, count = sys.argv[1:]
users = get_user_model().objects
affiliates = [
    Affiliate.objects.create(
        user=users.create_user(f"bench-{number}", f"bench-{number}@blog.example"),
        code=f"A{number}",
    )
    for number in range(1, int(count) + 1)
]
ReferralLink.objects.create(affiliate=affiliates[0], slug=code, destination_url=destination)
CommissionRule.objects.create(
    name="Purchase", action_type="purchase", is_percentage=True, value=10, priority=1
)
