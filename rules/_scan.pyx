# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False
"""A batch's JSON text in one pass: items' keys and fingerprints, results' bytes, where things stand.

Law: what it gives is what the exact way gives (``rules.request``, ``rules.jsontext``), else it
gives None and the exact way decides: whatever is not JSON, nested too deep or too long for the
fixed buffers here, a name that repeats, an escape where text is compared. It never writes outside
those buffers, and reads nothing behind a text's end: a Python bytes object ends with a zero byte,
which no step of the grammar takes. The text is known to be UTF-8.

This is the compiled build's reader; the pure one has none and goes the way of ``rules.contents``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t size, const void* name, size_t name_size)

cdef extern from "blake2b.h" nogil:
    void b2b_each(int n, const uint8_t** texts, const size_t* sizes, uint8_t** digests,
                  size_t length, size_t key_size)


cdef enum:
    MAX_DEPTH = 64
    MAX_KEY_BYTES = 255
    MAX_NUMBER = 300      # characters; longer ones are somebody's attack, and not read here
    POINTERS = 16         # of a rule, keys and exclusions together
    TOKENS = 8            # of one pointer
    MEMBERS = 1024        # of the objects that are open at once
    FEW = 16              # are sorted by insertion
    TEXT = 262144         # bytes of canonical text
    LANES = 4
    FINGERPRINT = 16
    PLACE = 2 * sizeof(Py_ssize_t)

cdef enum Kind:
    PLAIN, QUOTE, BACKSLASH, CONTROL

ctypedef const uint8_t* Text

cdef struct Span:
    Text start
    Py_ssize_t size

cdef struct Member:
    Span name
    uint8_t* at           # its canonical text, without a comma
    Py_ssize_t size       # 0: left out

cdef struct Walk:
    Text at               # what comes next
    Text end              # of the text, where a zero stands
    uint8_t* out          # where canonical text goes next
    uint8_t* out_end
    int members           # in use
    const Wanted* wanted
    Span found[POINTERS]

cdef struct Wanted:
    Span tokens[POINTERS][TOKENS]
    int lengths[POINTERS]
    int keys              # the first so many pointers; the others are left out of the text
    int pointers

# One thread at a time: whoever reads holds the interpreter's lock.
cdef Member member[MEMBERS]
cdef uint8_t canonical[TEXT]
cdef uint8_t scratch[TEXT]

cdef uint8_t kind[256]
cdef uint8_t after_backslash[256]   # 1: as short as can be; 2: a slash; 3: a code unit

for _i in range(256):
    kind[_i] = CONTROL if _i < 32 else PLAIN
    after_backslash[_i] = 0
kind[34] = QUOTE
kind[92] = BACKSLASH
for _c in (34, 92, 98, 102, 110, 114, 116):
    after_backslash[_c] = 1
after_backslash[47] = 2
after_backslash[117] = 3


# ---- what every text is made of ---------------------------------------------------------------

cdef inline Text over_space(Text p) noexcept nogil:
    while p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9:
        p += 1
    return p


cdef inline bint word(Walk* w, const char* text, int size) noexcept nogil:
    """``true``, ``false`` or ``null``."""
    cdef int i
    for i in range(size):
        if w.at[i] != <uint8_t> text[i]:
            return False
    w.at += size
    return True


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return 48 <= c <= 57


cdef bint number(Walk* w) noexcept nogil:
    """RFC 8259 section 6. Not ``-0``, whose canonical text is another."""
    cdef Text p = w.at
    cdef bint is_integer = True
    if p[0] == 45:
        p += 1
    if p[0] == 48:
        p += 1
    elif is_digit(p[0]):
        while is_digit(p[0]):
            p += 1
    else:
        return False
    if p[0] == 46:
        is_integer = False
        p += 1
        if not is_digit(p[0]):
            return False
        while is_digit(p[0]):
            p += 1
    if p[0] == 101 or p[0] == 69:
        is_integer = False
        p += 1
        if p[0] == 43 or p[0] == 45:
            p += 1
        if not is_digit(p[0]):
            return False
        while is_digit(p[0]):
            p += 1
    if p - w.at > MAX_NUMBER or (is_integer and w.at[0] == 45 and w.at[1] == 48):
        return False
    w.at = p
    return True


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


cdef int code_unit(Text p) noexcept nogil:
    """The UTF-16 code unit that the escape at ``p`` writes, or -1."""
    cdef int i, digit, value = 0
    if p[0] != 92 or p[1] != 117:
        return -1
    for i in range(2, 6):
        digit = hex_digit(p[i])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


cdef int code_point(Text* p) noexcept nogil:
    """The character of the escape at ``p``, which goes behind it; -1 for half a pair."""
    cdef int low, unit = code_unit(p[0])
    if unit < 0:
        return -1
    p[0] += 6
    if not 0xD800 <= unit < 0xE000:
        return unit
    low = code_unit(p[0])
    if unit >= 0xDC00 or not 0xDC00 <= low < 0xE000:
        return -1
    p[0] += 6
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)


cdef inline Text over_plain(Text p, Text end) noexcept nogil:
    """Over characters that are themselves, eight at a time where there are as many."""
    cdef uint64_t x, special
    while end - p >= 8:
        memcpy(&x, p, 8)
        special = zero_in(x ^ 0x2222222222222222ULL) | zero_in(x ^ 0x5C5C5C5C5C5C5C5CULL)
        special |= (x - 0x2020202020202020ULL) & ~x & 0x8080808080808080ULL
        if special:
            break
        p += 8
    while kind[p[0]] == PLAIN:
        p += 1
    return p


cdef inline uint64_t zero_in(uint64_t x) noexcept nogil:
    """Not 0 where one of its bytes is 0."""
    return (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL


cdef bint skip_string(Walk* w) noexcept nogil:
    cdef Text p = w.at + 1
    cdef uint8_t k
    while True:
        p = over_plain(p, w.end)
        k = kind[p[0]]
        if k == QUOTE:
            w.at = p + 1
            return True
        elif k == CONTROL:
            return False
        elif after_backslash[p[1]] == 3:
            if code_point(&p) < 0:
                return False
        elif after_backslash[p[1]]:
            p += 2
        else:
            return False


cdef bint skip(Walk* w, int depth) noexcept nogil:
    """Over a value, which is checked and nothing else. ``depth``: brackets that are open."""
    cdef uint8_t c = w.at[0]
    if c == 34:
        return skip_string(w)
    if c == 123 or c == 91:
        return depth < MAX_DEPTH and skip_inside(w, depth + 1, c == 123)
    if c == 116:
        return word(w, b"true", 4)
    if c == 102:
        return word(w, b"false", 5)
    if c == 110:
        return word(w, b"null", 4)
    return number_or_zero(w)


cdef inline bint number_or_zero(Walk* w) noexcept nogil:
    """Any number, ``-0`` too."""
    if w.at[0] == 45 and w.at[1] == 48 and not (w.at[2] == 46 or (w.at[2] | 32) == 101):
        w.at += 2
        return True
    return number(w)


cdef bint skip_inside(Walk* w, int depth, bint is_object) noexcept nogil:
    cdef uint8_t closing = 125 if is_object else 93
    w.at = over_space(w.at + 1)
    if w.at[0] == closing:
        w.at += 1
        return True
    while True:
        if is_object and not to_value(w):
            return False
        if not skip(w, depth):
            return False
        w.at = over_space(w.at)
        if w.at[0] == closing:
            w.at += 1
            return True
        if w.at[0] != 44:
            return False
        w.at = over_space(w.at + 1)


cdef inline bint to_value(Walk* w) noexcept nogil:
    """Over a member's name and colon, to its value."""
    if w.at[0] != 34 or not skip_string(w):
        return False
    return over_colon(w)


