"""One referral link of one user: `python -m pinax_project.seed CODE DESTINATION`."""

import sys

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 -- models need the set-up first
from pinax.referrals.models import Referral  # noqa: E402

code, destination = sys.argv[1:]
user = get_user_model().objects.create_user("bench", "bench@blog.example")
Referral.objects.create(user=user, code=code, redirect_to=destination)
