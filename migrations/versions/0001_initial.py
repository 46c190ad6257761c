"""The whole schema of the first release, and the triggers that keep the books append-only.

Why triggers: a rule version, a ledger entry or an audit line that some future code changes
by mistake must fail in the database, not in a review.
"""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None

TRIGGERS = (
    # Append-only tables: no update, no delete, no truncate.
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'table % is append-only', tg_table_name USING errcode = '23514';
    END $$
    """,
    *(
        f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """
        for table in ("ledger_transactions", "ledger_entries", "rule_versions", "audit_log")
    ),
    *(
        f"""
        CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """
        for table in ("ledger_transactions", "ledger_entries", "rule_versions", "audit_log")
    ),
    # All entries of a transaction come in one statement, and sum to zero in it. So the
    # check is set-based and immediate, and nothing can be added to a transaction later.
    """
    CREATE FUNCTION check_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE bad bigint;
    BEGIN
        SELECT transaction_id INTO bad FROM added
        GROUP BY transaction_id, currency HAVING sum(amount_micros) <> 0 LIMIT 1;
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION 'transaction % does not balance', bad USING errcode = '23514';
        END IF;
        SELECT a.transaction_id INTO bad
        FROM (SELECT transaction_id, count(*) AS lines FROM added GROUP BY 1) a
        WHERE a.lines <> (
            SELECT count(*) FROM ledger_entries e WHERE e.transaction_id = a.transaction_id
        ) LIMIT 1;
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION 'transaction % is closed', bad USING errcode = '23514';
        END IF;
        SELECT e.transaction_id INTO bad
        FROM added e JOIN ledger_accounts a ON a.id = e.account_id
        WHERE a.currency <> e.currency LIMIT 1;
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION 'transaction % mixes currencies', bad USING errcode = '23514';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION check_entries()
    """,
    # The click front reads links by change: a link changes too when its enrollment or
    # program does.
    """
    CREATE FUNCTION touch_link() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at := clock_timestamp();
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER links_touch BEFORE INSERT OR UPDATE ON links
    FOR EACH ROW EXECUTE FUNCTION touch_link()
    """,
    """
    CREATE FUNCTION touch_links_of_enrollment() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE links SET updated_at = clock_timestamp() WHERE enrollment_id = NEW.id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER enrollments_touch_links AFTER UPDATE OF status ON enrollments
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION touch_links_of_enrollment()
    """,
)


