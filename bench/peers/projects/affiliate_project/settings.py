"""django-affiliate-system as its README installs it, with the REST_FRAMEWORK of its config.py."""

import common

DEBUG = False
SECRET_KEY = common.SECRET_KEY
ALLOWED_HOSTS = common.ALLOWED_HOSTS
DATABASES = common.DATABASES
USE_TZ = True
INSTALLED_APPS = [*common.APPS, "rest_framework", "django_affiliate_system"]
MIDDLEWARE = [
    *common.MIDDLEWARE,
    "django_affiliate_system.middleware.AffiliateTrackingMiddleware",
]
ROOT_URLCONF = "affiliate_project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AFFILIATE_SYSTEM = {
    "DOMAIN_PROTOCOL": "https",
    "DOMAIN": "shop.example",
    "DEFAULT_COMMISSION_RATE": 10.0,
    "COOKIE_DURATION_DAYS": 30,
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    # The browsable pages are for developers; a production answers JSON.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
