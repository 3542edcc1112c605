-- A stored record, as proxy/core/codec.py lays it out. This part stands in front of both scripts.
--
--   HELD   version, flags, token 12, attempt 2, deadline 6, [fingerprint 16], [doubt since 6]
--   DOUBT  version, flags, since 6, attempt 2, [fingerprint 16]
--   DONE   version, flags, token 12, processed at 6, [fingerprint 16], result
local unpack_fields, pack_fields = struct.unpack, struct.pack
local byte, sub, floor, max, min = string.byte, string.sub, math.floor, math.max, math.min
local char, band, bor = string.char, bit.band, bit.bor

-- Redis's own two, not Lua's pcall.
local call, pcall, KEYS, ARGV = redis.call, redis.pcall, KEYS, ARGV

local HELD, DOUBT, DONE = 0, 1, 2
local FINGERPRINT, BARRIER, SENT, SUSPECT = 4, 8, 16, 32
local NO_RESULT, TEMPLATE = 8, 16

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)

-- When a record that is written now expires, as text: Redis formats a number anew for each command,
-- and makes a moment of a span, which together cost as much as a quarter of the SET.
local moments = {}
local function moment_in(span)
  local text = moments[span]
  if not text then
    text = string.format('%.0f', now + span)
    moments[span] = text
  end
  return text
end

-- A list of the same reply, to be gone on with.
local function alike(reply, count)
  local replies = {}
  for i = 1, count do replies[i] = reply end
  return replies
end

-- The flags and the state of a value, or nil: a version or a shape that is not known here.
local function known(value)
  local version, flags = byte(value, 1, 2)
  if version ~= 1 or not flags or flags > 63 then return nil end
  local state, size = flags % 4, #value
  local fingerprint = flags % 8 >= FINGERPRINT and 16 or 0
  if state == DONE then
    local least = 20 + fingerprint
    if size == least or (size > least and flags % 16 < NO_RESULT) then return flags, DONE end
  elseif state == HELD then
    if size == 22 + fingerprint + (flags >= SUSPECT and 6 or 0) then return flags, HELD end
  elseif state == DOUBT then
    if flags < 8 and size == 10 + fingerprint then return flags, DOUBT end
  end
  return nil
end

-- token, attempt, deadline, fingerprint ('' for none), since (nil where it is not suspect)
local function read_held(value, flags)
  local token, attempt, deadline = unpack_fields('>c12I2I6', value, 3)
  local fingerprint = band(flags, FINGERPRINT) ~= 0 and sub(value, 23, 38) or ''
  local since = flags >= SUSPECT and unpack_fields('>I6', value, #value - 5) or nil
  return token, attempt, deadline, fingerprint, since
end

local function held(flags, token, attempt, deadline, fingerprint, since)
  flags = HELD + flags + (fingerprint ~= '' and FINGERPRINT or 0) + (since and SUSPECT or 0)
  return pack_fields('>BBc12I2I6', 1, flags, token, attempt, deadline) .. fingerprint
    .. (since and pack_fields('>I6', since) or '')
end

local function doubt(since, attempt, fingerprint)
  local flags = DOUBT + (fingerprint ~= '' and FINGERPRINT or 0)
  return pack_fields('>BBI6I2', 1, flags, since, attempt) .. fingerprint
end

-- When the doubt about a claim that ends now began: a suspect that was not forwarded again keeps
-- its doubt; a forward of its own begins a new one.
local function doubt_began(flags, since)
  if since and band(flags, SENT) == 0 then return since end
  return now
end
