-- settle: sent, extend, commit, release, doubt, forget. core/transitions.py is the same table.
--
-- ARGV[1] is a run of groups, one for each run of steps of one kind in a request:
--   count 2, kind 1, flags 1, token 12, lease 6, retention 6, doubt retention 6, then for each key
--   of a commit the size 4 of its value, of a doubt with flags 1 its fingerprint 16, else nothing;
--   a forget with flags 1 is forced
-- ARGV[2] holds the values of the commits one behind the other, each a whole DONE record.
-- A reply: 'A' applied, 'L' lost, 'C' conflict, or the DONE record that stands.
--
-- Redis may run it when it is out of memory, so that finished work is never unrecordable.
local SEND, EXTEND, COMMIT, RELEASE, MARK_DOUBT, FORGET = 1, 2, 3, 4, 5, 6

local kind, token, lease, retention, doubt_retention

-- The first commit stays. A record made from a template takes one real result and keeps its time;
-- the repeat of a commit is known by its token, its time and its kind.
local function commit(value, mine)
  if not value then return mine, retention, 'A' end
  local flags, state = known(value)
  if not flags then return nil, 0, 'L' end
  if state ~= DONE then return mine, retention, 'A' end
  local my_flags = byte(mine, 2)
  local both = band(flags, my_flags)
  if band(both, FINGERPRINT) ~= 0 and sub(value, 21, 36) ~= sub(mine, 21, 36) then
    return nil, 0, 'C'
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
  if after == value then return nil, 0, reply end
  return after, retention, reply
end

-- An operator's word. What is done, or may be forwarded right now, goes only by force.
local function forget(value, forced)
  if not value then return nil, 0, 'A' end
  local flags, state = known(value)
  if not flags then return nil, 0, 'L' end
  if not forced and state ~= DOUBT then
    if state == DONE then return nil, 0, 'L' end
    local owner, _, ends = read_held(value, flags)
    if owner == token or now < ends then return nil, 0, 'L' end
  end
  return false, 0, 'A'
end

-- Every other step: the new value (false: delete the key; nil: leave it), its expiry, the reply.
local function step(value, fingerprint)
  if not value then
    if kind == MARK_DOUBT then return doubt(now, 1, fingerprint), doubt_retention, 'A' end
    return nil, 0, 'L'
  end
  local flags, state = known(value)
  if not flags or state == DONE then return nil, 0, 'L' end
  if state == DOUBT then return nil, 0, kind == MARK_DOUBT and 'A' or 'L' end
  local owner, attempt, ends, kept, since = read_held(value, flags)
  local mark = band(flags, BARRIER + SENT)
  if owner ~= token then
    if kind ~= MARK_DOUBT or since then return nil, 0, 'L' end
    return held(mark, owner, attempt, ends, kept, now), doubt_retention, 'L'
  end
  if kind == RELEASE then
    if not since then return false, 0, 'A' end
    return doubt(since, attempt, kept), doubt_retention, 'A'
  end
  if kind == MARK_DOUBT then
    if kept == '' then kept = fingerprint end
    return doubt(doubt_began(flags, since), attempt, kept), doubt_retention, 'A'
  end
  if kind == SEND then mark = bor(mark, SENT) end
  return held(mark, token, attempt, now + lease, kept, since), doubt_retention, 'A'
end

local values = redis.call('MGET', unpack(KEYS))
local groups, bodies, at, body_at, first = ARGV[1], ARGV[2], 1, 1, 1
local replies, written = {}, {} -- a key may stand twice: two requests can share this call
while at <= #groups do
  local count, group_flags
  count, kind, group_flags, token, lease, retention, doubt_retention, at =
    unpack_fields('>I2BBc12I6I6I6', groups, at)
  for i = first, first + count - 1 do
    local key = KEYS[i]
    local value = written[key]
    if value == nil then value = values[i] end
    local after, expiry, reply
    if kind == COMMIT then
      local size = unpack_fields('>I4', groups, at)
      after, expiry, reply = commit(value, sub(bodies, body_at, body_at + size - 1))
      at, body_at = at + 4, body_at + size
    elseif kind == FORGET then
      after, expiry, reply = forget(value, group_flags == 1)
    else
      local fingerprint = ''
      if group_flags == 1 then
        fingerprint = sub(groups, at, at + 15)
        at = at + 16
      end
      after, expiry, reply = step(value, fingerprint)
    end
    if after then
      redis.call('SET', key, after, 'PX', expiry)
      written[key] = after
    elseif after == false then
      redis.call('DEL', key)
      written[key] = false
    end
    replies[i] = reply
  end
  first = first + count
end
return replies
