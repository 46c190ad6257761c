"""Links and coupons: codes, destinations, sub-ids, owners."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from builders import make_affiliate, make_program
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid, NotFound
from affiliate.core.ids import short_code
from affiliate.links import links
from affiliate.links.coupons import CouponTaken, create_coupon, disable_coupon, owner_of
from affiliate.links.links import (
    CodeTaken,
    DestinationRefused,
    NotEnrolled,
    TooManyLinks,
    create_link,
    disable_link,
)
from affiliate.links.models import Link
from affiliate.people import enrollments
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program


@pytest.fixture(autouse=True)
def inside_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def program(session: Session) -> Program:
    return make_program(session, now=NOW)


@pytest.fixture
def anna(session: Session, program: Program) -> Enrollment:
    return make_affiliate(session, program, "anna@x.example", now=NOW)


def test_a_code_is_made_of_the_rows_number(session: Session, anna: Enrollment) -> None:
    made = [create_link(session, enrollment_id=anna.id, now=NOW) for _ in range(3)]
    assert [link.code for link in made] == [short_code("link", link.id) for link in made]
    assert len({link.code for link in made}) == 3
    assert {link.destination for link in made} == {"https://shop.example/"}
    assert all(len(link.code) >= 5 and not link.vanity for link in made)


def test_a_link_keeps_its_name_destination_and_sub_ids(session: Session, anna: Enrollment) -> None:
    link = create_link(
        session,
        enrollment_id=anna.id,
        destination="https://www.shop.example/lamps?colour=green#top",
        name="  Spring   letter ",
        sub_ids={"s1": "letter", "s5": "март"},
        now=NOW,
    )
    session.expire(link)
    assert link.destination == "https://www.shop.example/lamps?colour=green#top"
    assert (link.name, link.s1, link.s2, link.s5) == ("Spring letter", "letter", None, "март")


@pytest.mark.abuse("A1")
@pytest.mark.parametrize(
    "destination",
    [
        "https://evil.example/",
        "https://shop.example.evil.example/",
        "https://notshop.example/",
        "//shop.example/",
        "//evil.example/",
        "\\\\evil.example",
        "https:\\\\evil.example",
        "https://evil.example\\@shop.example/",
        "https://shop.example@evil.example/",
        "https://anna:secret@shop.example/",
        "https://shop.example:443@evil.example/",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//https://shop.example/",
        "data:text/html,<script>alert(1)</script>",
        "http://shop.example/",
        "ftp://shop.example/",
        "https:shop.example/",
        "https:///shop.example/",
        "https://ѕhop.example/",
        "https://shop。evil.example/",
        "https%3A%2F%2Fshop.example/",
        "https://evil.example%2F.shop.example/",
        "https://evil.example%252F.shop.example/",
        "https://evil.example#.shop.example/",
        "https://evil.example?.shop.example/",
        "https://evil.example;.shop.example/",
        "https://shop.example:8443/",
        "https://[::1]/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "http://localhost/",
        "https://shop.example/\r\nSet-Cookie: x=1",
        "https://shop.example/\x00",
        "https://shop.example/\u202e",
        "https://shop.example /",
        "https://" + "a" * 3_000 + ".shop.example/",
        "/lamps",
        "lamps",
        "https://",
    ],
)
def test_a_destination_elsewhere_is_refused(
    session: Session, anna: Enrollment, destination: str
) -> None:
    with pytest.raises(DestinationRefused) as refused:
        create_link(session, enrollment_id=anna.id, destination=destination, now=NOW)
    assert refused.value.status == 422
    assert "evil" not in refused.value.detail
    assert session.scalar(sa.select(sa.func.count(Link.id))) == 0


def test_plain_http_is_allowed_for_a_demo_program_on_loopback_alone(session: Session) -> None:
    demo = make_program(
        session,
        now=NOW,
        slug="demo",
        landing_url="http://localhost:8100/",
        allowed_sites=["localhost"],
        plain_loopback=True,
    )
    anna = make_affiliate(session, demo, "anna@x.example", now=NOW)
    link = create_link(
        session, enrollment_id=anna.id, destination="http://localhost:8100/lamp", now=NOW
    )
    assert link.destination == "http://localhost:8100/lamp"
    with pytest.raises(DestinationRefused):
        create_link(session, enrollment_id=anna.id, destination="http://shop.example/", now=NOW)


def test_a_vanity_code_is_kept_as_written(session: Session, anna: Enrollment) -> None:
    link = create_link(session, enrollment_id=anna.id, code=" Anna-Lamps ", now=NOW)
    assert (link.code, link.vanity) == ("Anna-Lamps", True)


@pytest.mark.parametrize("code", ["Anna-Lamps", "anna-lamps", "ANNA-LAMPS"])
def test_vanity_codes_differ_by_more_than_case(
    session: Session, anna: Enrollment, code: str
) -> None:
    create_link(session, enrollment_id=anna.id, code="Anna-Lamps", now=NOW)
    with pytest.raises(CodeTaken):
        create_link(session, enrollment_id=anna.id, code=code, now=NOW)
    assert session.scalar(sa.select(sa.func.count(Link.id))) == 1


def test_a_vanity_code_never_equals_a_made_one_in_any_case(
    session: Session, anna: Enrollment
) -> None:
    made = create_link(session, enrollment_id=anna.id, now=NOW)
    for code in {made.code, made.code.lower(), made.code.upper(), made.code.swapcase()}:
        with pytest.raises(CodeTaken):
            create_link(session, enrollment_id=anna.id, code=code, now=NOW)


def test_a_number_whose_code_is_somebodys_vanity_code_is_passed_over(
    session: Session, anna: Enrollment
) -> None:
    vanity = create_link(session, enrollment_id=anna.id, code="first", now=NOW)
    taken = short_code("link", vanity.id + 2)
    create_link(session, enrollment_id=anna.id, code=taken.swapcase(), now=NOW)
    made = create_link(session, enrollment_id=anna.id, now=NOW)
    assert made.id == vanity.id + 3
    assert made.code == short_code("link", made.id)


@pytest.mark.parametrize(
    "code", ["ab", "a" * 41, "-ab", "_ab", "a b", "anna/lamps", "анна", "a\r\nb", "anna%00", "a.b"]
)
def test_odd_vanity_codes_are_refused(session: Session, anna: Enrollment, code: str) -> None:
    with pytest.raises(Invalid):
        create_link(session, enrollment_id=anna.id, code=code, now=NOW)


@pytest.mark.parametrize("code", ["admin", "API", "Kopeck", "sign-in", "official"])
def test_words_of_the_program_itself_are_refused(
    session: Session, anna: Enrollment, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        create_link(session, enrollment_id=anna.id, code=code, now=NOW)
    assert refused.value.errors[0].code == "code_reserved"


@pytest.mark.abuse("A3", "A5")
@pytest.mark.parametrize(
    ("sub_ids", "accepted"),
    [
        ({"s1": "x" * 100}, True),
        ({"s1": "x" * 101}, False),
        ({"s2": "a\r\nb"}, False),
        ({"s3": "a\x00b"}, False),
        ({"s4": "a\u202eb"}, False),
        ({"s5": "\ud800"}, False),
        ({"s6": "x"}, False),
        ({"s1": ""}, True),
    ],
)
def test_sub_ids_have_a_limit_and_no_control_characters(
    session: Session, anna: Enrollment, sub_ids: dict[str, str | None], accepted: bool
) -> None:
    if accepted:
        create_link(session, enrollment_id=anna.id, sub_ids=sub_ids, now=NOW)
    else:
        with pytest.raises(Invalid) as refused:
            create_link(session, enrollment_id=anna.id, sub_ids=sub_ids, now=NOW)
        assert refused.value.errors[0].field == f"sub_ids.{next(iter(sub_ids))}"


@pytest.mark.parametrize("name", ["x" * 81, "a\u200bb", "a\x1bb"])
def test_odd_names_are_refused(session: Session, anna: Enrollment, name: str) -> None:
    with pytest.raises(Invalid):
        create_link(session, enrollment_id=anna.id, name=name, now=NOW)


@pytest.mark.parametrize("step", ["applied", "suspended", "rejected"])
def test_only_an_active_affiliate_makes_links_and_gets_coupons(
    session: Session, program: Program, step: str
) -> None:
    boris = make_affiliate(session, program, "boris@x.example", now=NOW)
    boris.status = step
    session.flush()
    with pytest.raises(NotEnrolled):
        create_link(session, enrollment_id=boris.id, now=NOW)
    with pytest.raises(NotEnrolled):
        create_coupon(session, enrollment_id=boris.id, code="BORIS", by=None, now=NOW)


def test_links_of_nobody_are_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        create_link(session, enrollment_id=999, now=NOW)
    with pytest.raises(NotFound):
        disable_link(session, link_id=999, now=NOW)


def test_an_affiliate_has_a_bounded_number_of_links(
    session: Session, anna: Enrollment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LINKS_PER_ENROLLMENT_MAX", 2)
    for _ in range(2):
        create_link(session, enrollment_id=anna.id, now=NOW)
    with pytest.raises(TooManyLinks):
        create_link(session, enrollment_id=anna.id, now=NOW)


def test_disabling_twice_keeps_the_first_instant(session: Session, anna: Enrollment) -> None:
    link = create_link(session, enrollment_id=anna.id, now=NOW)
    disable_link(session, link_id=link.id, now=NOW)
    disable_link(session, link_id=link.id, now=NOW + timedelta(days=1))
    assert link.disabled_at == NOW


class TestCoupons:
    def test_a_coupon_is_found_however_the_buyer_types_it(
        self, session: Session, anna: Enrollment
    ) -> None:
        coupon = create_coupon(session, enrollment_id=anna.id, code="anna10", by=None, now=NOW)
        assert coupon.code == "ANNA10"
        for typed in ("ANNA10", " anna10 ", "AnNa10"):
            assert owner_of(session, program_id=anna.program_id, code=typed, at=NOW) == anna.id
        assert owner_of(session, program_id=anna.program_id, code="ANNA1", at=NOW) is None

    @pytest.mark.parametrize(
        ("at", "counts"),
        [
            (timedelta(microseconds=-1), False),
            (timedelta(0), True),
            (timedelta(days=10) - timedelta(microseconds=1), True),
            (timedelta(days=10), False),
        ],
    )
    def test_a_coupon_counts_from_its_making_until_its_end(
        self, session: Session, anna: Enrollment, at: timedelta, counts: bool
    ) -> None:
        create_coupon(
            session,
            enrollment_id=anna.id,
            code="ANNA10",
            valid_until=NOW + timedelta(days=10),
            by=None,
            now=NOW,
        )
        found = owner_of(session, program_id=anna.program_id, code="ANNA10", at=NOW + at)
        assert found == (anna.id if counts else None)

    def test_a_disabled_coupon_counts_for_orders_before(
        self, session: Session, anna: Enrollment
    ) -> None:
        coupon = create_coupon(session, enrollment_id=anna.id, code="ANNA10", by=None, now=NOW)
        later = NOW + timedelta(hours=1)
        disable_coupon(session, coupon_id=coupon.id, by=None, now=later)
        disable_coupon(session, coupon_id=coupon.id, by=None, now=later + timedelta(hours=1))
        owner = anna.id
        asked = {"program_id": anna.program_id, "code": "ANNA10"}
        assert owner_of(session, **asked, at=later - timedelta(seconds=1)) == owner  # type: ignore[arg-type]
        assert owner_of(session, **asked, at=later) is None  # type: ignore[arg-type]

    def test_a_code_is_unique_in_its_program_for_ever(
        self, session: Session, program: Program, anna: Enrollment
    ) -> None:
        coupon = create_coupon(session, enrollment_id=anna.id, code="LAMP", by=None, now=NOW)
        disable_coupon(session, coupon_id=coupon.id, by=None, now=NOW)
        boris = make_affiliate(session, program, "boris@x.example", now=NOW)
        with pytest.raises(CouponTaken):
            create_coupon(session, enrollment_id=boris.id, code="lamp", by=None, now=NOW)

    def test_another_program_may_have_the_same_code(
        self, session: Session, anna: Enrollment
    ) -> None:
        other = make_program(session, now=NOW, slug="other")
        boris = make_affiliate(session, other, "boris@x.example", now=NOW)
        create_coupon(session, enrollment_id=anna.id, code="LAMP", by=None, now=NOW)
        create_coupon(session, enrollment_id=boris.id, code="LAMP", by=None, now=NOW)
        assert owner_of(session, program_id=other.id, code="LAMP", at=NOW) == boris.id

    def test_a_suspended_owners_coupon_credits_nobody(
        self, session: Session, anna: Enrollment
    ) -> None:
        create_coupon(session, enrollment_id=anna.id, code="LAMP", by=None, now=NOW)
        enrollments.suspend(session, enrollment_id=anna.id, reason="No.", by=None, now=NOW)
        assert owner_of(session, program_id=anna.program_id, code="LAMP", at=NOW) is None

    @pytest.mark.parametrize("code", ["", "ab", "x" * 41, "-AB", "A B", "ЛАМПА", "A\nB", "straße"])
    def test_odd_coupons_are_refused(self, session: Session, anna: Enrollment, code: str) -> None:
        with pytest.raises(Invalid):
            create_coupon(session, enrollment_id=anna.id, code=code, by=None, now=NOW)

    def test_an_end_in_the_past_is_refused(self, session: Session, anna: Enrollment) -> None:
        with pytest.raises(Invalid):
            create_coupon(
                session, enrollment_id=anna.id, code="LAMP", valid_until=NOW, by=None, now=NOW
            )

    def test_coupons_of_nobody_are_not_found(self, session: Session) -> None:
        with pytest.raises(NotFound):
            create_coupon(session, enrollment_id=999, code="LAMP", by=None, now=NOW)
        with pytest.raises(NotFound):
            disable_coupon(session, coupon_id=999, by=None, now=NOW)