cdef inline bint over_colon(Walk* w) noexcept nogil:
    w.at = over_space(w.at)
    if w.at[0] != 58:
        return False
    w.at = over_space(w.at + 1)
    return True


cdef inline bint plain_name(Walk* w, Span* name) noexcept nogil:
    """A member's name that has no escape, and over its colon. Names with one are compared by the
    exact way."""
    cdef Text p = w.at
    if p[0] != 34:
        return False
    p += 1
    while kind[p[0]] == PLAIN:
        p += 1
    if p[0] != 34:
        return False
    name.start = w.at + 1
    name.size = p - name.start
    w.at = p + 1
    return over_colon(w)


cdef inline bint same(const Span* a, const Span* b) noexcept nogil:
    if a.size != b.size or (a.size and a.start[0] != b.start[0]):
        return False
    return memcmp(a.start, b.start, a.size) == 0


# ---- canonical text: members sorted by name, no space, strings by their characters --------------

cdef inline bint put(Walk* w, Text text, Py_ssize_t size) noexcept nogil:
    if w.out_end - w.out < size:
        return False
    memcpy(w.out, text, size)
    w.out += size
    return True


cdef inline bint put_one(Walk* w, uint8_t c) noexcept nogil:
    if w.out == w.out_end:
        return False
    w.out[0] = c
    w.out += 1
    return True


