"""Referral links, their codes and coupons."""
