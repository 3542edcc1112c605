# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Store keys and stored records for a whole batch in one go: the compiled build's way.

Law: what it gives is what ``proxy.core.keys`` and ``proxy.core.codec`` give for the same, else it
gives None and they do the work: a key with half a surrogate pair, a record that is not the usual
one.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from rules._scan cimport piece, steady


cdef extern from "blake2b.h" nogil:
    void b2b_each(int n, const uint8_t** texts, const size_t* sizes, uint8_t** digests,
                  size_t length, size_t key_size)


cdef enum:
    LANES = 4
    TEXT = 4096           # bytes of one hashed text; longer ones are hashed elsewhere
    DIGEST = 24
    CHARACTERS = 32
    DONE_HEAD = 20        # version, flags, token, time: see proxy/core/codec.py
    FINGERPRINT = 16
    USUAL_HEAD = 36       # the fingerprint behind it
    LENGTH_WORD = 32      # what stands before a text that is hashed, at most
    PLACES = 1024         # of a table of keys, twice as many as keys at most

cdef inline char* number(char* out, size_t n) noexcept nogil:
    """Its digits, and what comes behind them."""
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = 48 + n % 10
        n //= 10
        if n == 0:
            break
    memcpy(out, digits + at, 20 - at)
    return out + 20 - at


cdef inline size_t digits_of(size_t n) noexcept nogil:
    """How many ``number`` writes."""
    cdef size_t count = 1
    while n > 9:
        n //= 10
        count += 1
    return count


cdef inline size_t word_size(size_t size) noexcept nogil:
    """Of a word of a command with so many bytes, and the end of the word before it."""
    return 5 + digits_of(size) + size


cdef const char* URLSAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint8_t texts[LANES][TEXT]


cdef class KeyDigester:
    """Store keys of one rule, generation and scope. ``lead``: what each hashed text begins with;
    of it the first block is the key, of ``key_size`` bytes, where there is one. ``heads``: what a
    store key begins with, by its digest's first byte."""

    cdef bytes _lead
    cdef size_t _key_size
    cdef list _heads
    cdef list _made
    cdef int _pending
    cdef Py_ssize_t _size
    cdef size_t _sizes[LANES]

    def __init__(self, bytes lead not None, size_t key_size, list heads not None):
        self._lead = lead
        self._key_size = key_size
        self._heads = heads
        if len(heads) != 256:
            raise ValueError("a head for each byte")
        if len(lead) > TEXT // 2:
            raise ValueError("too much to begin with")

    def store_keys(self, keys):
        """One for each of ``keys``, which are tuples of strings and integers."""
        cdef list made = []
        self._begin(made)
        for key in keys:
            for value in <tuple?> key:
                if not self._add_value(value):
                    return None
            self._end()
        self._hash()
        return made

    def of_packed(self, bytes packed not None, int values):
        """The same of ``rules.packed`` keys, each of so many values."""
        cdef list made = []
        cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(packed)
        cdef const uint8_t* end = p + PyBytes_GET_SIZE(packed)
        cdef int left = values
        self._begin(made)
        while p < end:
            if p + 2 + p[1] > end or not self._add(p[0], <const char*> p + 2, p[1]):
                return None
            p += 2 + p[1]
            left -= 1
            if left == 0:
                self._end()
                left = values
        self._hash()
        return made

    cdef void _begin(self, list made):
        self._made = made
        self._pending = 0
        self._first()

    cdef void _first(self):
        """What every text begins with."""
        self._size = PyBytes_GET_SIZE(self._lead)
        memcpy(texts[self._pending], PyBytes_AS_STRING(self._lead), self._size)

    cdef bint _add_value(self, value) except *:
        cdef Py_ssize_t size
        cdef const char* text
        if type(value) is str:
            try:
                text = PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                return False
            return self._add(115, text, size)
        if type(value) is int:
            digits = b"%d" % value
            return self._add(105, PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))
        return False

    cdef bint _add(self, uint8_t mark, const char* text, Py_ssize_t size) noexcept:
        """A value with its type and length. False: it is too long for here."""
        cdef char* out = <char*> texts[self._pending] + self._size
        if TEXT - self._size < size + LENGTH_WORD:
            return False
        out[0] = mark
        out = number(out + 1, size)
        out[0] = 58
        memcpy(out + 1, text, size)
        self._size = (<uint8_t*> out + 1 + size) - texts[self._pending]
        return True

    cdef int _end(self) except -1:
        """A key's text is whole."""
        self._sizes[self._pending] = self._size
        self._pending += 1
        if self._pending == LANES:
            self._hash()
        self._first()
        return 0

    cdef int _hash(self) except -1:
        cdef uint8_t digests[LANES][DIGEST]
        cdef uint8_t* where[LANES]
        cdef const uint8_t* lanes[LANES]
        cdef int lane
        if self._pending == 0:
            return 0
        for lane in range(LANES):
            where[lane] = digests[lane]
            lanes[lane] = texts[lane]
        b2b_each(self._pending, lanes, self._sizes, where, DIGEST, self._key_size)
        for lane in range(self._pending):
            self._made.append(self._store_key(digests[lane]))
        self._pending = 0
        return 0

    cdef bytes _store_key(self, const uint8_t* digest):
        cdef bytes head = <bytes> self._heads[digest[0]]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(head)
        cdef bytes key = PyBytes_FromStringAndSize(NULL, size + CHARACTERS)
        cdef char* out = PyBytes_AS_STRING(key)
        cdef unsigned int three
        cdef int i
        memcpy(out, PyBytes_AS_STRING(head), size)
        out += size
        for i in range(0, DIGEST, 3):
            three = digest[i] << 16 | digest[i + 1] << 8 | digest[i + 2]
            out[0] = URLSAFE[three >> 18]
            out[1] = URLSAFE[three >> 12 & 63]
            out[2] = URLSAFE[three >> 6 & 63]
            out[3] = URLSAFE[three & 63]
            out += 4
        return key


