"""Signed, at least once, in order for each object, retried for days, and never to a dead end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
import sqlalchemy as sa
from served import serving
from standardwebhooks import Webhook, WebhookVerificationError
from told import Told, real_now
from world import World

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import session_for
from affiliate.core.errors import NotFound
from affiliate.core.outbox import Mail
from affiliate.webhooks import claim as claiming
from affiliate.webhooks import deliver, endpoints, keeping, keys, metrics, rules
from affiliate.webhooks.again import send_again, send_failed_again
from affiliate.webhooks.endpoints import EndpointDisabled, Owner
from affiliate.webhooks.models import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from affiliate.webhooks.rules import ATTEMPTS_MAX, RETRY_PAUSES_S
from tests.desks.staff import hire


def sold(world: World, told: Told, *types: str) -> tuple[WebhookEndpoint, str]:
    """An endpoint and one event that waits for it."""
    made = told.endpoint(*(types or ("order.created",)))
    if "Anna" not in world.people:
        world.affiliate("Anna")
    world.sale("Anna", "100.00")
    return made


def at(told: Told) -> WebhookEndpoint:
    told.world.session.expire_all()
    return told.world.session.scalars(sa.select(WebhookEndpoint)).one()


def test_a_message_verifies_with_the_librarys_own_verifier(world: World, told: Told) -> None:
    _endpoint, secret = sold(world, told)
    assert secret.startswith("whsec_")
    assert told.deliver() == 1
    [request] = told.requests
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "order.created"
    assert request.method == "POST" and request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(rules.new_secret()).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body + " ", request.headers)
    [delivery] = told.deliveries()
    assert delivery.delivered_at is not None and told.deliver() == 0


def test_for_a_day_after_a_rotation_both_secrets_verify(world: World, told: Told) -> None:
    endpoint, old = sold(world, told)
    with world.app.app_context():
        new = endpoints.rotate_secret(
            world.session, owner=told.owner, endpoint_id=endpoint.id, settings=world.settings,
            actor="test", now=world.now,
        )  # fmt: skip
        world.session.commit()
    told.deliver()
    told.later(hours=23, minutes=59)
    world.sale("Anna", "200.00")
    told.deliver()
    told.later(minutes=2)
    world.sale("Anna", "300.00")
    told.deliver()
    first, second, third = told.requests
    for request in (first, second):
        assert len(request.headers["webhook-signature"].split(" ")) == 2
        for secret in (old, new):
            Webhook(secret).verify(request.body, request.headers)
    Webhook(new).verify(third.body, third.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(third.body, third.headers)


@pytest.mark.parametrize("status", [100 + 99, 300, 302, 400, 401, 404, 429, 500, 503])
def test_what_is_not_2xx_is_tried_again_with_the_same_id(
    world: World, told: Told, status: int
) -> None:
    sold(world, told)
    told.status = 400 if status == 199 else status
    told.deliver()
    [delivery] = told.deliveries()
    assert (delivery.delivered_at, delivery.attempts) == (None, 1)
    told.status = 204
    told.answer = b""
    told.later(seconds=6)
    assert told.deliver() == 1
    first, second = told.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert told.deliveries()[0].delivered_at is not None


def test_a_delivery_is_tried_as_the_specification_recommends_and_then_given_up(
    world: World, told: Told
) -> None:
    sold(world, told)
    told.status = 500
    pauses = []
    for _ in range(ATTEMPTS_MAX):
        assert told.deliver() == 1
        [delivery] = told.deliveries()
        pauses.append(round((delivery.next_try_at - real_now()).total_seconds()))
        told.later(seconds=max(RETRY_PAUSES_S))
        at(told).failing_since = None  # Days of failing are another test.
        world.session.commit()
    assert pauses[:-1] == pytest.approx(RETRY_PAUSES_S, abs=2)
    assert sum(RETRY_PAUSES_S) > 3 * 86_400
    [delivery] = told.deliveries()
    assert delivery.given_up_at is not None and told.deliver() == 0
    attempts = world.session.scalars(sa.select(WebhookAttempt)).all()
    assert [(each.status, each.answer) for each in attempts] == [(500, "thanks")] * ATTEMPTS_MAX


def test_a_receiver_may_ask_for_a_longer_pause_and_never_for_a_shorter(
    world: World, told: Told
) -> None:
    sold(world, told)
    told.status, told.answer_headers = 429, {"Retry_After": "120"}
    told.deliver()
    [delivery] = told.deliveries()
    assert (delivery.next_try_at - real_now()).total_seconds() == pytest.approx(120, abs=3)
    told.answer_headers = {"Retry_After": "1"}
    told.later(seconds=120)
    told.deliver()
    [delivery] = told.deliveries()
    assert (delivery.next_try_at - real_now()).total_seconds() == pytest.approx(300, abs=3)


def test_what_happens_to_one_order_waits_for_what_happened_before(world: World, told: Told) -> None:
    told.endpoint("order.created", "order.cancelled")
    world.affiliate("Anna")
    told.status = 500
    one, other = world.sale("Anna", "100.00"), world.sale("Anna", "200.00")
    told.deliver()
    world.cancel(one)
    told.later(seconds=6)
    told.status = 200
    told.requests.clear()
    told.deliver()
    told.later(seconds=6)
    told.deliver()
    of_one = [
        request.message["type"] for request in told.requests
        if request.message["data"]["order_id"] == one.order_id
    ]  # fmt: skip
    assert of_one == ["order.created", "order.cancelled"]
    assert other.order_id in {request.message["data"]["order_id"] for request in told.requests}


def test_what_waits_behind_a_failed_delivery_is_due_with_it_and_goes_right_after_it(
    world: World, told: Told
) -> None:
    """Else each claim reads past all that is due and may not go."""
    told.endpoint("order.created", "order.cancelled")
    world.affiliate("Anna")
    order = world.sale("Anna", "100.00")
    world.cancel(order)
    told.status = 500
    told.deliver()
    first, second = told.deliveries()
    assert (first.attempts, second.attempts) == (1, 0)
    assert first.next_try_at == second.next_try_at > clock.real_now()
    told.status = 200
    told.later(seconds=6)
    assert told.deliver() == 2
    assert all(each.delivered_at for each in told.deliveries())


def test_a_later_event_goes_once_the_earlier_is_given_up(world: World, told: Told) -> None:
    told.endpoint("order.created", "order.cancelled")
    world.affiliate("Anna")
    order = world.sale("Anna", "100.00")
    world.cancel(order)
    world.session.execute(
        sa.update(WebhookDelivery)
        .where(WebhookDelivery.id == told.deliveries()[0].id)
        .values(attempts=ATTEMPTS_MAX - 1)
    )
    world.session.commit()
    told.status = 500
    assert told.deliver() == 2
    assert told.types() == ["order.created", "order.cancelled"]
    assert [each.given_up_at is None for each in told.deliveries()] == [False, True]


def test_410_ends_an_endpoint_and_whoever_can_mend_it_is_told(world: World, told: Told) -> None:
    hire(world, "manager")
    hire(world, "owner")
    hire(world, "finance")
    sold(world, told)
    world.sale("Anna", "200.00")
    told.status = 410
    assert told.deliver() == 1
    endpoint = at(told)
    assert (endpoint.disabled_for, endpoint.disabled_at is not None) == ("gone", True)
    assert all(each.given_up_at for each in told.deliveries())
    to = world.session.scalars(
        sa.select(Mail.recipient).where(Mail.template == "webhook_disabled").order_by(Mail.id)
    ).all()
    assert to == ["manager@example.com", "owner@example.com"]
    before = told.events()
    world.sale("Anna", "300.00")
    assert told.events() == before, "nobody listens any more"


def test_an_endpoint_that_only_fails_for_five_days_is_asked_no_more(
    world: World, told: Told
) -> None:
    sold(world, told)
    told.status = 500
    told.deliver()
    told.later(days=4, hours=23)
    told.deliver()
    assert at(told).disabled_at is None
    told.later(days=1)
    told.deliver()
    assert at(told).disabled_for == "failing"


def test_one_success_forgets_the_failures_before(world: World, told: Told) -> None:
    sold(world, told)
    told.status = 500
    told.deliver()
    told.later(days=4, hours=23)
    told.status = 200
    told.deliver()
    endpoint = at(told)
    assert (endpoint.failures, endpoint.failing_since, endpoint.rests_until) == (0, None, None)


def test_an_endpoint_that_fails_rests_and_others_are_not_held_up(world: World, told: Told) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(refuse) as dead_url:
        told.endpoint("order.created", url=f"{dead_url}/dead")
        told.endpoint("order.created")
        world.affiliate("Anna")
        for _ in range(6):
            world.sale("Anna", "100.00")
        told.deliver()
    assert len(told.requests) == 6
    dead = world.session.scalars(sa.select(WebhookEndpoint).order_by(WebhookEndpoint.id)).first()
    assert dead is not None
    world.session.refresh(dead)
    assert dead.failures == rules.REST_FROM_FAILURES and dead.rests_until is not None


def test_a_failing_endpoint_has_one_delivery_in_flight_a_healthy_one_a_few(
    world: World, told: Told
) -> None:
    endpoint, _ = sold(world, told)
    for _ in range(claiming.FLIGHT_MAX + 2):
        world.sale("Anna", "100.00")

    def claims() -> int:
        count = 0
        while claiming.claim(world.session, settings=world.settings, real_now=real_now()):
            world.session.commit()
            count += 1
        world.session.rollback()
        return count

    with world.app.app_context():
        assert claims() == claiming.FLIGHT_MAX
        world.session.execute(sa.update(WebhookDelivery).values(leased_until=None))
        world.session.execute(sa.update(WebhookEndpoint).values(failures=1))
        world.session.commit()
        assert claims() == 1
        world.session.execute(sa.update(WebhookDelivery).values(leased_until=None))
        world.session.commit()
        nothing = claiming.claim(
            world.session, settings=world.settings, real_now=real_now(), failing_too=False
        )
        assert nothing is None
    assert endpoint.id


def test_what_a_dead_process_had_leased_is_sent_again(world: World, told: Told) -> None:
    sold(world, told)
    with world.app.app_context():
        assert claiming.claim(world.session, settings=world.settings, real_now=real_now())
        world.session.commit()
    assert told.deliver() == 0, "another process has it"
    world.session.execute(
        sa.update(WebhookDelivery).values(leased_until=real_now() - timedelta(seconds=1))
    )
    world.session.commit()
    assert told.deliver() == 1


def test_many_processes_send_each_delivery_once(
    world: World, told: Told, settings: Settings
) -> None:
    sold(world, told)
    for _ in range(11):
        world.sale("Anna", "100.00")
    failed: list[BaseException] = []

    def run() -> None:
        try:
            told.deliver()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.deliver()  # Whoever was refused a lock leaves the rest to the next round.
    assert failed == []
    ids = [request.headers["webhook-id"] for request in told.requests]
    assert len(ids) == len(set(ids)) == 12


def test_the_process_delivers_and_ends_when_it_is_told_to(world: World, told: Told) -> None:
    sold(world, told)
    stop = threading.Event()

    def run() -> None:
        with world.app.app_context():
            deliver.Deliverer(world.settings).run(stop)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(100):
        if told.requests and told.deliveries()[0].delivered_at:
            break
        stop.wait(0.1)
    world.sale("Anna", "200.00")
    for _ in range(100):
        if len(told.requests) == 2:
            break
        stop.wait(0.1)
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive() and len(told.requests) == 2


def test_a_secret_of_a_key_that_was_taken_away_sends_nothing_unsigned(
    world: World, told: Told
) -> None:
    endpoint, _ = sold(world, told)
    world.session.execute(sa.update(WebhookEndpoint).values(secret="gAAAAABnonsense"))
    world.session.commit()
    told.deliver()
    assert told.requests == []
    attempt = world.session.scalars(sa.select(WebhookAttempt)).one()
    assert (attempt.status, attempt.trouble) == (None, "secret_lost")
    with pytest.raises(keys.SecretLost):
        keys.current_secret(world.settings, endpoint)


def test_a_strange_event_is_given_up_and_stops_no_other(world: World, told: Told) -> None:
    sold(world, told)
    world.sale("Anna", "200.00")
    strange = told.deliveries()[0].event_id
    world.session.execute(
        sa.update(WebhookEvent).where(WebhookEvent.id == strange).values(facts={"placed_at": "?"})
    )
    world.session.commit()
    told.deliver()
    assert len(told.requests) == 1
    broken = world.session.scalars(sa.select(WebhookAttempt).order_by(WebhookAttempt.id)).all()
    assert {each.trouble for each in broken} == {"broken", None}


def test_an_answer_of_who_was_erased_meanwhile_is_dropped(world: World, told: Told) -> None:
    anna = world.affiliate("Anna")
    told.postback("Anna", "c={click_id}")
    world.sale("Anna", "100.00")
    with world.app.app_context():
        ready = claiming.claim(world.session, settings=world.settings, real_now=real_now())
        world.session.commit()
        assert ready is not None
        keeping.forget_postbacks(world.session, enrollment_ids=[anna.enrollment.id])
        world.session.commit()
        answer = deliver.request(ready, world.settings)
        deliver.note(
            world.session, ready=ready, answer=answer, settings=world.settings,
            real_now=real_now(),
        )  # fmt: skip
        world.session.commit()
    assert told.deliveries() == []


def test_secrets_are_not_readable_in_the_table(world: World, told: Told) -> None:
    endpoint, secret = told.endpoint()
    stored = at(told).secret
    assert stored is not None and secret.removeprefix("whsec_") not in stored
    assert (
        endpoints.secret_of(
            world.session, owner=told.owner, endpoint_id=endpoint.id, settings=world.settings
        )
        == secret
    )


def test_sending_again_uses_the_id_of_before(world: World, told: Told) -> None:
    endpoint, _ = sold(world, told)
    told.deliver()
    [delivery] = told.deliveries()
    send_again(world.session, owner=told.owner, endpoint_id=endpoint.id, delivery_id=delivery.id)
    world.session.commit()
    assert told.deliver() == 1
    first, second = told.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_all_that_failed_since_a_day_is_sent_again_and_nothing_else(
    world: World, told: Told
) -> None:
    endpoint, _ = sold(world, told)
    world.sale("Anna", "200.00")
    world.sale("Anna", "300.00")
    old, young, delivered = told.deliveries()
    now = real_now()
    old.given_up_at, young.given_up_at = now - timedelta(days=3), now - timedelta(hours=1)
    delivered.delivered_at = now
    world.session.commit()
    count = send_failed_again(
        world.session, owner=told.owner, endpoint_id=endpoint.id, since=now - timedelta(days=2)
    )
    world.session.commit()
    assert (count, told.deliver()) == (1, 1)


def test_nothing_is_sent_again_to_an_endpoint_that_is_off_or_somebody_elses(
    world: World, told: Told
) -> None:
    endpoint, _ = sold(world, told)
    [delivery] = told.deliveries()
    named = {"endpoint_id": endpoint.id, "delivery_id": delivery.id}
    with pytest.raises(NotFound):
        send_again(world.session, owner=Owner(world.euros.id), **named)
    endpoints.disable_endpoint(
        world.session, owner=told.owner, endpoint_id=endpoint.id, actor="test", now=world.now
    )
    with pytest.raises(EndpointDisabled):
        send_again(world.session, owner=told.owner, **named)
    with pytest.raises(EndpointDisabled):
        endpoints.send_test(world.session, owner=told.owner, endpoint_id=endpoint.id, now=world.now)


def test_a_test_goes_to_one_endpoint_and_waits_behind_nothing(world: World, told: Told) -> None:
    endpoint, secret = sold(world, told)
    told.status = 500
    told.deliver()
    told.status = 200
    endpoints.send_test(world.session, owner=told.owner, endpoint_id=endpoint.id, now=world.now)
    world.session.commit()
    assert told.deliver() == 1
    request = told.requests[-1]
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "webhook.test"


def test_what_ended_a_month_ago_goes_and_what_waits_stays(world: World, told: Told) -> None:
    sold(world, told)
    world.sale("Anna", "200.00")
    told.status = 200
    told.deliver()
    world.sale("Anna", "300.00")
    ago = real_now() + timedelta(days=keeping.KEEP_DAYS)
    assert keeping.forget_old(
        world.session, real_now=ago - timedelta(hours=1), rows_max=100
    ) == 0  # fmt: skip
    assert keeping.forget_old(
        world.session, real_now=ago + timedelta(hours=1), rows_max=100
    ) == 2  # fmt: skip
    world.session.commit()
    assert len(told.deliveries()) == 1 and len(told.events()) == 1


def test_what_is_told_while_its_endpoint_is_ended_alarms_nobody_and_goes_in_time(
    world: World, told: Told, settings: Settings
) -> None:
    """Whoever ends an endpoint does not see the deliveries of transactions that are under way."""
    endpoint, _ = told.endpoint("affiliate.suspended")
    world.affiliate("Anna")
    engine = sa.create_engine(settings.database_url)
    with session_for(engine)() as other:
        other.execute(sa.text("UPDATE enrollments SET status = 'suspended'"))
        with world.app.app_context():
            endpoints.delete_endpoint(
                world.session, owner=told.owner, endpoint_id=endpoint.id, actor="test",
                now=world.now,
            )  # fmt: skip
            world.session.commit()
        other.commit()
    engine.dispose()
    assert len(told.deliveries()) == 1
    told.later(hours=2)
    with world.app.app_context():
        said = {metric.name: metric.samples[0].value for metric in metrics._tables()}
    assert (said["kopeck_webhooks_waiting"], said["kopeck_webhooks_overdue_seconds"]) == (0, 0)
    ago = real_now() + timedelta(days=keeping.KEEP_DAYS, hours=1)
    assert keeping.forget_old(world.session, real_now=ago, rows_max=100) == 1
    world.session.commit()
    assert (told.deliveries(), told.events()) == ([], [])


def test_an_order_is_taken_while_an_endpoint_is_claimed(
    world: World, told: Told, settings: Settings
) -> None:
    """Whoever announces refers to the endpoint's row, and must not wait for who delivers."""
    sold(world, told)
    engine = sa.create_engine(settings.database_url)
    with world.app.app_context(), session_for(engine)() as other:
        assert claiming.claim(other, settings=settings, real_now=real_now())
        world.sale("Anna", "200.00")
        other.rollback()
    engine.dispose()
    assert len(told.deliveries()) == 2


