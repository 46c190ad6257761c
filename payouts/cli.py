"""`kopeck audit` and `kopeck payouts …`."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from payouts.audit.lock import audit_and_lock
from payouts.audit.run import registered, run
from payouts.batches import fence, locks
from payouts.ledger.seals import kept
from payouts.provider import cli as provider_cli


@click.command("audit")
@click.option("--lock", "locks_payouts", is_flag=True, help="Lock payouts on a contradiction.")
@with_appcontext
def audit_command(locks_payouts: bool) -> None:
    """Recompute what books, commissions and payouts must agree on.

    Prints each check that does not hold with the rows that break it, and exits with 1 then.
    """
    checks = registered(current_app)
    with unit_of_work() as session:
        real_now = clock.real_now()
        if locks_payouts:
            now = clock.now(session)
            found = audit_and_lock(session, checks=checks, now=now, real_now=real_now)
        else:
            found = run(session, checks, real_now=real_now)
    for each in found:
        click.echo(str(each))
    click.echo(f"{len(checks)} checks, {len(found)} broken.")
    if found:
        raise SystemExit(1)


@click.group("payouts")
def payouts_group() -> None:
    """Lock and unlock payouts, compare them with the provider."""


@payouts_group.command("status")
@with_appcontext
def status_command() -> None:
    """Say whether payouts are locked, and why."""
    with unit_of_work() as session:
        found = locks.open_locks(session)
    for each in found:
        click.echo(f"{each.locked_at:%Y-%m-%d %H:%M} UTC  {each.sentence} {each.detail}")
    if not found:
        click.echo("Payouts are not locked.")


@payouts_group.command("lock")
@click.option("--why", required=True, help="Shown to whoever wants to approve.")
@with_appcontext
def lock_command(why: str) -> None:
    """Stop every payout until it is unlocked."""
    with unit_of_work() as session:
        locks.lock(session, reason=locks.LockReason.BY_HAND, detail=why, now=clock.now(session))
    click.echo("Payouts are locked.")


@payouts_group.command("unlock")
@click.option("--why", required=True, help="What was checked; stands in the audit log.")
@with_appcontext
@click.option(
    "--despite-differences",
    is_flag=True,
    help="Although the comparison with the provider is not clean, or cannot be made.",
)
def unlock_command(why: str, despite_differences: bool) -> None:
    """Lift every lock, once the provider's books are ours (docs/operations.md, "Restore").

    Each provider's list is compared first. While it differs, or nobody answers, nothing is
    unlocked: a payout that this database does not know would be made a second time.
    """
    settings: Settings = current_app.extensions["kopeck.settings"]
    if not provider_cli.compare_all() and not despite_differences:
        raise click.ClickException(
            "The payouts stay locked. Put right what is named above and accept it (kopeck "
            "payouts accept), or unlock with --despite-differences."
        )
    if despite_differences:
        why = f"Despite differences: {why}"
    with unit_of_work() as session:
        fence.lower_fence(session, settings.data_dir)
        kept.start_over(session, settings.data_dir)
        lifted = locks.unlock(session, by="cli", why=why, now=clock.now(session))
    click.echo(f"{lifted} lifted.")


for command in provider_cli.commands:
    payouts_group.add_command(command)

commands = [audit_command, payouts_group]