def all_differ(list keys not None):
    """Whether no key stands twice among these. None: they are too many, or no store keys."""
    cdef uint16_t table[PLACES]
    cdef Py_ssize_t i, size, count = len(keys)
    cdef uint64_t mixed
    cdef const char* text
    cdef bytes other
    if count > PLACES // 2:
        return None
    memset(table, 0, sizeof(table))
    for i in range(count):
        key = keys[i]
        if type(key) is not bytes or PyBytes_GET_SIZE(key) < CHARACTERS:
            return None
        size = PyBytes_GET_SIZE(key)
        text = PyBytes_AS_STRING(key)
        # Of the digest. Keys that somebody sought out to fall together are compared each with
        # each, of which there are so few that it takes less than a millisecond.
        memcpy(&mixed, text + size - 8, 8)
        mixed = mixed * 0x9E3779B97F4A7C15ULL >> 54  # one of PLACES
        while table[mixed] != 0:
            other = <bytes> keys[table[mixed] - 1]
            if PyBytes_GET_SIZE(other) == size and memcmp(PyBytes_AS_STRING(other), text, size) == 0:
                return False
            mixed = (mixed + 1) % PLACES
        table[mixed] = i + 1
    return True


def claim_fields(bytes head not None, fingerprints):
    """``head`` and all fingerprints. None where one of them is none."""
    cdef Py_ssize_t i, length, size = PyBytes_GET_SIZE(head), count = len(fingerprints)
    cdef const char* text
    fields = PyBytes_FromStringAndSize(NULL, size + FINGERPRINT * count)
    cdef char* out = PyBytes_AS_STRING(fields)
    memcpy(out, PyBytes_AS_STRING(head), size)
    out += size
    fingerprints = steady(fingerprints)
    for i in range(count):
        text = piece(fingerprints, i, &length)
        if text == NULL or length != FINGERPRINT:
            return None
        memcpy(out, text, FINGERPRINT)
        out += FINGERPRINT
    return fields