cdef bint put_character(Walk* w, int c) noexcept nogil:
    """As UTF-8. What canonical text escapes is not written here."""
    cdef uint8_t utf8[4]
    if c < 0x80:
        utf8[0] = c
        return kind[c] == PLAIN and put(w, utf8, 1)
    if c < 0x800:
        utf8[0] = 0xC0 | c >> 6
        utf8[1] = 0x80 | c & 63
        return put(w, utf8, 2)
    if c < 0x10000:
        utf8[0] = 0xE0 | c >> 12
        utf8[1] = 0x80 | c >> 6 & 63
        utf8[2] = 0x80 | c & 63
        return put(w, utf8, 3)
    utf8[0] = 0xF0 | c >> 18
    utf8[1] = 0x80 | c >> 12 & 63
    utf8[2] = 0x80 | c >> 6 & 63
    utf8[3] = 0x80 | c & 63
    return put(w, utf8, 4)


cdef bint write_string(Walk* w) noexcept nogil:
    cdef Text p = w.at + 1
    cdef Text verbatim = w.at    # from here on nothing is written yet
    cdef int c
    while True:
        p = over_plain(p, w.end)
        if p[0] == 34:
            w.at = p + 1
            return put(w, verbatim, p + 1 - verbatim)
        if p[0] != 92:
            return False
        if after_backslash[p[1]] == 1:
            p += 2
            continue
        if not put(w, verbatim, p - verbatim):
            return False
        if after_backslash[p[1]] == 2:
            p += 1
            verbatim = p
            p += 1
            continue
        c = code_point(&p)
        if c < 0 or not put_character(w, c):
            return False
        verbatim = p


cdef bint write(Walk* w, int depth, unsigned int active, int level) noexcept nogil:
    """A value, checked and written. ``active``: the pointers, a bit each, whose first ``level``
    tokens led here."""
    cdef uint8_t c = w.at[0]
    cdef Text start = w.at
    cdef bint good
    if c == 34:
        return write_string(w)
    if c == 123:
        return depth < MAX_DEPTH and write_object(w, depth + 1, active, level)
    if c == 91:
        return active == 0 and depth < MAX_DEPTH and write_array(w, depth + 1)
    if c == 116:
        good = word(w, b"true", 4)
    elif c == 102:
        good = word(w, b"false", 5)
    elif c == 110:
        good = word(w, b"null", 4)
    else:
        good = number(w)
    return good and put(w, start, w.at - start)


cdef bint write_array(Walk* w, int depth) noexcept nogil:
    w.at = over_space(w.at + 1)
    if not put_one(w, 91):
        return False
    if w.at[0] == 93:
        w.at += 1
        return put_one(w, 93)
    while True:
        if not write(w, depth, 0, 0):
            return False
        w.at = over_space(w.at)
        if w.at[0] == 93:
            w.at += 1
            return put_one(w, 93)
        if w.at[0] != 44 or not put_one(w, 44):
            return False
        w.at = over_space(w.at + 1)


