"""What both Django projects have in common: production, PostgreSQL, connections that stay.

MIDDLEWARE is what `django-admin startproject` writes (Django 5.2), which both peers' own
instructions build upon. DEBUG is off and nothing is logged per request.
"""

import os

SECRET_KEY = "the-peers-are-signed-with-this-0123456789-0123456789"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PEER_DATABASE_HOST"],
        "USER": os.environ["PEER_DATABASE_USER"],
        "NAME": os.environ["PEER_DATABASE_NAME"],
        # A connection stays open for good: one for each of the server's threads.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
    }
}
APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
