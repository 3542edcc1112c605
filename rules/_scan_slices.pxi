# Many texts as parts of others. Law: they read as the list of bytes that they stand for.
#
# Of most batches nobody looks at a single fingerprint or result but the code that packs them: a
# hundred objects are not made, and not fetched again one by one when the service has answered.

cdef class Slices:
    """Parts of ``text``, one behind the other."""

    def __cinit__(self, bytes text not None):
        self.text = text
        self._places = NULL
        self.count = self._room = 0

    def __dealloc__(self):
        PyMem_Free(self._places)

    cdef int add(self, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t* places
        cdef Py_ssize_t room
        if self.count == self._room:
            room = 2 * self._room or ROOM
            places = <Py_ssize_t*> PyMem_Realloc(self._places, room * PLACE)
            if places == NULL:
                raise MemoryError
            self._places, self._room = places, room
        self._places[2 * self.count] = start
        self._places[2 * self.count + 1] = end
        self.count += 1
        return 0

    @property
    def longest(self):
        """Bytes of the longest."""
        cdef Py_ssize_t i, most = 0
        for i in range(self.count):
            most = max(most, self._places[2 * i + 1] - self._places[2 * i])
        return most

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        cdef Py_ssize_t i
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.count))]
        i = index
        if i < 0:
            i += self.count
        if not 0 <= i < self.count:
            raise IndexError(index)
        return self.text[self._places[2 * i] : self._places[2 * i + 1]]

    def __iter__(self):
        return iter(self[:])

    def __eq__(self, other):
        if not isinstance(other, (Slices, list, tuple)):
            return NotImplemented
        return self[:] == list(other)


cdef class Tails:
    """What stands behind the first ``at`` bytes of each of ``texts``. Raises ValueError where one
    has fewer."""

    def __cinit__(self, list texts not None, Py_ssize_t at):
        for text in texts:
            if type(text) is not bytes or not 0 <= at <= PyBytes_GET_SIZE(text):
                raise ValueError("no bytes, or too few")
        self.texts = list(texts)
        self.at = at

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [text[self.at :] for text in self.texts[index]]
        return self.texts[index][self.at :]

    def __iter__(self):
        return iter(self[:])

    def __eq__(self, other):
        if not isinstance(other, (Tails, list, tuple)):
            return NotImplemented
        return self[:] == list(other)
