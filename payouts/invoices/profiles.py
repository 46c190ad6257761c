"""Who the parties are: an affiliate's tax data, a program's merchant. Changes are audited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import FieldError, Invalid
from affiliate.people.models import Affiliate
from payouts.batches.approve import require_finance
from payouts.invoices.models import InvoiceIssuer, TaxProfile
from payouts.invoices.parties import MerchantData, TaxData, checked, checked_merchant


@dataclass(frozen=True, slots=True)
class Profile:
    """The live tax data of an affiliate."""

    id: int
    legal_form: str
    name: str
    address: str
    country: str
    tax_number: str
    vat_status: str
    vat_number: str
    vat_rate_ppm: int
    agreed_at: datetime


@dataclass(frozen=True, slots=True)
class Issuer:
    """The merchant of a program's invoices."""

    program_id: int
    name: str
    address: str
    country: str
    tax_number: str
    vat_number: str
    includes_vat: bool
    number_prefix: str
    automatic: bool
    saved_at: datetime


def set_tax_data(
    session: Session,
    *,
    affiliate_id: int,
    given: TaxData,
    agreed: bool,
    by_user_id: int,
    now: datetime,
) -> int:
    """Keep who the affiliate is to the tax office from now on; the row's id.

    Issued invoices keep what was true then. Equal data again changes nothing. Raises Invalid
    with every field that is wrong, `agreed` when they do not agree to self-billing.
    """
    clean, rate_ppm, errors = checked(given)
    if not agreed:
        errors.append(
            FieldError("agreed", "required", "Without your agreement nobody can bill for you.")
        )
    if errors:
        raise Invalid(errors=errors)
    # The affiliate's row serialises two changes at once: one live row each.
    session.execute(sa.select(Affiliate.id).where(Affiliate.id == affiliate_id).with_for_update())
    values = {
        "legal_form": clean.legal_form,
        "name": clean.name,
        "address": clean.address,
        "country": clean.country,
        "tax_number": clean.tax_number,
        "vat_status": clean.vat_status,
        "vat_number": clean.vat_number,
        "vat_rate_ppm": rate_ppm,
    }
    old = _live(session, affiliate_id)
    if old is not None and all(getattr(old, name) == value for name, value in values.items()):
        return old.id
    if old is not None:
        old.replaced_at = now
        session.flush()
    new = TaxProfile(
        affiliate_id=affiliate_id, agreed_at=now, agreed_by=by_user_id, created_at=now, **values
    )
    session.add(new)
    session.flush()
    # Names and numbers are personal: the log says which of them changed, the rows keep them.
    changed = [name for name, value in values.items() if getattr(old, name, None) != value]
    audit.record(
        session, actor=f"user:{by_user_id}", action="tax_data.change",
        subject=f"affiliate:{affiliate_id}", now=now, new={"profile": new.id, "changed": changed},
    )  # fmt: skip
    return new.id


def profile_of(session: Session, *, affiliate_id: int) -> Profile | None:
    """The live tax data, if any was given."""
    row = _live(session, affiliate_id)
    if row is None:
        return None
    return Profile(
        row.id, row.legal_form, row.name, row.address, row.country, row.tax_number,
        row.vat_status, row.vat_number, row.vat_rate_ppm, row.agreed_at,
    )  # fmt: skip


def set_issuer(
    session: Session,
    *,
    program_id: int,
    given: MerchantData,
    includes_vat: bool,
    automatic: bool,
    by_user_id: int,
    now: datetime,
) -> None:
    """Name the merchant of a program's invoices; from then on they can be issued.

    Raises NotFinance, Invalid with every field that is wrong.
    """
    require_finance(session, program_id=program_id, user_id=by_user_id)
    clean, errors = checked_merchant(given)
    if errors:
        raise Invalid(errors=errors)
    values = {
        "name": clean.name,
        "address": clean.address,
        "country": clean.country,
        "tax_number": clean.tax_number,
        "vat_number": clean.vat_number,
        "number_prefix": clean.number_prefix,
        "includes_vat": includes_vat,
        "automatic": automatic,
    }
    old = issuer_of(session, program_id=program_id)
    stamp = {"saved_by": by_user_id, "saved_at": now}
    session.execute(
        insert(InvoiceIssuer)
        .values(program_id=program_id, **values, **stamp)
        .on_conflict_do_update(index_elements=["program_id"], set_={**values, **stamp})
    )
    before = None if old is None else {name: getattr(old, name) for name in values}
    if before != values:
        audit.record(
            session, actor=f"user:{by_user_id}", action="invoice_issuer.change", old=before,
            new=values, subject=f"program:{program_id}", scope=program_id, now=now,
        )  # fmt: skip


def issuer_of(session: Session, *, program_id: int) -> Issuer | None:
    """The merchant of a program's invoices; none: the program issues none."""
    row = session.scalars(
        sa.select(InvoiceIssuer)
        .where(InvoiceIssuer.program_id == program_id)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return None
    return Issuer(
        row.program_id, row.name, row.address, row.country, row.tax_number, row.vat_number,
        row.includes_vat, row.number_prefix, row.automatic, row.saved_at,
    )  # fmt: skip


def _live(session: Session, affiliate_id: int) -> TaxProfile | None:
    return session.scalars(
        sa.select(TaxProfile)
        .where(TaxProfile.affiliate_id == affiliate_id, TaxProfile.replaced_at.is_(None))
        .execution_options(populate_existing=True)
    ).one_or_none()
