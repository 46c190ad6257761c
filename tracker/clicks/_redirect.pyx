# cython: language_level=3, boundscheck=False, wraparound=False
"""The common click, compiled: what tracker/clicks/redirecting.py does, and nothing else.

redirecting.py says what a click is. This does the same for the clicks that most clicks are: a GET
of a link in use, without a query, by an agent that was seen before and that nothing speaks
against. Every other one it hands on. Both write the same bytes, which the tests hold against each
other (tests/clicks/test_click_compiled.py). Where nothing could be compiled when Kopeck was
installed there is no such module, and redirecting.py answers all.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.errno cimport EINTR, errno
from libc.string cimport memchr, memcpy, memset, strerror
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport write

from tracker.clicks.journal import JournalUnavailable


cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_1BYTE_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)


cdef extern from "arpa/inet.h":
    int AF_INET
    int inet_pton(int family, const char *text, void *to)


cdef extern from *:
    const char *KOPECK_SOURCE


cdef extern from "_bytes.h":
    enum:
        DIGEST_BYTES
        BLOCK_BYTES
        KEY_BYTES_MAX
    ctypedef struct Keyed:
        pass
    void put_little(uint8_t *to, uint64_t number, int bytes)
    void put_big(uint8_t *to, uint64_t number, int bytes)
    void take_key(Keyed *keyed, const uint8_t *key, size_t bytes)
    void digest(const Keyed *keyed, const uint8_t *message, size_t bytes, uint8_t *to)
    void fill_crc_tables()
    uint32_t crc32_of(const uint8_t *at, size_t bytes)
    char *url_safe(char *to, const uint8_t *raw, size_t bytes)


cdef enum:
    DAY_MS = 86_400_000
    ID_BYTES = 16
    MS_BYTES = 6
    NOISE_BYTES = 10
    KEY_ID_BYTES = 2
    COOKIE_CHARS = 43
    PREPARED_AT_ONCE = 256
    # records.HEAD and records.BODY; tokens: what is signed, and all of it.
    HEAD_BYTES = 12
    BODY_BYTES = 58
    RECORD_BYTES_MAX = 16_384
    UNSIGNED_BYTES = 43
    SIGNED_BYTES = 59
    TOKEN_CHARS = 79
    SEPARATORS = 5
    FORWARDED_CHARS_MAX = 60
    FLAG_KNOWN_VISITOR = 0x01
    TOKEN_VERSION = 0x10
    TOKEN_FLAG_UNRECORDED = 0x01

SOURCE = KOPECK_SOURCE.decode()
"""What this was compiled from: see ``compiled.source_of``."""

fill_crc_tables()


cdef class CommonClicks:
    """Answers the common click; every part is what the front itself uses, see ``compiled``."""

    cdef object _otherwise, _table, _journal, _append, _spill, _read_cookie, _sign, _page
    cdef object _noise, _new_visitors
    cdef object _salt, _client_address, _hash_address, _country_of, _country_header
    cdef dict _met, _links
    cdef set _hosts
    cdef list _headers, _empty
    cdef bytes _marker, _tail
    cdef int _hops
    cdef bint _remembers, _grouped
    cdef Keyed _mac, _addresses
    cdef int64_t _day
    cdef uint8_t[2] _key_id
    # Ahead of the clicks: what follows the millisecond in their ids, ids of new visitors and the
    # signatures of these, and how many of each are left.
    cdef bytes _noises, _visitors, _signatures
    cdef Py_ssize_t _left

    def __init__(
        self, *, otherwise, table, set hosts, journal, spill, dict met, read_cookie, sign, noise,
        new_visitors, bytes marker, bytes tail, page, country_of, str country_header,
        client_address, hash_address, salt, list headers, list empty, bytes key_id, bytes secret,
        int hops, bint remembers,
    ):
        """Raises ValueError for a key that BLAKE2b does not take."""
        self._otherwise, self._hosts = otherwise, hosts
        self._table, self._links = table, table.links
        self._journal, self._append, self._spill = journal, journal.append, spill
        self._grouped = journal.grouped
        self._met, self._page = met, page
        self._read_cookie, self._sign = read_cookie, sign
        self._noise, self._new_visitors = noise, new_visitors
        self._marker, self._tail = marker, tail
        self._country_of, self._country_header = country_of, country_header
        self._client_address, self._hash_address, self._salt = client_address, hash_address, salt
        self._headers, self._empty = headers, empty
        self._hops, self._remembers = hops, remembers
        self._day = -1
        self._left = 0
        if len(key_id) != KEY_ID_BYTES:
            raise ValueError(f"a key's id has {KEY_ID_BYTES} bytes, not {len(key_id)}")
        memcpy(self._key_id, PyBytes_AS_STRING(key_id), KEY_ID_BYTES)
        _take(&self._mac, secret)

    def answer(self, dict environ not None, start_response):
        """A WSGI callable: the front's, with what is not common left to ``otherwise``."""
        cdef str path = environ["PATH_INFO"]
        if not path.startswith("/r/"):
            return self._otherwise(environ, start_response)
        host = environ.get("HTTP_HOST", "")
        if self._hops:
            host = environ.get("HTTP_X_FORWARDED_HOST") or host
        link = self._links.get(path[3:])
        said = environ.get("HTTP_USER_AGENT")
        agent = None if said is None else self._met.get(said)
        if (
            link is None
            or agent is None
            or (<tuple>agent)[0] is not None
            or host not in self._hosts
            or link.barred is not None
            or link.program.status != "open"
            or environ.get("QUERY_STRING")
            or not _is_plain(environ)
        ):
            return self._otherwise(environ, start_response)
        return self._redirect(link, (<tuple>agent)[1], environ, start_response)

    cdef object _redirect(self, object link, bytes agent, dict environ, object start_response):
        """``redirecting.redirector``, in its order."""
        cdef int64_t now_ms = _now_ms() + <int64_t>self._table.offset_ms
        cdef uint8_t[ID_BYTES] click_id
        cdef uint8_t[ID_BYTES] visitor_id
        cdef uint8_t[DIGEST_BYTES] signature
        cdef uint8_t[DIGEST_BYTES] address
        put_big(click_id, now_ms, MS_BYTES)
        self._draw(click_id + MS_BYTES, visitor_id, signature)
        cdef bint known = False
        if not self._remembers:
            memset(visitor_id, 0, ID_BYTES)
        elif "HTTP_COOKIE" in environ:
            came_back = self._read_cookie(environ["HTTP_COOKIE"])
            if came_back is not None:
                _of_size(came_back, ID_BYTES)
                known = True
                memcpy(visitor_id, PyBytes_AS_STRING(came_back), ID_BYTES)
        self._hash(self._address(environ), now_ms, address)
        referrer = environ.get("HTTP_REFERER")
        cdef bytes country = b""
        if self._country_header:
            country = self._country_of(environ.get(self._country_header))
        cdef int64_t link_id = link.link_id
        cdef bytes record = _record(
            click_id, link_id, visitor_id, address, FLAG_KNOWN_VISITOR if known else 0, agent,
            self._page(referrer) if referrer else b"", link.sub_ids_bytes, country,
        )
        cdef bint recorded = True
        try:
            self._write(record)
        except JournalUnavailable as error:
            recorded = self._spill(record, error)
        location = ("Location", self._location(link, click_id, link_id, visitor_id, recorded))
        if self._remembers and not known:
            cookie = ("Set-Cookie", self._cookie(visitor_id, signature))
            start_response("302 Found", [*self._headers, location, cookie])
        else:
            start_response("302 Found", [*self._headers, location])
        return self._empty

    cdef int _draw(self, uint8_t *noise, uint8_t *visitor_id, uint8_t *signature) except -1:
        """Take an id's noise, a visitor and its signature, none of them twice."""
        if not self._left:
            # While these are made another thread may do the same; what it made is dropped.
            noises = self._noise(PREPARED_AT_ONCE)
            visitors = self._new_visitors(PREPARED_AT_ONCE)
            signatures = self._sign(visitors)
            _of_size(noises, NOISE_BYTES * PREPARED_AT_ONCE)
            _of_size(visitors, ID_BYTES * PREPARED_AT_ONCE)
            _of_size(signatures, DIGEST_BYTES * PREPARED_AT_ONCE)
            self._noises, self._visitors, self._signatures = noises, visitors, signatures
            self._left = PREPARED_AT_ONCE
        self._left -= 1
        memcpy(noise, PyBytes_AS_STRING(self._noises) + self._left * NOISE_BYTES, NOISE_BYTES)
        memcpy(visitor_id, PyBytes_AS_STRING(self._visitors) + self._left * ID_BYTES, ID_BYTES)
        memcpy(
            signature, PyBytes_AS_STRING(self._signatures) + self._left * DIGEST_BYTES, DIGEST_BYTES
        )
        return 0

    cdef str _cookie(self, const uint8_t *visitor_id, const uint8_t *signature):
        """``VisitorCookie.headers`` for one."""
        cdef uint8_t[ID_BYTES + DIGEST_BYTES] value
        memcpy(value, visitor_id, ID_BYTES)
        memcpy(value + ID_BYTES, signature, DIGEST_BYTES)
        cdef Py_ssize_t before = PyBytes_GET_SIZE(self._marker)
        cdef Py_ssize_t after = PyBytes_GET_SIZE(self._tail)
        whole = PyUnicode_New(before + COOKIE_CHARS + after, 127)
        cdef char *to = PyUnicode_1BYTE_DATA(whole)
        memcpy(to, PyBytes_AS_STRING(self._marker), before)
        to = url_safe(to + before, value, sizeof(value))
        memcpy(to, PyBytes_AS_STRING(self._tail), after)
        return whole

    cdef int _write(self, bytes record) except -1:
        """``Journal.append``, without its call where the write goes through."""
        if self._grouped:
            self._append(record)
            return 0
        cdef int fd = self._journal.fd
        cdef const char *at = PyBytes_AS_STRING(record)
        cdef size_t size = PyBytes_GET_SIZE(record)
        cdef ssize_t written
        with nogil:
            written = write(fd, at, size)
        if written == <ssize_t>size:
            self._journal.dirty = True
        elif written < 0 and errno == EINTR:
            # A signal's handler has to run before the next attempt, as os.write has it.
            self._append(record)
        elif written < 0:
            self._journal.refused(OSError(errno, strerror(errno).decode("utf-8", "replace")))
        else:
            self._journal.torn()
        return 0

    cdef object _address(self, dict environ):
        """``visitors.client_address``; the one entry of one proxy needs nothing of it."""
        cdef uint8_t[4] parsed
        if self._hops:
            said = environ.get("HTTP_X_FORWARDED_FOR")
            if said:
                if (
                    self._hops == 1
                    and PyUnicode_IS_COMPACT_ASCII(said)
                    and PyUnicode_GET_LENGTH(said) <= FORWARDED_CHARS_MAX
                    and memchr(PyUnicode_1BYTE_DATA(said), 0, PyUnicode_GET_LENGTH(said)) == NULL
                    and inet_pton(AF_INET, PyUnicode_1BYTE_DATA(said), parsed) == 1
                ):
                    return said
                return self._client_address(environ, self._hops)
        return environ.get("REMOTE_ADDR", "")

    cdef int _hash(self, object address, int64_t now_ms, uint8_t *to) except -1:
        """``AddressHasher.hash``; IPv6 and oddities are left to it."""
        cdef Py_ssize_t size = len(address)
        cdef int64_t day = now_ms // DAY_MS
        if (
            0 < size <= BLOCK_BYTES
            and PyUnicode_IS_COMPACT_ASCII(address)
            and memchr(PyUnicode_1BYTE_DATA(address), c":", size) == NULL
        ):
            if day != self._day:
                _take(&self._addresses, self._salt(day))
                self._day = day
            digest(&self._addresses, <const uint8_t *>PyUnicode_1BYTE_DATA(address), size, to)
        else:
            hashed = self._hash_address(address, now_ms)
            _of_size(hashed, DIGEST_BYTES)
            memcpy(to, PyBytes_AS_STRING(hashed), DIGEST_BYTES)
        return 0

    cdef str _location(
        self, object link, const uint8_t *click_id, int64_t link_id, const uint8_t *visitor_id,
        bint recorded,
    ):
        """The destination with the token in its place, which is ``tokens.Minter``'s."""
        cdef uint8_t[SIGNED_BYTES] token
        token[0] = TOKEN_VERSION if recorded else TOKEN_VERSION | TOKEN_FLAG_UNRECORDED
        memcpy(token + 1, self._key_id, KEY_ID_BYTES)
        memcpy(token + 3, click_id, ID_BYTES)
        put_big(token + 19, link_id, 8)
        memcpy(token + 27, visitor_id, ID_BYTES)
        digest(&self._mac, token, UNSIGNED_BYTES, token + UNSIGNED_BYTES)
        cdef str prefix = link.prefix
        cdef str suffix = link.suffix
        cdef Py_ssize_t before = PyUnicode_GET_LENGTH(prefix)
        cdef Py_ssize_t after = PyUnicode_GET_LENGTH(suffix)
        if not (PyUnicode_IS_COMPACT_ASCII(prefix) and PyUnicode_IS_COMPACT_ASCII(suffix)):
            text = PyUnicode_New(TOKEN_CHARS, 127)
            url_safe(PyUnicode_1BYTE_DATA(text), token, SIGNED_BYTES)
            return prefix + text + suffix
        whole = PyUnicode_New(before + TOKEN_CHARS + after, 127)
        cdef char *to = PyUnicode_1BYTE_DATA(whole)
        memcpy(to, PyUnicode_1BYTE_DATA(prefix), before)
        to = url_safe(to + before, token, SIGNED_BYTES)
        memcpy(to, PyUnicode_1BYTE_DATA(suffix), after)
        return whole


