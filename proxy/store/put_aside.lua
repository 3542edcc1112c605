#!lua flags=allow-oom
-- In a transaction, in front of its plain commits, each a SET with XX of a key: what they may not
-- overwrite is put aside, and put back behind them by put_back.lua.
--
-- KEYS: where the keys' values stand, all ORed; where to put aside. ARGV: what each value begins
-- with, up to its fingerprint; the size of a key; the keys in one. (A hundred keys as such take as
-- long as all the rest of this.) The answer: the numbers of the keys whose commit settle.lua has
-- to decide; absent ones are not among them, as a SET with XX tells of it.
local call, sub = redis.call, string.sub
local head, size, joined = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- A claim with a fingerprint and no doubt. Any other state or version sets a bit of the OR that is
-- not in it, and so does a later deadline.
local function is_plain(value)
  return sub(value, 1, 22) == head
end

local ored = call('MGET', KEYS[1])[1]
call('DEL', KEYS[1])
if ored and is_plain(ored) then return {} end

local keys = {}
for at = 1, #joined, size do keys[#keys + 1] = sub(joined, at, at + size - 1) end
local values, others, aside = call('MGET', unpack(keys)), {}, {}
for i = 1, #keys do
  local value = values[i]
  if value and not is_plain(value) then
    others[#others + 1] = i
    aside[#aside + 1] = { keys[i], value, call('PTTL', keys[i]) }
  end
end
if #others > 0 then call('SET', KEYS[2], cmsgpack.pack(aside)) end
return others