@pytest.mark.parametrize(
    ("said", "pause_s"),
    [
        (None, 5), ("", 5), ("0", 5), ("3", 5), ("60", 60), ("86400", 86_400),
        ("999999999999999999", 86_400), ("-5", 5), ("soon", 5), ("1.5", 5),
        ("Fri, 27 Nov 2026 12:01:00 GMT", 60), ("Fri, 27 Nov 2026 11:00:00 GMT", 5),
        ("Mon, 27 Nov 2036 12:01:00 GMT", 86_400), ("٣٠٠", 5),
    ],
)  # fmt: skip
def test_retry_after_is_honoured_within_reason(said: str | None, pause_s: int) -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    again = rules.next_try_at(1, now=now, retry_after=said)
    assert again == now + timedelta(seconds=pause_s)


def slow_start(handler: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(3)


def large(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(2_000):
        handler.wfile.write(b"x" * 1_000)


def torn(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"half\0 \xff")


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


@pytest.mark.parametrize(
    ("answer", "status", "trouble"),
    [(slow_start, None, "too_slow"), (large, 200, None), (torn, 200, None),
     (silent, None, "unreachable")],
)  # fmt: skip
def test_strange_receivers_cost_a_bounded_time_and_room(
    world: World,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    status: int | None,
    trouble: str | None,
) -> None:
    monkeypatch.setattr(deliver, "ATTEMPT_S", 1.0)
    with serving(answer) as url:
        told.endpoint("order.created", url=f"{url}/")
        world.affiliate("Anna")
        world.sale("Anna", "100.00")
        told.deliver()
    attempt = world.session.scalars(sa.select(WebhookAttempt)).one()
    assert (attempt.status, attempt.trouble) == (status, trouble)
    assert len(attempt.answer) <= deliver.ANSWER_BYTES_MAX
    assert attempt.took_ms < 3_000