def upgrade() -> None:
    op.create_table('audit_log',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('scope', sa.BigInteger(), nullable=True),
    sa.Column('old', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('new', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('request_id', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_log'))
    )
    op.create_index('ix_audit_log_subject', 'audit_log', ['subject', 'id'], unique=False)
    op.create_table('clock_offset',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('seconds', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_clock_offset_single_row')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_clock_offset'))
    )
    op.create_table('ledger_transactions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('reference', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('recorded_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('reverses_id', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['reverses_id'], ['ledger_transactions.id'], name=op.f('fk_ledger_transactions_reverses_id_ledger_transactions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger_transactions')),
    sa.UniqueConstraint('reference', name=op.f('uq_ledger_transactions_reference')),
    sa.UniqueConstraint('reverses_id', name=op.f('uq_ledger_transactions_reverses_id'))
    )
    op.create_table('outbox_mails',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('recipient', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('html', sa.Text(), nullable=False),
    sa.Column('template', sa.Text(), nullable=False),
    sa.Column('one_time', sa.Boolean(), nullable=False),
    sa.Column('message_id', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('next_try_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('attempts', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox_mails'))
    )
    op.create_index('ix_outbox_mails_due', 'outbox_mails', ['next_try_at'], unique=False, postgresql_where=sa.text('sent_at IS NULL AND failed_at IS NULL'))
    op.create_table('payout_installation',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_payout_installation_single_row')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_installation'))
    )
    op.create_table('payout_locks',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('locked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('lifted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lifted_by', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_locks'))
    )
    op.create_index('uq_payout_locks_open', 'payout_locks', ['reason'], unique=True, postgresql_where=sa.text('lifted_at IS NULL'))
    op.create_table('payout_paces',
    sa.Column('rail', sa.Text(), nullable=False),
    sa.Column('next_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('rail', name=op.f('pk_payout_paces'))
    )
    op.create_table('programs',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('slug', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('summary', sa.Text(), server_default='', nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), server_default='open', nullable=False),
    sa.Column('closes_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('landing_url', sa.Text(), nullable=False),
    sa.Column('allowed_sites', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('auto_approve', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('rail', sa.Text(), server_default='manual', nullable=False),
    sa.Column('payout_weekday', sa.SmallInteger(), server_default='0', nullable=False),
    sa.Column('payout_hour', sa.SmallInteger(), server_default='9', nullable=False),
    sa.Column('time_zone', sa.Text(), server_default='UTC', nullable=False),
    sa.Column('contact_email', sa.Text(), server_default='', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f('ck_programs_currency_shape')),
    sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name=op.f('ck_programs_slug_shape')),
    sa.CheckConstraint("status IN ('open', 'closing', 'closed')", name=op.f('ck_programs_status_known')),
    sa.CheckConstraint('payout_hour BETWEEN 0 AND 23', name=op.f('ck_programs_hour_known')),
    sa.CheckConstraint('payout_weekday BETWEEN 0 AND 6', name=op.f('ck_programs_weekday_known')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_programs')),
    sa.UniqueConstraint('slug', name=op.f('uq_programs_slug'))
    )
    op.create_table('users',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('password', sa.Text(), nullable=True),
    sa.Column('active', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('fs_uniquifier', sa.Text(), nullable=False),
    sa.Column('confirmed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pending_email', sa.Text(), nullable=True),
    sa.Column('locale', sa.Text(), server_default='en', nullable=False),
    sa.Column('time_zone', sa.Text(), server_default='UTC', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('fs_uniquifier', name=op.f('uq_users_fs_uniquifier'))
    )
    op.create_index('uq_users_email', 'users', [sa.literal_column('lower(email)')], unique=True)
    op.create_table('affiliate_groups',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_affiliate_groups_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_affiliate_groups')),
    sa.UniqueConstraint('program_id', 'name', name=op.f('uq_affiliate_groups_program_id_name'))
    )
    op.create_table('affiliates',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('website', sa.Text(), server_default='', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_affiliates_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_affiliates')),
    sa.UniqueConstraint('user_id', name=op.f('uq_affiliates_user_id'))
    )
    op.create_table('api_keys',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('prefix', sa.Text(), nullable=False),
    sa.Column('secret_hash', sa.LargeBinary(), nullable=False),
    sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('created_by', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_api_keys_created_by_users')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_api_keys_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_keys')),
    sa.UniqueConstraint('prefix', name=op.f('uq_api_keys_prefix'))
    )
    op.create_table('customers',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('shop_id', sa.Text(), nullable=True),
    sa.Column('email_hash', sa.LargeBinary(), nullable=True),
    sa.Column('first_ordered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('imported_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_customers_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_customers')),
    sa.UniqueConstraint('program_id', 'shop_id', name=op.f('uq_customers_program_id_shop_id'))
    )
    op.create_index('ix_customers_email', 'customers', ['program_id', 'email_hash'], unique=False)
    op.create_table('grants',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=True),
    sa.Column('role', sa.Text(), nullable=False),
    sa.Column('granted_by', sa.BigInteger(), nullable=True),
    sa.Column('granted_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(role = 'owner') = (program_id IS NULL)", name=op.f('ck_grants_owner_has_all')),
    sa.CheckConstraint("role IN ('finance', 'curator', 'manager', 'analyst', 'owner')", name=op.f('ck_grants_role_known')),
    sa.ForeignKeyConstraint(['granted_by'], ['users.id'], name=op.f('fk_grants_granted_by_users')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_grants_program_id_programs')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_grants_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_grants'))
    )
    op.create_index('uq_grants_live', 'grants', ['user_id', 'program_id', 'role'], unique=True, postgresql_where=sa.text('revoked_at IS NULL'), postgresql_nulls_not_distinct=True)
    op.create_table('invitations',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=True),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('invited_by', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('accepted_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['invited_by'], ['users.id'], name=op.f('fk_invitations_invited_by_users')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_invitations_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitations')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_invitations_token_hash'))
    )
    op.create_table('parked_calls',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('order_id', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('call_id', sa.Text(), nullable=False),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('content_hash', sa.LargeBinary(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('applied_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('refused_reason', sa.Text(), nullable=True),
    sa.Column('expired_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("kind IN ('refund', 'confirmation', 'cancellation')", name=op.f('ck_parked_calls_kind_known')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_parked_calls_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_parked_calls')),
    sa.UniqueConstraint('program_id', 'order_id', 'kind', 'call_id', name=op.f('uq_parked_calls_program_id_order_id_kind_call_id'))
    )
    op.create_table('payout_periods',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('rail', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('drafted_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_payout_periods_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_periods')),
    sa.UniqueConstraint('program_id', 'currency', 'rail', 'key', name=op.f('uq_payout_periods_program_id_currency_rail_key'))
    )
    op.create_table('rule_versions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('terms', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('effective_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('announced_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('created_by', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_rule_versions_created_by_users')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_rule_versions_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rule_versions')),
    sa.UniqueConstraint('program_id', 'number', name=op.f('uq_rule_versions_program_id_number'))
    )
    op.create_index('ix_rule_versions_in_force', 'rule_versions', ['program_id', 'effective_at'], unique=False)
    op.create_table('user_sessions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('fresh_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_user_sessions_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_user_sessions')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_user_sessions_token_hash'))
    )
    op.create_index('ix_user_sessions_user_id', 'user_sessions', ['user_id'], unique=False)
    op.create_table('enrollments',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('affiliate_id', sa.BigInteger(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('group_id', sa.BigInteger(), nullable=True),
    sa.Column('recruiter_id', sa.BigInteger(), nullable=True),
    sa.Column('answers', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('applied_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('decided_by', sa.BigInteger(), nullable=True),
    sa.Column('decision_reason', sa.Text(), nullable=True),
    sa.CheckConstraint("status IN ('applied', 'active', 'rejected', 'suspended', 'closed')", name=op.f('ck_enrollments_status_known')),
    sa.CheckConstraint('recruiter_id <> id', name=op.f('ck_enrollments_not_own_recruiter')),
    sa.ForeignKeyConstraint(['affiliate_id'], ['affiliates.id'], name=op.f('fk_enrollments_affiliate_id_affiliates')),
    sa.ForeignKeyConstraint(['decided_by'], ['users.id'], name=op.f('fk_enrollments_decided_by_users')),
    sa.ForeignKeyConstraint(['group_id'], ['affiliate_groups.id'], name=op.f('fk_enrollments_group_id_affiliate_groups')),
    sa.ForeignKeyConstraint(['program_id', 'recruiter_id'], ['enrollments.program_id', 'enrollments.id'], name='fk_enrollments_recruiter_in_program'),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_enrollments_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_enrollments')),
    sa.UniqueConstraint('program_id', 'affiliate_id', name=op.f('uq_enrollments_program_id_affiliate_id')),
    sa.UniqueConstraint('program_id', 'id', name=op.f('uq_enrollments_program_id_id'))
    )
    op.create_index('ix_enrollments_affiliate_id', 'enrollments', ['affiliate_id'], unique=False)
    op.create_index('ix_enrollments_recruiter_id', 'enrollments', ['recruiter_id'], unique=False)
    op.create_table('orders',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('order_id', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('placed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('confirmed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('confirmed_by', sa.Text(), nullable=True),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('total_micros', sa.BigInteger(), nullable=False),
    sa.Column('discount_micros', sa.BigInteger(), nullable=False),
    sa.Column('tax_micros', sa.BigInteger(), nullable=False),
    sa.Column('tax_included', sa.Boolean(), nullable=False),
    sa.Column('shipping_micros', sa.BigInteger(), nullable=False),
    sa.Column('fees_micros', sa.BigInteger(), nullable=False),
    sa.Column('credits_micros', sa.BigInteger(), nullable=False),
    sa.Column('net_micros', sa.BigInteger(), nullable=False),
    sa.Column('refunded_micros', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('refunded_net_micros', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('items', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('coupon', sa.Text(), nullable=True),
    sa.Column('customer_id', sa.BigInteger(), nullable=True),
    sa.Column('subscription', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('details', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('content_hash', sa.LargeBinary(), nullable=False),
    sa.Column('evidence', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.CheckConstraint("source IN ('api', 'browser', 'webhook', 'csv')", name=op.f('ck_orders_source_known')),
    sa.CheckConstraint("status IN ('unconfirmed', 'confirmed', 'cancelled')", name=op.f('ck_orders_status_known')),
    sa.CheckConstraint('net_micros >= 0 AND net_micros <= total_micros', name=op.f('ck_orders_net_in_range')),
    sa.CheckConstraint('refunded_net_micros >= 0 AND refunded_net_micros <= net_micros', name=op.f('ck_orders_refund_in_net')),
    sa.CheckConstraint('total_micros >= 0 AND total_micros <= 1000000000000000000', name=op.f('ck_orders_total_in_range')),
    sa.ForeignKeyConstraint(['customer_id'], ['customers.id'], name=op.f('fk_orders_customer_id_customers')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_orders_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_orders')),
    sa.UniqueConstraint('program_id', 'order_id', name=op.f('uq_orders_program_id_order_id'))
    )
    op.create_index('ix_orders_customer', 'orders', ['customer_id'], unique=False)
    op.create_index('ix_orders_program_placed', 'orders', ['program_id', 'placed_at'], unique=False)
    op.create_table('payee_accounts',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('affiliate_id', sa.BigInteger(), nullable=False),
    sa.Column('rail', sa.Text(), nullable=False),
    sa.Column('destination', sa.Text(), nullable=False),
    sa.Column('ready_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('replaced_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['affiliate_id'], ['affiliates.id'], name=op.f('fk_payee_accounts_affiliate_id_affiliates')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payee_accounts'))
    )
    op.create_index('uq_payee_accounts_live', 'payee_accounts', ['affiliate_id', 'rail'], unique=True, postgresql_where=sa.text('replaced_at IS NULL'))
    op.create_table('payout_batches',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('period_id', sa.BigInteger(), nullable=True),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('rail', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('created_by', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('frozen_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('hash', sa.Text(), nullable=True),
    sa.Column('approved_by', sa.BigInteger(), nullable=True),
    sa.Column('approved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('approved_hash', sa.Text(), nullable=True),
    sa.Column('approved_total_micros', sa.BigInteger(), nullable=True),
    sa.Column('approved_count', sa.Integer(), nullable=True),
    sa.Column('approval_policy', sa.Text(), nullable=True),
    sa.Column('cancelled_by', sa.BigInteger(), nullable=True),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancel_reason', sa.Text(), nullable=True),
    sa.Column('done_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(kind = 'weekly') = (period_id IS NOT NULL)", name=op.f('ck_payout_batches_weekly_has_period')),
    sa.CheckConstraint("kind IN ('weekly', 'on_demand')", name=op.f('ck_payout_batches_kind_known')),
    sa.CheckConstraint("status IN ('draft', 'frozen', 'approved', 'paying', 'done', 'cancelled')", name=op.f('ck_payout_batches_status_known')),
    sa.CheckConstraint("status NOT IN ('approved', 'paying', 'done') OR (approved_at IS NOT NULL AND approved_hash IS NOT NULL AND approved_total_micros IS NOT NULL AND approved_count IS NOT NULL)", name=op.f('ck_payout_batches_approval_complete')),
    sa.ForeignKeyConstraint(['approved_by'], ['users.id'], name=op.f('fk_payout_batches_approved_by_users')),
    sa.ForeignKeyConstraint(['cancelled_by'], ['users.id'], name=op.f('fk_payout_batches_cancelled_by_users')),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_payout_batches_created_by_users')),
    sa.ForeignKeyConstraint(['period_id'], ['payout_periods.id'], name=op.f('fk_payout_batches_period_id_payout_periods')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_payout_batches_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_batches')),
    sa.UniqueConstraint('period_id', name=op.f('uq_payout_batches_period_id')),
    sa.UniqueConstraint('program_id', 'number', name=op.f('uq_payout_batches_program_id_number'))
    )
    op.create_table('batch_makers',
    sa.Column('batch_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('user_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('did', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['batch_id'], ['payout_batches.id'], name=op.f('fk_batch_makers_batch_id_payout_batches')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_batch_makers_user_id_users')),
    sa.PrimaryKeyConstraint('batch_id', 'user_id', name=op.f('pk_batch_makers'))
    )
    op.create_table('commissions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('reference', sa.Text(), nullable=False),
    sa.Column('decision', sa.Integer(), nullable=False),
    sa.Column('level', sa.SmallInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('via_enrollment_id', sa.BigInteger(), nullable=True),
    sa.Column('rule_version_id', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('base_micros', sa.BigInteger(), nullable=False),
    sa.Column('rate_ppm', sa.BigInteger(), nullable=True),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('reversed_micros', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('rule', sa.Text(), nullable=False),
    sa.Column('trace', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('earned_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('available_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('waits_for', sa.Text(), nullable=True),
    sa.Column('released_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('voided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('void_reason', sa.Text(), nullable=True),
    sa.CheckConstraint('(level = 2) = (via_enrollment_id IS NOT NULL)', name=op.f('ck_commissions_level_2_has_via')),
    sa.CheckConstraint('amount_micros >= 0', name=op.f('ck_commissions_amount_not_negative')),
    sa.CheckConstraint('enrollment_id <> via_enrollment_id', name=op.f('ck_commissions_not_via_self')),
    sa.CheckConstraint('level IN (1, 2)', name=op.f('ck_commissions_level_known')),
    sa.CheckConstraint('reversed_micros >= 0 AND reversed_micros <= amount_micros', name=op.f('ck_commissions_reversed_within')),
    sa.ForeignKeyConstraint(['enrollment_id'], ['enrollments.id'], name=op.f('fk_commissions_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_commissions_program_id_programs')),
    sa.ForeignKeyConstraint(['rule_version_id'], ['rule_versions.id'], name=op.f('fk_commissions_rule_version_id_rule_versions')),
    sa.ForeignKeyConstraint(['via_enrollment_id'], ['enrollments.id'], name=op.f('fk_commissions_via_enrollment_id_enrollments')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_commissions')),
    sa.UniqueConstraint('reference', 'level', 'enrollment_id', 'via_enrollment_id', 'decision', name='uq_commissions_once', postgresql_nulls_not_distinct=True)
    )
    op.create_index('ix_commissions_enrollment_id', 'commissions', ['enrollment_id', 'id'], unique=False)
    op.create_index('ix_commissions_to_release', 'commissions', ['available_at'], unique=False, postgresql_where=sa.text('released_at IS NULL AND voided_at IS NULL'))
    op.create_table('coupons',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('valid_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('code = upper(code)', name=op.f('ck_coupons_code_upper')),
    sa.ForeignKeyConstraint(['program_id', 'enrollment_id'], ['enrollments.program_id', 'enrollments.id'], name=op.f('fk_coupons_program_id_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_coupons_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_coupons')),
    sa.UniqueConstraint('program_id', 'code', name=op.f('uq_coupons_program_id_code'))
    )
    op.create_index('ix_coupons_enrollment_id', 'coupons', ['enrollment_id'], unique=False)
    op.create_table('decisions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('order_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('rule_version_id', sa.BigInteger(), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('shares', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('trace', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('snapshot', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('click_check_due_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('voided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('void_reason', sa.Text(), nullable=True),
    sa.CheckConstraint("outcome IN ('attributed', 'unattributed')", name=op.f('ck_decisions_outcome_known')),
    sa.ForeignKeyConstraint(['order_id'], ['orders.id'], name=op.f('fk_decisions_order_id_orders')),
    sa.ForeignKeyConstraint(['rule_version_id'], ['rule_versions.id'], name=op.f('fk_decisions_rule_version_id_rule_versions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions')),
    sa.UniqueConstraint('order_id', 'number', name=op.f('uq_decisions_order_id_number'))
    )
    op.create_index('ix_decisions_click_check', 'decisions', ['decided_at'], unique=False, postgresql_where=sa.text('click_check_due_at IS NOT NULL AND voided_at IS NULL'))
    op.create_index('uq_decisions_live', 'decisions', ['order_id'], unique=True, postgresql_where=sa.text('voided_at IS NULL'))
    op.create_table('ledger_accounts',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=True),
    sa.Column('rail', sa.Text(), nullable=True),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.CheckConstraint("(kind = 'cash') = (rail IS NOT NULL)", name=op.f('ck_ledger_accounts_rail_by_kind')),
    sa.CheckConstraint("(kind IN ('pending', 'available', 'in_payout')) = (enrollment_id IS NOT NULL)", name=op.f('ck_ledger_accounts_owner_by_kind')),
    sa.CheckConstraint("kind IN ('expense', 'cash', 'pending', 'available', 'in_payout')", name=op.f('ck_ledger_accounts_kind_known')),
    sa.ForeignKeyConstraint(['enrollment_id'], ['enrollments.id'], name=op.f('fk_ledger_accounts_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_ledger_accounts_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger_accounts')),
    sa.UniqueConstraint('program_id', 'enrollment_id', 'kind', 'rail', 'currency', name='uq_ledger_accounts_place', postgresql_nulls_not_distinct=True)
    )
    op.create_index('ix_ledger_accounts_enrollment_id', 'ledger_accounts', ['enrollment_id'], unique=False)
    op.create_table('links',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('vanity', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('destination', sa.Text(), nullable=False),
    sa.Column('s1', sa.Text(), nullable=True),
    sa.Column('s2', sa.Text(), nullable=True),
    sa.Column('s3', sa.Text(), nullable=True),
    sa.Column('s4', sa.Text(), nullable=True),
    sa.Column('s5', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("code ~ '^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$'", name=op.f('ck_links_code_shape')),
    sa.ForeignKeyConstraint(['program_id', 'enrollment_id'], ['enrollments.program_id', 'enrollments.id'], name=op.f('fk_links_program_id_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['program_id'], ['programs.id'], name=op.f('fk_links_program_id_programs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_links')),
    sa.UniqueConstraint('code', name=op.f('uq_links_code'))
    )
    op.create_index('ix_links_enrollment_id', 'links', ['enrollment_id'], unique=False)
    op.create_index('ix_links_updated_at', 'links', ['updated_at'], unique=False)
    op.create_index('uq_links_code_folded', 'links', [sa.literal_column('lower(code)')], unique=True, postgresql_where=sa.text('vanity'))
    op.create_table('order_reports',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('order_id', sa.BigInteger(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('reported_by', sa.Text(), nullable=False),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('content_hash', sa.LargeBinary(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['order_id'], ['orders.id'], name=op.f('fk_order_reports_order_id_orders')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_order_reports'))
    )
    op.create_index('ix_order_reports_order', 'order_reports', ['order_id'], unique=False)
    op.create_table('payout_items',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('batch_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('destination', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('reserve_transaction_id', sa.BigInteger(), nullable=True),
    sa.Column('settle_transaction_id', sa.BigInteger(), nullable=True),
    sa.Column('next_try_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('paid_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("status IN ('queued', 'sending', 'unknown', 'paid', 'failed', 'needs_review', 'cancelled', 'reversed')", name=op.f('ck_payout_items_status_known')),
    sa.CheckConstraint('amount_micros > 0', name=op.f('ck_payout_items_amount_positive')),
    sa.ForeignKeyConstraint(['batch_id'], ['payout_batches.id'], name=op.f('fk_payout_items_batch_id_payout_batches')),
    sa.ForeignKeyConstraint(['enrollment_id'], ['enrollments.id'], name=op.f('fk_payout_items_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['reserve_transaction_id'], ['ledger_transactions.id'], name=op.f('fk_payout_items_reserve_transaction_id_ledger_transactions')),
    sa.ForeignKeyConstraint(['settle_transaction_id'], ['ledger_transactions.id'], name=op.f('fk_payout_items_settle_transaction_id_ledger_transactions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_items')),
    sa.UniqueConstraint('batch_id', 'enrollment_id', name=op.f('uq_payout_items_batch_id_enrollment_id')),
    sa.UniqueConstraint('reserve_transaction_id', name=op.f('uq_payout_items_reserve_transaction_id')),
    sa.UniqueConstraint('settle_transaction_id', name=op.f('uq_payout_items_settle_transaction_id'))
    )
    op.create_index('ix_payout_items_enrollment_id', 'payout_items', ['enrollment_id'], unique=False)
    op.create_index('ix_payout_items_to_move', 'payout_items', ['next_try_at'], unique=False, postgresql_where=sa.text("status IN ('queued', 'sending', 'unknown')"))
    op.create_table('refunds',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('order_id', sa.BigInteger(), nullable=False),
    sa.Column('refund_id', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('net_micros', sa.BigInteger(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('content_hash', sa.LargeBinary(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('amount_micros > 0', name=op.f('ck_refunds_amount_positive')),
    sa.CheckConstraint('net_micros >= 0', name=op.f('ck_refunds_net_not_negative')),
    sa.ForeignKeyConstraint(['order_id'], ['orders.id'], name=op.f('fk_refunds_order_id_orders')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_refunds')),
    sa.UniqueConstraint('order_id', 'refund_id', name=op.f('uq_refunds_order_id_refund_id'))
    )
    op.create_table('commission_reversals',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('commission_id', sa.BigInteger(), nullable=False),
    sa.Column('reference', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('trace', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('reversed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('amount_micros >= 0', name=op.f('ck_commission_reversals_not_negative')),
    sa.ForeignKeyConstraint(['commission_id'], ['commissions.id'], name=op.f('fk_commission_reversals_commission_id_commissions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_commission_reversals')),
    sa.UniqueConstraint('commission_id', 'reference', name=op.f('uq_commission_reversals_commission_id_reference'))
    )
    op.create_table('ledger_balances',
    sa.Column('account_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['ledger_accounts.id'], name=op.f('fk_ledger_balances_account_id_ledger_accounts')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_ledger_balances'))
    )
    op.create_table('ledger_entries',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('transaction_id', sa.BigInteger(), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('amount_micros <> 0', name=op.f('ck_ledger_entries_not_zero')),
    sa.ForeignKeyConstraint(['account_id'], ['ledger_accounts.id'], name=op.f('fk_ledger_entries_account_id_ledger_accounts')),
    sa.ForeignKeyConstraint(['transaction_id'], ['ledger_transactions.id'], name=op.f('fk_ledger_entries_transaction_id_ledger_transactions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger_entries'))
    )
    op.create_index('ix_ledger_entries_account_id', 'ledger_entries', ['account_id', 'transaction_id'], unique=False)
    op.create_index('ix_ledger_entries_transaction_id', 'ledger_entries', ['transaction_id'], unique=False)
    op.create_table('payout_attempts',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('item_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('idempotency_key', sa.Text(), nullable=False),
    sa.Column('params', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('request_hash', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('destination', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('first_sent_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('tries', sa.Integer(), server_default='1', nullable=False),
    sa.Column('last_tried_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('transfer_id', sa.Text(), nullable=True),
    sa.Column('error_code', sa.Text(), nullable=True),
    sa.Column('error_text', sa.Text(), nullable=True),
    sa.Column('missed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("status IN ('sent', 'unknown', 'succeeded', 'failed')", name=op.f('ck_payout_attempts_status_known')),
    sa.ForeignKeyConstraint(['item_id'], ['payout_items.id'], name=op.f('fk_payout_attempts_item_id_payout_items')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_payout_attempts')),
    sa.UniqueConstraint('idempotency_key', name=op.f('uq_payout_attempts_idempotency_key')),
    sa.UniqueConstraint('item_id', 'number', name=op.f('uq_payout_attempts_item_id_number')),
    sa.UniqueConstraint('transfer_id', name=op.f('uq_payout_attempts_transfer_id'))
    )
    op.create_index('uq_payout_attempts_live', 'payout_attempts', ['item_id'], unique=True, postgresql_where=sa.text("status <> 'failed'"))
    op.create_table('withdrawals',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('requested_by', sa.BigInteger(), nullable=True),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('deadline_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('item_id', sa.BigInteger(), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.CheckConstraint('amount_micros > 0', name=op.f('ck_withdrawals_amount_positive')),
    sa.ForeignKeyConstraint(['enrollment_id'], ['enrollments.id'], name=op.f('fk_withdrawals_enrollment_id_enrollments')),
    sa.ForeignKeyConstraint(['item_id'], ['payout_items.id'], name=op.f('fk_withdrawals_item_id_payout_items')),
    sa.ForeignKeyConstraint(['requested_by'], ['users.id'], name=op.f('fk_withdrawals_requested_by_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_withdrawals')),
    sa.UniqueConstraint('item_id', name=op.f('uq_withdrawals_item_id'))
    )
    op.create_index('uq_withdrawals_open', 'withdrawals', ['enrollment_id', 'currency'], unique=True, postgresql_where=sa.text('closed_at IS NULL'))
    op.create_table('clicks',
    sa.Column('click_id', sa.Uuid(), nullable=False),
    sa.Column('clicked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('link_id', sa.BigInteger(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('visitor_id', sa.Uuid(), nullable=True),
    sa.Column('visitor_known', sa.Boolean(), nullable=False),
    sa.Column('is_unique', sa.Boolean(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('deep_link_refused', sa.Boolean(), nullable=False),
    sa.Column('address_hash', sa.Uuid(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('referrer', sa.Text(), nullable=False),
    sa.Column('deep_link', sa.Text(), nullable=True),
    sa.Column('s1', sa.Text(), nullable=True),
    sa.Column('s2', sa.Text(), nullable=True),
    sa.Column('s3', sa.Text(), nullable=True),
    sa.Column('s4', sa.Text(), nullable=True),
    sa.Column('s5', sa.Text(), nullable=True),
    sa.CheckConstraint("reason IN ('link_disabled', 'affiliate_inactive', 'program_closed', 'head_request', 'prefetch', 'framed', 'subresource', 'empty_agent', 'link_preview', 'bot', 'duplicate')", name=op.f('ck_clicks_reason_known')),
    sa.CheckConstraint('NOT (is_unique AND reason IS NOT NULL)', name=op.f('ck_clicks_unique_counts')),
    sa.PrimaryKeyConstraint('click_id', 'clicked_at', name=op.f('pk_clicks')),
    postgresql_partition_by='RANGE (clicked_at)'
    )
    op.create_index('ix_clicks_enrollment_id_clicked_at', 'clicks', ['enrollment_id', 'clicked_at'], unique=False)
    op.create_index('ix_clicks_link_id_clicked_at', 'clicks', ['link_id', 'clicked_at'], unique=False)
    op.create_index('ix_clicks_visitor_id_clicked_at', 'clicks', ['visitor_id', 'clicked_at'], unique=False, postgresql_where=sa.text('visitor_id IS NOT NULL'))
    op.create_table('click_segments',
    sa.Column('segment', sa.Text(), nullable=False),
    sa.Column('node', sa.Text(), nullable=False),
    sa.Column('loaded_offset', sa.BigInteger(), nullable=False),
    sa.Column('clicks', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('loaded_offset >= 0', name=op.f('ck_click_segments_offset_not_negative')),
    sa.PrimaryKeyConstraint('segment', name=op.f('pk_click_segments'))
    )
    op.create_table('click_spill',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('record', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_click_spill'))
    )
    op.create_table('click_quarantine',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('segment', sa.Text(), nullable=False),
    sa.Column('segment_offset', sa.BigInteger(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.Column('found_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("reason IN ('foreign', 'torn', 'unknown_version', 'unreadable', 'unknown_link')", name=op.f('ck_click_quarantine_reason_known')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_click_quarantine')),
    sa.UniqueConstraint('segment', 'segment_offset', name=op.f('uq_click_quarantine_segment_segment_offset'))
    )
    op.create_table('link_days',
    sa.Column('link_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('clicks', sa.BigInteger(), nullable=False),
    sa.Column('uniques', sa.BigInteger(), nullable=False),
    sa.Column('duplicates', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('uniques <= clicks AND uniques >= 0', name=op.f('ck_link_days_uniques_within_clicks')),
    sa.PrimaryKeyConstraint('link_id', 'day', name=op.f('pk_link_days'))
    )
    op.create_index('ix_link_days_enrollment_id_day', 'link_days', ['enrollment_id', 'day'], unique=False)
    op.create_index('ix_link_days_program_id_day', 'link_days', ['program_id', 'day'], unique=False)
    op.create_table('link_day_drops',
    sa.Column('link_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('program_id', sa.BigInteger(), nullable=False),
    sa.Column('enrollment_id', sa.BigInteger(), nullable=False),
    sa.Column('clicks', sa.BigInteger(), nullable=False),
    sa.CheckConstraint("reason IN ('link_disabled', 'affiliate_inactive', 'program_closed', 'head_request', 'prefetch', 'framed', 'subresource', 'empty_agent', 'link_preview', 'bot', 'duplicate')", name=op.f('ck_link_day_drops_reason_known')),
    sa.PrimaryKeyConstraint('link_id', 'day', 'reason', name=op.f('pk_link_day_drops'))
    )
    op.create_table('link_day_visitors',
    sa.Column('link_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('visitor_key', sa.Uuid(), nullable=False),
    sa.Column('last_ms', sa.BigInteger(), nullable=False),
    sa.Column('previous_ms', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('link_id', 'day', 'visitor_key', name=op.f('pk_link_day_visitors'))
    )
    # Months are made ahead by tracker.clicks.partitions; the rest lies in the default.
    op.execute('CREATE TABLE clicks_default PARTITION OF clicks DEFAULT')
    for statement in TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the first migration is not undone: drop the database instead")
