-- wrk: batches of SIZE items. Arguments: SIZE MIX SEED TAIL, MIX one of new, half, replayed, TAIL
-- what stands behind an item's key. Known items come from POOL fixed batches that were sent before
-- (bench/load.py makes the same); new keys bear SEED.
local POOL = 16
local size, mix, seed, counter, tail = 1, "new", "x", 0, nil
local fixed, whole = {}, {}

local function item(key)
  return '{"key":"' .. key .. tail
end

local function known(batch)
  local items = {}
  for i = 1, size do
    items[i] = item("known-" .. size .. "-" .. batch .. "-" .. i)
  end
  return items
end

function init(args)
  size, mix, seed = tonumber(args[1]), args[2], args[3]
  tail = args[4]
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["X-Tenant-Id"] = "bench"
  for batch = 1, mix == "new" and 0 or POOL do
    fixed[batch] = known(batch)
    whole[batch] = wrk.format(nil, nil, nil,
      '{"notifications":[' .. table.concat(fixed[batch], ",") .. ']}')
  end
end

function request()
  counter = counter + 1
  local pool = counter % POOL + 1
  if mix == "replayed" then
    return whole[pool]
  end
  local items = {}
  for i = 1, size do
    if mix == "half" and i % 2 == counter % 2 then
      items[i] = fixed[pool][i]
    else
      items[i] = item(seed .. "-" .. counter .. "-" .. i)
    end
  end
  return wrk.format(nil, nil, nil, '{"notifications":[' .. table.concat(items, ",") .. ']}')
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
