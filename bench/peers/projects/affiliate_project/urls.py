"""The addresses of django-affiliate-system's README.

It names /affiliates/api/referral-actions/track/ for events, but the URLs that it includes
under affiliates/ have no api/ in them: the call is at /affiliates/referral-actions/track/.
"""

from django.urls import include, path
from django_affiliate_system.views import ReferralLinkRedirectView

urlpatterns = [
    path("affiliates/", include("django_affiliate_system.urls")),
    path("r/<slug:slug>/", ReferralLinkRedirectView.as_view(), name="referral-redirect"),
]
