-- settle: sent, extend, commit, release, doubt, forget. core/transitions.py is the same table.
--
-- ARGV[1] is a run of groups, one for each run of steps of one kind in a request:
--   count 2, kind 1, flags 1, token 12, lease 6, retention 6, doubt retention 6, then for each key
--   of a doubt with flags 1 its fingerprint 16, else nothing; a forget with flags 1 is forced
-- The other ARGV are the values of the commits in order, each a whole DONE record. (Lua hashes
-- every byte of a string that it makes: values that are cut from one argument cost twice.)
-- A reply: 'A' applied, 'L' lost, 'C' conflict, or the DONE record that stands. The script answers
-- with a list of them, or with one 'A' where it is the reply of every key.
--
-- Redis may run it when it is out of memory, so that finished work is never unrecordable.
local SEND, EXTEND, COMMIT, RELEASE, MARK_DOUBT, FORGET = 1, 2, 3, 4, 5, 6

local kind, token, lease

-- What becomes of a key: its new value (false: delete the key; nil: leave it), and the reply.
-- The first commit stays. A record made from a template takes one real result and keeps its time;
-- the repeat of a commit is known by its token, its time and its kind.
local function commit(value, mine)
  local flags, state = known(value)
  if not flags then return nil, 'L' end
  if state ~= DONE then return mine, 'A' end
  local my_flags = byte(mine, 2)
  local both = band(flags, my_flags)
  if band(both, FINGERPRINT) ~= 0 and sub(value, 21, 36) ~= sub(mine, 21, 36) then
    return nil, 'C'
  end
  local after = value
  if band(flags, TEMPLATE) ~= 0 and band(my_flags, TEMPLATE + NO_RESULT) == 0 then
    local with = band(flags, FINGERPRINT) ~= 0 and value or mine
    local body = sub(mine, 21 + band(my_flags, FINGERPRINT) * 4)
    local new_flags = bor(my_flags, band(flags, FINGERPRINT))
    after = pack_fields('>BBc12', 1, new_flags, token) .. sub(value, 15, 20)
      .. (band(new_flags, FINGERPRINT) ~= 0 and sub(with, 21, 36) or '') .. body
  end
  local own = sub(after, 3, 20) == sub(mine, 3, 20)
    and band(byte(after, 2), TEMPLATE) == band(my_flags, TEMPLATE)
  local reply = own and 'A' or after
  if after == value then return nil, reply end
  return after, reply
end

-- An operator's word. What is done, or may be forwarded right now, goes only by force.
local function forget(value, forced)
  if not value then return nil, 'A' end
  local flags, state = known(value)
  if not flags then return nil, 'L' end
  if not forced and state ~= DOUBT then
    if state == DONE then return nil, 'L' end
    local owner, _, ends = read_held(value, flags)
    if owner == token or now < ends then return nil, 'L' end
  end
  return false, 'A'
end

-- Every other step.
local function step(value, fingerprint)
  if not value then
    if kind == MARK_DOUBT then return doubt(now, 1, fingerprint), 'A' end
    return nil, 'L'
  end
  local flags, state = known(value)
  if not flags or state == DONE then return nil, 'L' end
  if state == DOUBT then return nil, kind == MARK_DOUBT and 'A' or 'L' end
  local owner, attempt, ends, kept, since = read_held(value, flags)
  if owner ~= token then
    if kind ~= MARK_DOUBT or since then return nil, 'L' end
    return held(band(flags, BARRIER + SENT), owner, attempt, ends, kept, now), 'L'
  end
  if kind == RELEASE then
    if not since then return false, 'A' end
    return doubt(since, attempt, kept), 'A'
  end
  if kind == MARK_DOUBT then
    if kept == '' then kept = fingerprint end
    return doubt(doubt_began(flags, since), attempt, kept), 'A'
  end
  if kind == SEND then flags = bor(flags, SENT) end
  return '\1' .. char(flags) .. sub(value, 3, 16) .. pack_fields('>I6', now + lease)
    .. sub(value, 23), 'A'
end

-- A commit is mostly of a plain claim: it is written, and what stood there is looked at afterwards,
-- which halves the look-ups. What must stand is put back before anybody can see the script's
-- effects. (SET with an expiry takes the old one out of Redis's table of expiries to put it in
-- again; one that keeps it and a PEXPIREAT cost less.)
--
-- A claim expires a little later than its commit would have to (core/record.py, LEEWAY), so that a
-- commit which follows soon need not renew it: a sixth of what Redis takes for it. The keys of one
-- claim, by token and deadline, expire together: one of them is asked.
local USUAL, USUAL_SIZE, CLAIM_SIZE = '\1\4', 38, 22 -- HELD, with a fingerprint
local LEEWAY = 250 -- ms

local asked, late_enough

-- Whether this is a plain claim; it is ``asked`` then.
local function is_plain(before, key, retention)
  if #before ~= USUAL_SIZE then return false end
  local claim = sub(before, 1, CLAIM_SIZE)
  if claim == asked then return true end
  if sub(claim, 1, 2) ~= USUAL then return false end
  local left = pcall('PTTL', key)
  late_enough = type(left) == 'number' and left >= retention and left <= retention + LEEWAY
  asked = claim
  return true
end

local function commit_first(key, mine, retention, expires)
  local before = call('SET', key, mine, 'GET', 'KEEPTTL')
  local after, reply = mine, 'A'
  if before then
    if is_plain(before, key, retention) then
      if late_enough then return 'A' end
    else
      after, reply = commit(before, mine)
      if after ~= mine then call('SET', key, after or before, 'KEEPTTL') end
    end
  end
  if after then
    local set = pcall('PEXPIREAT', key, expires)
    if type(set) == 'table' then call('SET', key, after, 'PXAT', expires) end -- it is not allowed
  end
  return reply
end

-- Every other step of one request. A key may stand twice.
local function take_steps(first, count, flags, groups, at, expires)
  local values, written = call('MGET', unpack(KEYS, first, first + count - 1)), {}
  local replies = {}
  for i = 1, count do
    local key, fingerprint = KEYS[first + i - 1], ''
    local value, after = written[key], nil
    if value == nil then value = values[i] end
    if kind == FORGET then
      after, replies[i] = forget(value, flags == 1)
    else
      if flags == 1 then
        fingerprint = sub(groups, at, at + 15)
        at = at + 16
      end
      after, replies[i] = step(value, fingerprint)
    end
    if after then
      call('SET', key, after, 'PXAT', expires)
      written[key] = after
    elseif after == false then
      call('DEL', key)
      written[key] = false
    end
  end
  return replies, at
end

local groups, at, first, commits = ARGV[1], 1, 1, 1
local replies -- nil while each is 'A'

local function answer(i, reply)
  if reply ~= 'A' and not replies then replies = alike('A', i - 1) end
  if replies then replies[i] = reply end
end

while at <= #groups do
  local count, flags, retention, doubt_retention
  count, kind, flags, token, lease, retention, doubt_retention, at =
    unpack_fields('>I2BBc12I6I6I6', groups, at)
  if kind == COMMIT then
    local expires = moment_in(retention)
    for i = first, first + count - 1 do
      commits = commits + 1
      answer(i, commit_first(KEYS[i], ARGV[commits], retention, expires))
    end
  else
    local said
    said, at = take_steps(first, count, flags, groups, at, moment_in(doubt_retention))
    for i = 1, count do answer(first + i - 1, said[i]) end
  end
  first = first + count
end
return replies or 'A'
