"""/r/<code>/ is pinax-referrals' `process_referral`."""

from django.urls import include, path

urlpatterns = [path("r/", include("pinax.referrals.urls", namespace="pinax_referrals"))]
