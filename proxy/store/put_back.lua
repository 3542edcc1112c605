#!lua flags=allow-oom
-- Behind a transaction's plain commits: what put_aside.lua put aside stands again, with its expiry.
local call = redis.call
local packed = call('MGET', KEYS[1])[1]
if not packed then return 0 end
local aside = cmsgpack.unpack(packed)
for i = 1, #aside do
  local key, value, left = unpack(aside[i])
  if left > 0 then
    call('SET', key, value, 'PX', string.format('%.0f', left))
  else
    call('SET', key, value)
  end
end
call('DEL', KEYS[1])
return #aside