def commit_words(fingerprints, results, bytes head not None):
    """Done records as words of a Redis command, each behind the end of the word before it:
    ``head``, fingerprint, result. None where one of them has no fingerprint or no result."""
    cdef Py_ssize_t i, length, size = 0, count = len(results)
    cdef const char* text
    cdef const char* fingerprint
    cdef char* out
    if len(fingerprints) != count or PyBytes_GET_SIZE(head) != DONE_HEAD:
        return None
    fingerprints, results = steady(fingerprints), steady(results)
    for i in range(count):
        if piece(results, i, &length) == NULL:
            return None
        size += word_size(USUAL_HEAD + length)
    cdef bytes words = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(words)
    for i in range(count):
        text = piece(fingerprints, i, &length)
        if text == NULL or length != FINGERPRINT:
            return None
        fingerprint, text = text, piece(results, i, &length)
        out = before_word(out, USUAL_HEAD + length, True)
        memcpy(out, PyBytes_AS_STRING(head), DONE_HEAD)
        memcpy(out + DONE_HEAD, fingerprint, FINGERPRINT)
        memcpy(out + USUAL_HEAD, text, length)
        out += USUAL_HEAD + length
    return words


cdef inline char* before_word(char* out, size_t size, bint is_behind_another) noexcept nogil:
    """What stands before a word of so many bytes; what comes behind it."""
    if is_behind_another:
        memcpy(out, b"\r\n", 2)
        out += 2
    out[0] = 36
    out = number(out + 1, size)
    memcpy(out, b"\r\n", 2)
    return out + 2


def command(bytes call not None, keys, bytes fields not None, Py_ssize_t more,
            bytes values not None):
    """A script call as bytes: ``call``, which is two words packed; the number of keys; the keys;
    ``fields``; ``values``, which are ``more`` words packed, each behind the end of the word
    before it."""
    cdef Py_ssize_t count = len(keys), length
    cdef Py_ssize_t size = 3 + digits_of(4 + count + more) + PyBytes_GET_SIZE(call)
    cdef char* out
    cdef char digits[20]
    size += word_size(digits_of(count)) + word_size(PyBytes_GET_SIZE(fields))
    for key in keys:
        size += word_size(PyBytes_GET_SIZE(<bytes?> key))
    size += PyBytes_GET_SIZE(values)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(whole)
    out[0] = 42
    out = number(out + 1, 4 + count + more)
    memcpy(out, b"\r\n", 2)
    out += 2
    memcpy(out, PyBytes_AS_STRING(call), PyBytes_GET_SIZE(call))
    out += PyBytes_GET_SIZE(call)
    length = number(digits, count) - digits
    out = before_word(out, length, False)
    memcpy(out, digits, length)
    out += length
    for key in keys:
        length = PyBytes_GET_SIZE(key)
        out = before_word(out, length, True)
        memcpy(out, PyBytes_AS_STRING(key), length)
        out += length
    length = PyBytes_GET_SIZE(fields)
    out = before_word(out, length, True)
    memcpy(out, PyBytes_AS_STRING(fields), length)
    out += length
    memcpy(out, PyBytes_AS_STRING(values), PyBytes_GET_SIZE(values))
    out += PyBytes_GET_SIZE(values)
    memcpy(out, b"\r\n", 2)
    return whole


