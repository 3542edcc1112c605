-- wrk: batches of SIZE items. Arguments: SIZE MIX SEED TAIL, MIX one of new, half, replayed, TAIL
-- what stands behind an item's key. Known items come from POOL fixed batches that were sent before
-- (bench/load.py makes the same); new keys bear SEED.
--
-- It shares two cores with what is measured, so it makes no string an item: numbers are joined by
-- all that stands between two of them.
local POOL = 16
local size, mix, seed, counter, tail = 1, "new", "x", 0, nil
local fixed, whole, numbers = {}, {}, {}
local head

local function known(batch)
  local items = {}
  for i = 1, size do
    items[i] = '{"key":"known-' .. size .. "-" .. batch .. "-" .. i .. tail
  end
  return items
end

local function post(items)
  return head .. (#items + 20) .. '\r\n\r\n{"notifications":[' .. items .. ']}'
end

function init(args)
  size, mix, seed = tonumber(args[1]), args[2], args[3]
  tail = args[4]
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["X-Tenant-Id"] = "bench"
  head = wrk.format("POST"):sub(1, -3) .. "Content-Length: "
  for i = 1, size do
    numbers[i] = tostring(i)
  end
  for batch = 1, mix == "new" and 0 or POOL do
    fixed[batch] = known(batch)
    whole[batch] = post(table.concat(fixed[batch], ","))
  end
end

function request()
  counter = counter + 1
  local pool = counter % POOL + 1
  if mix == "replayed" then
    return whole[pool]
  end
  local first = '{"key":"' .. seed .. "-" .. counter .. "-"
  if mix == "new" then
    return post(first .. table.concat(numbers, tail .. "," .. first) .. tail)
  end
  local items = {}
  for i = 1, size do
    items[i] = i % 2 == counter % 2 and fixed[pool][i] or first .. i .. tail
  end
  return post(table.concat(items, ","))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
