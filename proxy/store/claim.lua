-- claim: become the owner of each key, or learn why not. core/transitions.py is the same table.
--
-- ARGV[1] is a run of groups, one for each request that shares this call and for each half of it
-- with and without fingerprints:
--   count 2, flags 1, token 12, lease 6, expiry 6, settles within 6, count x [fingerprint 16]
-- A reply: 'W' won, first attempt; 'w' won, with attempt 2, flags 1, doubt age 6; 'M' mismatch;
-- a DONE record as it stands; 'B' busy, time left 6; 'D' in doubt, age 6; 'O' out of memory. The
-- script answers with a list of them, or with one 'W' where it is the reply of every key.
--
-- The script has no flags line on purpose: Redis then refuses only the write when it is out of
-- memory, so that what is done is still replayed.
local DETECTS, LOOKUP, SETTLES, WITH_FINGERPRINT = 1, 2, 4, 8
local MAX_ATTEMPT = 65535
local USUAL = '\1\6' -- DONE, with a fingerprint

local token, lease, settles, detects, lookup
local deadline, barrier

local function won(attempt, since)
  if not since then
    if attempt == 1 then return 'W' end
    return pack_fields('>c1I2BI6', 'w', attempt, 0, 0)
  end
  local age = max(0, now - since)
  local forwardable = detects or (lookup and settles and age >= settles)
  return pack_fields('>c1I2BI6', 'w', attempt, forwardable and 3 or 1, age)
end

local function begin(attempt, kept, fingerprint, since)
  attempt = min(attempt + 1, MAX_ATTEMPT)
  if fingerprint == '' then fingerprint = kept end
  return held(barrier, token, attempt, deadline, fingerprint, since), won(attempt, since)
end

-- What becomes of a key that has a value: the new value or nil, and the reply.
local function occupied(value, fingerprint)
  local flags, state = known(value)
  if not flags then return nil, pack_fields('>c1I6', 'B', lease) end
  if state == DONE then
    if fingerprint ~= '' and band(flags, FINGERPRINT) ~= 0 and sub(value, 21, 36) ~= fingerprint then
      return nil, 'M'
    end
    return nil, value
  end
  local attempt, kept, since
  if state == DOUBT then
    since, attempt = unpack_fields('>I6I2', value, 3)
    kept = sub(value, 11)
    if kept ~= '' and fingerprint ~= '' and kept ~= fingerprint then return nil, 'M' end
  else
    local owner, ends
    owner, attempt, ends, kept, since = read_held(value, flags)
    if kept ~= '' and fingerprint ~= '' and kept ~= fingerprint then return nil, 'M' end
    if owner == token then
      return sub(value, 1, 16) .. pack_fields('>I6', deadline) .. sub(value, 23), won(attempt, since)
    end
    if now < ends then return nil, pack_fields('>c1I6', 'B', ends - now) end
    if band(flags, BARRIER + SENT) == BARRIER then
      return begin(attempt, kept, fingerprint, since)
    end
    since = doubt_began(flags, since)
  end
  if detects or lookup then return begin(attempt, kept, fingerprint, since) end
  local reply = pack_fields('>c1I6', 'D', max(0, now - since))
  if state == DOUBT then return nil, reply end
  return doubt(since, attempt, kept), reply
end

-- The keys up to the first that is not free are asked and written in one step each; from there on
-- all the others are read at once. New items thus need no read, and replayed ones no write.
local values, behind -- what was read, and the number of the key in front of it
local replies -- nil while each is 'W'
local written = {} -- a key may stand twice, as two requests can share this call

-- ``found``: the value of key i, or why it could not be set; that it could not says nothing of it.
local function read_on(i, found)
  behind = type(found) == 'string' and i or i - 1
  values = behind < #KEYS and call('MGET', unpack(KEYS, behind + 1)) or {}
  values[0] = found
  replies = alike('W', i - 1)
end

local groups, at, first = ARGV[1], 1, 1
while at <= #groups do
  local count, flags, expiry
  count, flags, token, lease, expiry, settles, at = unpack_fields('>I2Bc12I6I6I6', groups, at)
  detects, lookup = flags % 2 == DETECTS, band(flags, LOOKUP) ~= 0
  if band(flags, SETTLES) == 0 then settles = nil end
  local compared = flags >= WITH_FINGERPRINT
  deadline, barrier = now + lease, detects and 0 or BARRIER
  local expires = moment_in(expiry)
  local head = pack_fields(
    '>BBc12I2I6', 1, HELD + barrier + (compared and FINGERPRINT or 0), token, 1, deadline)
  for i = first, first + count - 1 do
    local key, fingerprint = KEYS[i], ''
    if compared then
      fingerprint = sub(groups, at, at + 15)
      at = at + 16
    end
    if not values then
      local found = pcall('SET', key, head .. fingerprint, 'NX', 'GET', 'PXAT', expires)
      if found then read_on(i, found) end
    end
    if values then
      local value, after, reply = written[key] or values[i - behind], nil, 'W'
      if not value then
        after = head .. fingerprint
      elseif sub(value, 1, 2) == USUAL and #value >= 36 and sub(value, 21, 36) == fingerprint then
        reply = value -- what nearly every replay finds; ``occupied`` comes to the same
      else
        after, reply = occupied(value, fingerprint)
      end
      if after then
        local set = pcall('SET', key, after, 'PXAT', expires)
        if set.err then
          if sub(set.err, 1, 3) ~= 'OOM' then return set end
          reply = 'O'
        else
          written[key] = after
        end
      end
      replies[i] = reply
    end
  end
  first = first + count
end
return replies or 'W'
