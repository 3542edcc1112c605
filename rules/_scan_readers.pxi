# What is asked for: the array at a pointer, a batch's items, where members stand.
#
# Law: one pass over the whole text; what is given is what the exact way gives.

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
        """Where the array stands, from its bracket to behind its other one, and its elements;
        None: the exact way decides."""
        cdef Walk w
        cdef Slices elements = Slices(body)
        if not self._read(&w, body, elements):
            return None
        return self._from, self._to, elements

    cdef bint _read(self, Walk* w, bytes body, Slices into) except *:
        w.at = self._body = <Text> PyBytes_AS_STRING(body)
        w.end = w.at + PyBytes_GET_SIZE(body)
        w.members = 0
        w.at = over_space(w.at)
        if not self._walk(w, 0, into):
            return False
        w.at = over_space(w.at)
        return w.at == w.end

    cdef bint _walk(self, Walk* w, int level, Slices into) except *:
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

    cdef bint _elements(self, Walk* w, int depth, Slices into) except *:
        w.at = over_space(w.at + 1)
        if w.at[0] == 93:
            w.at += 1
            return True
        while True:
            if not self._element(w, depth, into):
                return False
            w.at = over_space(w.at)
            if w.at[0] == 93:
                w.at += 1
                return True
            if w.at[0] != 44:
                return False
            w.at = over_space(w.at + 1)

    cdef bint _element(self, Walk* w, int depth, Slices into) except *:
        cdef Text start = w.at
        if not skip(w, depth):
            return False
        into.add(start - self._body, w.at - self._body)
        return True


cdef class ItemReader(ArrayReader):
    """Reads a batch. ``keys`` and ``excluded``: tokens of JSON Pointers inside an item.
    ``compares``: whether fingerprints are wanted. Raises ValueError for more than fits here."""

    cdef Wanted _wanted
    cdef bint _compares
    cdef Py_ssize_t _most, _used, _hashed
    cdef uint8_t* _keys
    cdef uint8_t* _prints
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
        not wanted; where the array stands; and the items. None where the exact way decides: an item
        without a good key, more items than ``most``."""
        cdef Walk w
        cdef Slices items = Slices(body)
        w.wanted = &self._wanted
        w.out = canonical
        w.out_end = canonical + TEXT
        self._most = most
        self._used = self._hashed = self._pending = 0
        # A key takes less than its member's text, `"":"k"`, and an integer less than a string.
        keys = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(body))
        self._keys = <uint8_t*> PyBytes_AS_STRING(keys)
        # An item with a key takes `{"":0},`, but for the last comma.
        prints = PyBytes_FromStringAndSize(
            NULL, min(max(most, 0), PyBytes_GET_SIZE(body) // 7 + 1) * FINGERPRINT
        )
        self._prints = <uint8_t*> PyBytes_AS_STRING(prints)
        if not self._read(&w, body, items):
            return None
        return keys[: self._used], self._printed(prints, items.count), (self._from, self._to), items

    cdef object _printed(self, bytes prints, Py_ssize_t count):
        """The fingerprints of so many items."""
        cdef Py_ssize_t i
        if not self._compares:
            return [None] * count
        self._flush()
        cdef Slices each = Slices(prints[: count * FINGERPRINT])
        for i in range(count):
            each.add(i * FINGERPRINT, (i + 1) * FINGERPRINT)
        return each

    cdef bint _element(self, Walk* w, int depth, Slices into) except *:
        cdef int i
        cdef Py_ssize_t start = w.at - self._body
        if into.count >= self._most:
            return False
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
        into.add(start, w.at - self._body)
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
            digests[i] = self._prints + (self._hashed + i) * FINGERPRINT
        b2b_each(self._pending, self._texts, self._sizes, digests, FINGERPRINT, 0)
        self._hashed += self._pending
        self._pending = 0
        return 0


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
            if start - begin == known and known <= behind <= w.end - begin:
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
