"""pinax-referrals as its documentation installs it.

- Only hosts that are named may be redirected to; the shop's is.
- The address is read from REMOTE_ADDR, because no proxy stands in front that would write
  X-Forwarded-For (the default), and an empty address would be less than Kopeck records.
- A visitor without a session gets one (`ensure_session_key`), a row in Django's session table
  as by default. Each click of the load is a new visitor, for Kopeck as well.
"""

import common

DEBUG = False
SECRET_KEY = common.SECRET_KEY
ALLOWED_HOSTS = common.ALLOWED_HOSTS
DATABASES = common.DATABASES
USE_TZ = True
INSTALLED_APPS = [*common.APPS, "django.contrib.sites", "pinax.referrals"]
MIDDLEWARE = [*common.MIDDLEWARE, "pinax.referrals.middleware.SessionJumpingMiddleware"]
ROOT_URLCONF = "pinax_project.urls"
SITE_ID = 1

PINAX_REFERRALS_ALLOWED_REDIRECT_HOSTS = ["shop.example"]
PINAX_REFERRALS_IP_ADDRESS_META_FIELD = "REMOTE_ADDR"
