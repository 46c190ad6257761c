"""The plugin of docs/shops/woocommerce.md in PHP, with stand-ins for what WordPress calls."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.programs import free_port, program, serving_at
from tests.sources.shop_systems import Shop
from tracker.clicks.tokens import TOKEN_CHARS_MAX, TOKENS_KEPT_MAX

DOC = Path(__file__).resolve().parents[2] / "docs/shops/woocommerce.md"
CLASSIC = "woocommerce_checkout_create_order"
BLOCKS = "woocommerce_store_api_checkout_update_order_meta"

# WordPress adds slashes to cookies (wp_magic_quotes); an order's meta data is kept by its key.
# What the plugin calls and is not here ends the page with an error.
WORDPRESS = """<?php
error_reporting(E_ALL);
set_error_handler(function ($level, $text) { throw new ErrorException($text); });
define('ABSPATH', '/');
$actions = array();
function add_action($name, $call) { global $actions; $actions[$name][] = $call; }
function do_action($name, ...$with) {
    global $actions;
    foreach ($actions[$name] ?? array() as $call) { $call(...$with); }
}
function esc_url($text) { return str_replace('&', '&#038;', $text); }
function esc_attr($text) { return htmlspecialchars($text, ENT_QUOTES); }
function wp_unslash($text) { return stripslashes($text); }
class WC_Order {
    public $meta = array();
    public $saved = null;
    function get_meta($key) { return $this->meta[$key] ?? ''; }
    function update_meta_data($key, $value) { $this->meta[$key] = $value; }
    function save() { $this->saved = $this->meta; }
}
$_COOKIE = array_map('addslashes', $_COOKIE);
require 'kopeck.php';
"""
PAGE = """
ob_start();
do_action('wp_head');
$head = ob_get_clean();
$order = new WC_Order();
foreach (array_filter(explode(' ', $_GET['actions'] ?? '')) as $name) { do_action($name, $order); }
header('Content-Type: application/json');
echo json_encode(array(
    'head' => $head, 'meta' => (object) $order->meta, 'saved' => $order->saved,
    'actions' => array_keys($actions),
));
"""


@dataclass
class Wordpress:
    url: str

    def page(self, *actions: str, **cookies: str) -> dict[str, Any]:
        """What a page with these hooks made of a buyer's cookies."""
        said = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answer = requests.get(
            self.url, params={"actions": " ".join(actions)}, headers={"Cookie": said}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def wordpress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wordpress]:
    php, folder, port = program("php"), tmp_path_factory.mktemp("wordpress"), free_port()
    plugin = DOC.read_text(encoding="utf-8").split("```php\n")[1].split("```")[0]
    (folder / "kopeck.php").write_text(plugin, encoding="utf-8")
    (folder / "index.php").write_text(WORDPRESS + PAGE, encoding="utf-8")
    checked = subprocess.run(
        [php, "-l", str(folder / "kopeck.php")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    command = [php, "-S", f"127.0.0.1:{port}", "-t", str(folder), str(folder / "index.php")]
    with serving_at(port, command, folder):
        yield Wordpress(f"http://127.0.0.1:{port}/")


def test_every_page_has_the_pixel(wordpress: Wordpress) -> None:
    assert wordpress.page()["head"] == (
        '<script async src="https://kopeck.example/pixel.js" data-program="demo"></script>\n'
    )


@pytest.mark.parametrize("checkout", [CLASSIC, BLOCKS])
def test_an_order_brings_the_clicks_that_its_buyer_has(
    wordpress: Wordpress, woocommerce: Shop, checkout: str
) -> None:
    # The pixel joins tokens by `|`; other scripts that write the cookie again escape it.
    for joined in ("|".join(("x1", *woocommerce.clicks)), "%7C".join(("x1", *woocommerce.clicks))):
        found = wordpress.page(checkout, kopeck_clicks=joined, kopeck_visitor="visitor-1")
        assert found["meta"] == {
            "_kopeck_clicks": "|".join(("x1", *woocommerce.clicks)),
            "_kopeck_visitor": "visitor-1",
        }
        # WooCommerce saves the order of its classic checkout itself.
        assert found["saved"] == (found["meta"] if checkout == BLOCKS else None)
    meta = [{"id": 1, "key": key, "value": value} for key, value in found["meta"].items()]
    woocommerce.tells(woocommerce.payload("order_processing", meta_data=meta, coupon_lines=[]))
    assert woocommerce.earned() == [(810, 0, None)]


def test_as_many_tokens_as_the_pixel_keeps_go_along_whole(wordpress: Wordpress) -> None:
    tokens = [f"{n:02}".ljust(TOKEN_CHARS_MAX, "a") for n in range(TOKENS_KEPT_MAX)]
    found = wordpress.page(CLASSIC, kopeck_clicks="|".join(tokens))
    assert found["meta"] == {"_kopeck_clicks": "|".join(tokens)}


def test_what_the_order_knows_stays_and_who_has_no_cookie_brings_nothing(
    wordpress: Wordpress,
) -> None:
    assert wordpress.page(CLASSIC, BLOCKS)["meta"] == {}
    twice = wordpress.page(BLOCKS, CLASSIC, BLOCKS, kopeck_clicks="a|b")
    assert twice["meta"] == twice["saved"] == {"_kopeck_clicks": "a|b"}


def test_what_no_token_has_is_not_kept(wordpress: Wordpress) -> None:
    found = wordpress.page(
        CLASSIC, kopeck_clicks="a<script>%27%22%5C;b".replace(";", "%3B"), kopeck_visitor="v" * 90
    )
    assert found["meta"] == {"_kopeck_clicks": "ascriptb", "_kopeck_visitor": "v" * 64}


def test_a_page_that_is_opened_by_its_own_address_does_nothing(
    wordpress: Wordpress, tmp_path: Path
) -> None:
    plugin = DOC.read_text(encoding="utf-8").split("```php\n")[1].split("```")[0]
    (tmp_path / "kopeck.php").write_text(plugin, encoding="utf-8")
    done = subprocess.run(
        [program("php"), str(tmp_path / "kopeck.php")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