cdef bint _is_plain(dict environ) except -1:
    """``filters.is_plain``."""
    return (
        environ["REQUEST_METHOD"] == "GET"
        and environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
        and "HTTP_SEC_PURPOSE" not in environ
        and "HTTP_PURPOSE" not in environ
        and "HTTP_X_PURPOSE" not in environ
        and "HTTP_X_MOZ" not in environ
    )


cdef int64_t _now_ms() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1_000_000


cdef int _of_size(object made, Py_ssize_t size) except -1:
    """Check what is copied from somewhere else."""
    if not isinstance(made, bytes) or PyBytes_GET_SIZE(made) != size:
        raise TypeError(f"{size} bytes are wanted")
    return 0


cdef int _take(Keyed *keyed, bytes key) except -1:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key of 1 to {KEY_BYTES_MAX} bytes is wanted, not of {len(key)}")
    take_key(keyed, key, len(key))
    return 0


cdef uint8_t *_put(uint8_t *to, bytes text) noexcept:
    memcpy(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return to + PyBytes_GET_SIZE(text)


cdef bytes _record(
    const uint8_t *click_id, int64_t link_id, const uint8_t *visitor_id, const uint8_t *address,
    uint8_t flags, bytes agent, bytes page, bytes sub_ids, bytes country,
):
    """``records.encode`` of a click without deep link and creative."""
    cdef Py_ssize_t length = (
        BODY_BYTES + PyBytes_GET_SIZE(agent) + PyBytes_GET_SIZE(page) + PyBytes_GET_SIZE(sub_ids)
        + PyBytes_GET_SIZE(country) + SEPARATORS
    )
    if length > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {length} bytes would not be read again")
    record = PyBytes_FromStringAndSize(NULL, HEAD_BYTES + length)
    cdef uint8_t *head = <uint8_t *>PyBytes_AS_STRING(record)
    cdef uint8_t *body = head + HEAD_BYTES
    memcpy(body, click_id, ID_BYTES)
    put_little(body + 16, link_id, 8)
    memcpy(body + 24, visitor_id, ID_BYTES)
    memcpy(body + 40, address, DIGEST_BYTES)
    body[56] = 0
    body[57] = flags
    cdef uint8_t *to = _put(body + BODY_BYTES, agent)
    to[0] = 0
    to = _put(to + 1, page)
    to[0] = to[1] = 0
    to = _put(to + 2, sub_ids)
    to[0] = to[1] = 0
    _put(to + 2, country)
    memcpy(head, b"\xc7KPJ\x02\x00", 6)
    put_little(head + 6, length, 2)
    put_little(head + 8, crc32_of(body, length), 4)
    return record