cdef bint write_object(Walk* w, int depth, unsigned int active, int level) noexcept nogil:
    cdef int first = w.members
    cdef bint sorted_ = True
    cdef Member* m
    cdef uint8_t* base
    w.at = over_space(w.at + 1)
    if not put_one(w, 123):
        return False
    base = w.out
    if w.at[0] == 125:
        w.at += 1
        return put_one(w, 125)
    while True:
        if w.members == MEMBERS:
            return False
        m = &member[w.members]
        w.members += 1
        if not write_member(w, m, depth, active, level, base):
            return False
        if w.members - first > 1 and compared(m - 1, m) >= 0:
            sorted_ = False
        w.at = over_space(w.at)
        if w.at[0] == 125:
            break
        if w.at[0] != 44:
            return False
        w.at = over_space(w.at + 1)
    w.at += 1
    if not sorted_ and not in_order(w, &member[first], w.members - first, base):
        return False
    w.members = first
    return put_one(w, 125)


cdef bint write_member(
    Walk* w, Member* m, int depth, unsigned int active, int level, uint8_t* base
) noexcept nogil:
    """One member, behind a comma where it is not the object's first."""
    cdef uint8_t* before = w.out
    cdef Text start
    cdef unsigned int inner = 0
    cdef int leaf = -1, pointer
    cdef bint left_out = False
    if not plain_name(w, &m.name):
        return False
    if w.out != base and not put_one(w, 44):
        return False
    m.at = w.out
    if not (put(w, m.name.start - 1, m.name.size + 2) and put_one(w, 58)):
        return False
    if active:
        for pointer in range(w.wanted.pointers):
            if not active >> pointer & 1:
                continue
            if not same(&w.wanted.tokens[pointer][level], &m.name):
                continue
            if level + 1 < w.wanted.lengths[pointer]:
                inner |= <unsigned int> 1 << pointer
            elif pointer < w.wanted.keys:
                leaf = pointer
            else:
                left_out = True
    start = w.at
    if not write(w, depth, inner, level + 1):
        return False
    if leaf >= 0:
        w.found[leaf].start = start
        w.found[leaf].size = w.at - start
    m.size = w.out - m.at
    if left_out:
        m.size = 0
        w.out = before
    return True


cdef int compared(const Member* a, const Member* b) noexcept nogil:
    """By the names' bytes, which is by their characters."""
    cdef Py_ssize_t shorter = min(a.name.size, b.name.size)
    cdef int order
    if shorter and a.name.start[0] != b.name.start[0]:  # mostly, and without a call
        return <int> a.name.start[0] - <int> b.name.start[0]
    order = memcmp(a.name.start, b.name.start, shorter)
    if order:
        return order
    return (a.name.size > b.name.size) - (a.name.size < b.name.size)


cdef int compared_for_qsort(const void* a, const void* b) noexcept nogil:
    return compared(<const Member*> a, <const Member*> b)


cdef bint in_order(Walk* w, Member* m, int count, uint8_t* base) noexcept nogil:
    """Put the members' texts, which stand from ``base`` to ``w.out``, in order. False: a name
    stands twice, and the exact way knows which of the two counts."""
    cdef int i, j
    cdef Member one
    cdef Py_ssize_t size = 0
    if count <= FEW:
        for i in range(1, count):
            one = m[i]
            j = i
            while j > 0 and compared(&m[j - 1], &one) > 0:
                m[j] = m[j - 1]
                j -= 1
            m[j] = one
    else:
        qsort(m, count, sizeof(Member), compared_for_qsort)
    for i in range(count):
        if i and compared(&m[i - 1], &m[i]) == 0:
            return False
        if m[i].size == 0:
            continue
        if size:
            scratch[size] = 44
            size += 1
        memcpy(scratch + size, m[i].at, m[i].size)
        size += m[i].size
    memcpy(base, scratch, size)
    return True


# ---- what is asked for --------------------------------------------------------------------------

cdef list spans_of(tuple tokens, Span* spans, Py_ssize_t most):
    """Note where the names' own bytes are; they live as long as what is returned."""
    kept = []
    if len(tokens) > most:
        raise ValueError("too many names")
    for i, token in enumerate(tokens):
        text = (<str> token).encode()
        kept.append(text)
        spans[i].start = <Text> PyBytes_AS_STRING(text)
        spans[i].size = PyBytes_GET_SIZE(text)
    return kept