def sets(bytes start not None, keys, bytes head not None, fingerprints, bytes tail not None):
    """A SET command for each key, whose value is ``head`` and its fingerprint: ``start``, which is
    all words before the key packed but for the end of the last, key and value as words, and
    ``tail``, which is the end of the value's word and what follows. None where an item has no
    fingerprint."""
    cdef Py_ssize_t i, length, count = len(keys)
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head), value = head_size + FINGERPRINT
    cdef Py_ssize_t size = count * (
        PyBytes_GET_SIZE(start) + word_size(value) + PyBytes_GET_SIZE(tail))
    cdef const char* text
    cdef char* out
    if len(fingerprints) != count:
        return None
    keys, fingerprints = steady(keys), steady(fingerprints)
    for i in range(count):
        if piece(fingerprints, i, &length) == NULL or length != FINGERPRINT:
            return None
        if piece(keys, i, &length) == NULL:
            return None
        size += word_size(length)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(made)
    for i in range(count):
        memcpy(out, PyBytes_AS_STRING(start), PyBytes_GET_SIZE(start))
        out += PyBytes_GET_SIZE(start)
        text = piece(keys, i, &length)
        out = before_word(out, length, True)
        memcpy(out, text, length)
        out += length
        out = before_word(out, value, True)
        memcpy(out, PyBytes_AS_STRING(head), head_size)
        out += head_size
        memcpy(out, piece(fingerprints, i, &length), FINGERPRINT)
        out += FINGERPRINT
        memcpy(out, PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail))
        out += PyBytes_GET_SIZE(tail)
    return made


def unlike(fingerprints, values, bytes usual not None):
    """The indexes of all stored values but those that begin with the bytes ``usual``, which say
    that they have a fingerprint, and have this one."""
    cdef Py_ssize_t i, size, length, count = len(values)
    cdef const char* text
    cdef const char* fingerprint
    cdef list indexes = []
    if len(fingerprints) != count:
        raise ValueError("a fingerprint for each value")
    values, fingerprints = steady(values), steady(fingerprints)
    for i in range(count):
        text = piece(values, i, &size)
        fingerprint = piece(fingerprints, i, &length)
        if (
            text == NULL
            or fingerprint == NULL
            or size < USUAL_HEAD
            or length != FINGERPRINT
            or memcmp(text, PyBytes_AS_STRING(usual), 2) != 0
            or memcmp(text + DONE_HEAD, fingerprint, FINGERPRINT) != 0
        ):
            indexes.append(i)
    return indexes


cdef uint64_t time_of(const char* record) noexcept nogil:
    cdef uint64_t at = 0
    cdef int i
    for i in range(DONE_HEAD - 6, DONE_HEAD):
        at = at << 8 | <uint8_t> record[i]
    return at


def usual_time(values, bytes usual not None):
    """The time of all these stored records. None where they have none in common, or one of them
    does not begin with the bytes ``usual``, or has no result."""
    cdef Py_ssize_t i, size, count = len(values)
    cdef const char* text
    cdef const char* first = NULL
    if type(values) is not list:
        return None
    for i in range(count):
        text = piece(values, i, &size)
        if text == NULL or size <= USUAL_HEAD or memcmp(text, PyBytes_AS_STRING(usual), 2) != 0:
            return None
        if first == NULL:
            first = text
        elif memcmp(first + DONE_HEAD - 6, text + DONE_HEAD - 6, 6) != 0:
            return None
    return None if first == NULL else time_of(first)


def records_each(values not None, bytes usual not None, make, otherwise):
    """``make(token, processed at, fingerprint, result)`` of each stored record that begins with the
    bytes ``usual``, and ``otherwise(value)`` of whatever else there is."""
    cdef Py_ssize_t size
    cdef const char* text
    cdef const char* known = NULL
    cdef list records = []
    token = processed_at = None
    for value in values:
        if type(value) is not bytes or PyBytes_GET_SIZE(value) < USUAL_HEAD:
            records.append(otherwise(value))
            continue
        size = PyBytes_GET_SIZE(value)
        text = PyBytes_AS_STRING(value)
        if memcmp(text, PyBytes_AS_STRING(usual), 2) != 0:
            records.append(otherwise(value))
            continue
        if known == NULL or memcmp(known, text, DONE_HEAD) != 0:
            known = text
            token = PyBytes_FromStringAndSize(text + 2, DONE_HEAD - 8)
            processed_at = time_of(text)
        records.append(
            make(
                token,
                processed_at,
                PyBytes_FromStringAndSize(text + DONE_HEAD, USUAL_HEAD - DONE_HEAD),
                PyBytes_FromStringAndSize(text + USUAL_HEAD, size - USUAL_HEAD),
            )
        )
    return records
