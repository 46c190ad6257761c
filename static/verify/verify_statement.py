#!/usr/bin/env python3
"""Check the proof of a Kopeck statement. Needs Python 3.9 or newer, nothing else, no network.

    python3 verify_statement.py proof.json      does it hold in itself?
      --head 17:ab34…      is it of the books whose head of block 17 you noted earlier?
      --earlier old.json   is all that an earlier proof of the month showed still the same?

The books are sealed block by block. Each entry is a leaf of a Merkle tree (RFC 9162, section
2.1); the head of a block is the hash of the head before it and of what the block holds. If one
old entry is changed, left out or put in, every head after it becomes another one.
Exit code 0: all holds. 1: something does not hold. 2: this cannot be read.
"""

import argparse
import json
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256

LATE, EPOCH = timedelta(days=2), datetime(1970, 1, 1, tzinfo=timezone.utc)
moment = datetime.fromisoformat
RUSSIAN = {
    "holds": "верно", "DOES NOT HOLD": "НЕВЕРНО", "note": "заметьте",
    "entries in their blocks' trees: {}": "записей в деревьях своих блоков: {}",
    "not what was sealed in block {}: {}": "не то, что запечатано в блоке {}: {}",
    "twice in the file: {}": "дважды в файле: {}",
    "dated outside the month: {}": "дата вне месяца: {}",
    "sealed only on {}: {}": "запечатано лишь {}: {}",
    "not sealed yet, load the proof again later: {}": "ещё не запечатано, загрузите позже: {}",
    "the chain of blocks leads to {}:{}": "цепочка блоков ведёт к {}:{}",
    "the chain is broken at block {}": "цепочка разорвана у блока {}",
    "the chain does not end in {}:{}": "цепочка не кончается в {}:{}",
    "{}: opening and entries make the closing, {}": "{}: начало и записи дают конец, {}",
    "{}: opening and entries make {}, not {}": "{}: начало и записи дают {}, а не {}",
    "block {} has the head that you noted": "у блока {} то значение, которое вы записали",
    "block {} has another head than you noted": "у блока {} не то значение, которое вы записали",
    "block {} is not in this file, load it with ?since={}": "блока {} в нём нет, нужно ?since={}",
    "all entries of the earlier proof are here: {}": "все записи прежнего на месте: {}",
    "in the earlier proof, missing or another one now: {}": "было в прежнем, теперь нет: {}",
    "the earlier proof is of another affiliate or month": "прежнее — о другом партнёре или месяце",
    "this cannot be read as a proof: {}": "это не читается как подтверждение: {}",
}  # fmt: skip
WORDS, FAILED = {}, []


def say(holds, text, *values):
    """Print what holds (True), what does not (False), and what is neither (None)."""
    FAILED.extend([text] if holds is False else [])
    sign = {True: "holds", False: "DOES NOT HOLD", None: "note"}[holds]
    print(f"{WORDS.get(sign, sign)}: {WORDS.get(text, text).format(*values)}")


def leaf_hash(entry, owner):
    """An entry's leaf: a JSON array in ASCII, its secret salt first, behind the byte 0."""
    names = "salt transaction kind reason occurred_at recorded_at account".split()
    content = ["kopeck-entry-1", *(entry[name] for name in names)]
    content += [owner, entry["currency"], entry["amount_micros"]]
    return sha256(b"\0" + json.dumps(content, separators=(",", ":")).encode("ascii")).digest()


def root_by_path(leaf, position, leaves, path):
    """Where the path leads; by the position each neighbour stands left or right."""
    rest = [bytes.fromhex(each) for each in reversed(path)]
    while leaves > 1:
        if position ^ 1 < leaves:
            beside = rest.pop() if rest else b""
            leaf = sha256(b"\1" + (beside + leaf if position & 1 else leaf + beside)).digest()
        position, leaves = position >> 1, (leaves + 1) >> 1
    return None if rest else leaf


def head_of(link, before):
    """The head of a block: of its number, the head before, what it holds, and its time."""
    if "root" in link:
        held = bytes.fromhex(link["root"]) + link["leaves"].to_bytes(8, "big")
        summary = sha256(b"\3" + held + bytes([link["emptied"]])).digest()
    else:
        summary = bytes.fromhex(link["summary"])
    micros = (moment(link["sealed_at"]) - EPOCH) // timedelta(microseconds=1)
    number, at = link["number"].to_bytes(8, "big"), micros.to_bytes(8, "big")
    return sha256(b"\2" + number + before + summary + at).digest()