cdef class ArrayReader:
    """Finds the array at a JSON Pointer's ``tokens``, none of which is an array's index, in a JSON
    text that is UTF-8."""

    cdef Span way[TOKENS]
    cdef int steps
    cdef list _kept
    cdef Text _body
    cdef Py_ssize_t _from, _to

    def __init__(self, tuple tokens):
        self._kept = spans_of(tokens, self.way, TOKENS)
        self.steps = len(tokens)

    def read(self, bytes body not None):
        """Where the array stands, from its bracket to behind its other one, and its elements'
        bytes; None: the exact way decides."""
        cdef Walk w
        cdef list elements = []
        if not self._read(&w, body, elements):
            return None
        return self._from, self._to, elements

    cdef bint _read(self, Walk* w, bytes body, list into) except *:
        w.at = self._body = <Text> PyBytes_AS_STRING(body)
        w.end = w.at + PyBytes_GET_SIZE(body)
        w.members = 0
        w.at = over_space(w.at)
        if not self._walk(w, 0, into):
            return False
        w.at = over_space(w.at)
        return w.at == w.end

    cdef bint _walk(self, Walk* w, int level, list into) except *:
        """Down to the array, and over all that is around it. A name on the way that stands twice
        is the exact way's to judge."""
        cdef bint seen = False
        cdef Span name
        if level == self.steps:
            if w.at[0] != 91 or level >= MAX_DEPTH:
                return False
            self._from = w.at - self._body
            if not self._elements(w, level + 1, into):
                return False
            self._to = w.at - self._body
            return True
        if w.at[0] != 123:
            return False
        w.at = over_space(w.at + 1)
        while w.at[0] == 34:
            if not plain_name(w, &name):
                return False
            if not same(&name, &self.way[level]):
                if not skip(w, level + 1):
                    return False
            elif seen or not self._walk(w, level + 1, into):
                return False
            else:
                seen = True
            w.at = over_space(w.at)
            if w.at[0] == 125:
                w.at += 1
                return seen
            if w.at[0] != 44:
                return False
            w.at = over_space(w.at + 1)
        return False

    cdef bint _elements(self, Walk* w, int depth, list into) except *:
        cdef Text start
        w.at = over_space(w.at + 1)
        if w.at[0] == 93:
            w.at += 1
            return True
        while True:
            start = w.at
            if not self._element(w, depth, into):
                return False
            w.at = over_space(w.at)
            if w.at[0] == 93:
                w.at += 1
                return True
            if w.at[0] != 44:
                return False
            w.at = over_space(w.at + 1)

    cdef bint _element(self, Walk* w, int depth, list into) except *:
        cdef Text start = w.at
        if not skip(w, depth):
            return False
        into.append(PyBytes_FromStringAndSize(<const char*> start, w.at - start))
        return True


cdef class ItemReader(ArrayReader):
    """Reads a batch. ``keys`` and ``excluded``: tokens of JSON Pointers inside an item.
    ``compares``: whether fingerprints are wanted. Raises ValueError for more than fits here."""

    cdef Wanted _wanted
    cdef bint _compares
    cdef Py_ssize_t _most, _count, _used
    cdef uint8_t* _keys
    cdef char* _places
    cdef list _prints
    cdef int _pending
    cdef Text _texts[LANES]
    cdef size_t _sizes[LANES]

    def __init__(self, tuple items, tuple keys, tuple excluded, bint compares):
        ArrayReader.__init__(self, items)
        self._compares = compares
        pointers = keys + excluded
        if not keys or len(pointers) > POINTERS:
            raise ValueError("no key, or too many pointers")
        self._wanted.keys = len(keys)
        self._wanted.pointers = len(pointers)
        for i, tokens in enumerate(pointers):
            if not tokens:
                raise ValueError("a pointer to the item itself")
            self._kept.append(spans_of(tokens, self._wanted.tokens[i], TOKENS))
            self._wanted.lengths[i] = len(tokens)

    def items(self, bytes body not None, Py_ssize_t most):
        """The items' keys as ``rules.packed`` has them; their fingerprints, None where they are
        not wanted; where the array stands; and where in it each item does, for ``cut``. None where
        the exact way decides: an item without a good key, more items than ``most``."""
        cdef Walk w
        w.wanted = &self._wanted
        w.out = canonical
        w.out_end = canonical + TEXT
        self._most = most
        self._count = self._used = self._pending = 0
        self._prints = prints = []
        # A key takes less than its member's text, `"":"k"`, and an integer less than a string.
        keys = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(body))
        self._keys = <uint8_t*> PyBytes_AS_STRING(keys)
        # An item with a key takes `{"":0},`, but for the last comma.
        places = PyBytes_FromStringAndSize(
            NULL, min(max(most, 0), PyBytes_GET_SIZE(body) // 7 + 1) * PLACE
        )
        self._places = PyBytes_AS_STRING(places)
        if not self._read(&w, body, None):
            return None
        if self._compares:
            self._flush()
        else:
            prints = [None] * self._count
        return keys[: self._used], prints, (self._from, self._to), places[: self._count * PLACE]

    cdef bint _element(self, Walk* w, int depth, list into) except *:
        cdef int i
        cdef Py_ssize_t place[2]
        if self._count >= self._most:
            return False
        place[0] = w.at - self._body
        if self._pending == LANES or w.out - canonical > TEXT // 2:
            self._flush()
            w.out = canonical
        for i in range(self._wanted.keys):
            w.found[i].start = NULL
        self._texts[self._pending] = w.out
        if not write(w, depth, (<unsigned int> 1 << self._wanted.pointers) - 1, 0):
            return False
        for i in range(self._wanted.keys):
            if not is_key(&w.found[i]):
                return False
            self._pack(&w.found[i])
        place[1] = w.at - self._body
        memcpy(self._places + self._count * PLACE, place, PLACE)
        self._count += 1
        if self._compares:
            self._sizes[self._pending] = w.out - self._texts[self._pending]
            self._pending += 1
        else:
            w.out = canonical
        return True

    cdef void _pack(self, const Span* found) noexcept:
        """A byte for its kind, one for its length, its text."""
        cdef uint8_t* out = self._keys + self._used
        cdef bint is_text = found.start[0] == 34
        cdef Py_ssize_t size = found.size - 2 * is_text
        out[0] = 115 if is_text else 105
        out[1] = <uint8_t> size
        memcpy(out + 2, found.start + is_text, size)
        self._used += 2 + size

    cdef int _flush(self) except -1:
        """Hash the texts that stand in the buffer."""
        cdef uint8_t* digests[LANES]
        cdef int i
        if self._pending == 0:
            return 0
        for i in range(self._pending):
            print_ = PyBytes_FromStringAndSize(NULL, FINGERPRINT)
            digests[i] = <uint8_t*> PyBytes_AS_STRING(print_)
            self._prints.append(print_)
        b2b_each(self._pending, self._texts, self._sizes, digests, FINGERPRINT, 0)
        self._pending = 0
        return 0


def cut(bytes body not None, bytes places not None):
    """The items' bytes."""
    cdef Py_ssize_t at
    cdef Py_ssize_t place[2]
    cdef list items = []
    for at in range(0, PyBytes_GET_SIZE(places), PLACE):
        memcpy(place, PyBytes_AS_STRING(places) + at, PLACE)
        if not 0 <= place[0] <= place[1] <= PyBytes_GET_SIZE(body):
            raise ValueError("not of this body")
        items.append(body[place[0]:place[1]])
    return items


cdef bint is_key(const Span* found) noexcept nogil:
    """A string of at most 255 bytes without an escape, or a 64-bit integer."""
    cdef Text p = found.start
    cdef Py_ssize_t size = found.size, i
    cdef bint negative
    if p == NULL:
        return False
    if p[0] == 34:
        for i in range(1, size - 1):
            if p[i] == 92:
                return False
        return size - 2 <= MAX_KEY_BYTES
    negative = p[0] == 45
    if not (negative or is_digit(p[0])):
        return False
    for i in range(1, size):
        if not is_digit(p[i]):
            return False
    size -= negative
    if size != (19 if negative else 20):
        return size < 20
    return memcmp(p + negative, b"9223372036854775808" if negative else b"18446744073709551615",
                  size) <= 0


cdef class MemberFinder:
    """Finds where the values of some members of an object stand; of a name that repeats, the last
    counts."""

    cdef Span _names[POINTERS]
    cdef int _count
    cdef list _kept

    def __init__(self, tuple names):
        self._kept = spans_of(names, self._names, POINTERS)
        self._count = len(names)

    def find(self, bytes body not None, Py_ssize_t known, Py_ssize_t behind):
        """(start, end) or None for each; None where the exact way decides. At ``known`` begins a
        value that was read before and ends at ``behind``; -1 for none."""
        cdef Walk w
        cdef Span name
        cdef Text begin = <Text> PyBytes_AS_STRING(body)
        cdef Text start
        cdef int i
        cdef list found = [None] * self._count
        w.at = begin
        w.end = begin + PyBytes_GET_SIZE(body)
        if w.at[0] != 123:
            return None
        w.at = over_space(w.at + 1)
        while True:
            if not plain_name(&w, &name):
                return None
            start = w.at
            if start - begin == known:
                w.at = begin + behind
            elif not skip(&w, 1):
                return None
            for i in range(self._count):
                if same(&name, &self._names[i]):
                    found[i] = (start - begin, w.at - begin)
            w.at = over_space(w.at)
            if w.at[0] == 125:
                break
            if w.at[0] != 44:
                return None
            w.at = over_space(w.at + 1)
        return found if over_space(w.at + 1) == w.end else None


def ended(results not None, bytes ending not None, list names not None):
    """The JSON array of ``results``, each with ``ending`` in place of its closing brace. None where
    one is no object with members, without space around it, or may have a member called as one of
    ``names``, which are in quotes and made of ASCII letters and digits."""
    return joined(results, None, ending, names)


def ended_each(list results not None, list endings not None, list names not None):
    """The same, each with its own of ``endings``; where that is None the result stands as it is."""
    if len(results) != len(endings):
        raise ValueError("an ending for each result")
    return joined(results, endings, None, names)


cdef joined(results, list endings, bytes ending, list names):
    cdef Py_ssize_t size = 2 + len(results), length
    cdef char* out
    cdef list unfinished = []
    for i, result in enumerate(results):
        if type(result) is not bytes:
            return None
        length = PyBytes_GET_SIZE(result)
        size += length
        if endings is not None:
            ending = <bytes?> endings[i] if endings[i] is not None else None
            if ending is None:
                continue
        out = PyBytes_AS_STRING(result)
        if length < 4 or out[0] != 123 or out[1] != 34 or out[length - 1] != 125:
            return None
        size += PyBytes_GET_SIZE(ending)
        unfinished.append(result)
    if may_have(b"".join(unfinished), names):
        return None
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(whole)
    out[0] = 91
    out += 1
    for i, result in enumerate(results):
        if i:
            out[0] = 44
            out += 1
        if endings is not None:
            ending = <bytes> endings[i]
        length = PyBytes_GET_SIZE(result)
        memcpy(out, PyBytes_AS_STRING(result), length)
        out += length
        if ending is not None:  # over the closing brace
            out -= 1
            memcpy(out, PyBytes_AS_STRING(ending), PyBytes_GET_SIZE(ending))
            out += PyBytes_GET_SIZE(ending)
    out[0] = 93
    return whole[: out + 1 - PyBytes_AS_STRING(whole)]


cdef bint may_have(bytes text, list names) except *:
    """Whether one of the names may stand in ``text``, as it is or by escapes."""
    cdef const char* begin = PyBytes_AS_STRING(text)
    cdef size_t size = PyBytes_GET_SIZE(text)
    if memchr(begin, 92, size) != NULL and memmem(begin, size, b"\\u", 2) != NULL:
        return True
    for name in names:
        if memmem(begin, size, PyBytes_AS_STRING(<bytes?> name), PyBytes_GET_SIZE(name)) != NULL:
            return True
    return False