def check_entries(proof):
    links = {link["number"]: link for link in proof["chain"] if "root" in link}
    places, starts, ends = set(), moment(proof["starts_at"]), moment(proof["ends_at"])
    for entry in proof["entries"]:
        link, place = links.get(entry["seal"]), (entry["seal"], entry["position"])
        leaf, inside = leaf_hash(entry, proof["owner"]), link and 0 <= place[1] < link["leaves"]
        root = inside and root_by_path(leaf, place[1], link["leaves"], entry["path"])
        if not root or root.hex() != link["root"]:
            say(False, "not what was sealed in block {}: {}", entry["seal"], named(entry))
        elif place in places:
            say(False, "twice in the file: {}", named(entry))
        else:
            places.add(place)
            if moment(link["sealed_at"]) - moment(entry["occurred_at"]) > LATE:
                say(None, "sealed only on {}: {}", link["sealed_at"][:10], named(entry))
    say(len(places) == len(proof["entries"]), "entries in their blocks' trees: {}", len(places))
    for entry in proof["entries"] + proof["unsealed"]:
        if not starts <= moment(entry["occurred_at"]) < ends:
            say(False, "dated outside the month: {}", named(entry))
        if "seal" not in entry:
            say(None, "not sealed yet, load the proof again later: {}", named(entry))


def check_chain(proof):
    """Returns the heads by number, as far as the file goes."""
    number, head = proof["before"]["number"], bytes.fromhex(proof["before"]["head"])
    heads, newest, broken = {number: head.hex()}, proof["newest"], []
    for link in proof["chain"]:
        if link["number"] != number + 1:
            broken.append(link["number"])
        number, head = link["number"], head_of(link, head)
        heads[number] = head.hex()
    if broken:
        say(False, "the chain is broken at block {}", broken[0])
    ends = (number, head.hex()) == (newest["number"], newest["head"])
    text = "the chain of blocks leads to {}:{}" if ends else "the chain does not end in {}:{}"
    say(ends, text, newest["number"], newest["head"])
    return heads


def check_sums(proof):
    for account in ("pending", "available", "in_payout"):
        moved = sum(amount(entry) for entry in proof["entries"] + proof["unsealed"]
                    if (entry["account"], entry["currency"]) == (account, proof["currency"]))
        made, closing = Decimal(proof["opening"][account]) + moved, proof["closing"][account]
        if made == Decimal(closing):
            say(True, "{}: opening and entries make the closing, {}", account, closing)
        else:
            say(False, "{}: opening and entries make {}, not {}", account, made, closing)


def check_head(noted, heads):
    number, _, head = noted.partition(":")
    if int(number) not in heads:
        say(False, "block {} is not in this file, load it with ?since={}", number, number)
    elif heads[int(number)] == head.strip().lower():
        say(True, "block {} has the head that you noted", number)
    else:
        say(False, "block {} has another head than you noted", number)


def check_earlier(earlier, proof):
    if any(earlier[name] != proof[name] for name in ("owner", "month", "currency")):
        say(False, "the earlier proof is of another affiliate or month")
    now = {leaf_hash(entry, proof["owner"]) for entry in proof["entries"]}
    gone = [each for each in earlier["entries"] if leaf_hash(each, earlier["owner"]) not in now]
    for entry in gone:
        say(False, "in the earlier proof, missing or another one now: {}", named(entry))
    if not gone:
        say(True, "all entries of the earlier proof are here: {}", len(earlier["entries"]))


def amount(entry):
    return Decimal(entry["amount_micros"]) / 1_000_000


def named(entry):
    return f"{entry['occurred_at']} {entry['kind']} {entry['account']} {amount(entry)}"


def read(path):
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    if found["form"] != "kopeck-proof-1":
        raise ValueError(found["form"])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("proof", help="the file that was loaded beside the statement")
    parser.add_argument("--head", help="a head that you noted earlier, as NUMBER:HEAD")
    parser.add_argument("--earlier", help="a proof of the same month that was loaded earlier")
    parser.add_argument("--language", choices=("en", "ru"), default="en")
    given = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")
    WORDS.update(RUSSIAN if given.language == "ru" else {})
    try:
        proof = read(given.proof)
        print(f"{proof['program']['name']}, {proof['affiliate']}, {proof['month']}")
        check_entries(proof)
        heads = check_chain(proof)
        check_sums(proof)
        if given.head:
            check_head(given.head, heads)
        if given.earlier:
            check_earlier(read(given.earlier), proof)
    except Exception as error:  # Whatever stands in a file: this script ends with a sentence.
        say(False, "this cannot be read as a proof: {}", f"{type(error).__name__} {error}")
        return 2
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
